package proxy

import (
	"cmp"
	"context"
	"net/http"
	"time"
)

// ServeHTTP takes a request that came in on l down the line.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := l.proxy.table.Load()
	x, r := begin(r, l.proxy.budget)
	answer := &x.response
	answer.ResponseWriter, answer.x, answer.draining = w, x, &l.proxy.draining
	defer l.proxy.finish(answer, r, t)
	out, err := t.admit(l, answer, r, x)
	if err == nil && out != nil {
		err = x.place(r.Context())
	}
	switch {
	case err != nil:
		writeError(answer, r, err)
	case out != nil:
		out.Header = nil // see rewrite
		x.line.ServeHTTP(answer, out)
	}
}

// place waits for one of the upstream's places. That is the last thing before it is
// asked, so that no caller holds one while its body is on the way here.
func (x *Exchange) place(ctx context.Context) error {
	err := x.line.way.places.take(ctx)
	x.placed = err == nil
	return err
}

// The steps of admit, as they are called where people read of them.
const (
	stepGuard    = "guard"
	stepIdentify = "identify"
	stepRoute    = "route"
	stepShim     = "shim"
	stepDecide   = "decide"
	stepForward  = "forward"
)

// admit takes the steps until a request is allowed, and returns what is to be
// forwarded; nil if it was answered here.
func (t *table) admit(l *Listener, w http.ResponseWriter, r *http.Request, x *Exchange) (*http.Request, error) {
	x.step = stepGuard
	if err := t.guard(l, r, x); err != nil {
		return nil, err
	}
	if x.preflight {
		answerPreflight(w, r)
		return nil, nil
	}
	x.step = stepIdentify
	if err := t.identify(l, r, x); err != nil {
		return nil, err
	}
	x.step = stepRoute
	if err := t.route(l, r, x); err != nil {
		return nil, err
	}
	if t.deps.InFlight != nil {
		x.served = true
		t.deps.InFlight(x.Upstream, 1)
	}
	x.step = stepShim
	if answered, err := t.shim(w, r, x); answered || err != nil {
		return nil, err
	}
	x.step = stepDecide
	if err := t.decide(w, r, x); err != nil {
		return nil, err
	}
	x.step = stepForward
	return withBody(w, r, x)
}

// finish tells the Observers, whatever happened, and answers for a panic.
func (p *Proxy) finish(w *response, r *http.Request, t *table) {
	x, panicked := w.x, recover()
	if panicked != nil && panicked != http.ErrAbortHandler {
		// The value may be a request with its credentials: it goes nowhere.
		bug := &Error{Code: "internal", Detail: "bearerd failed on this request; this is a bug"}
		x.Code, x.Err = bug.Code, bug
		if !w.wrote {
			writeError(w, r, bug)
			panicked = nil
		}
	}
	if panicked != nil && x.Err == nil {
		x.Err = cmp.Or(x.cut, errBrokeOff)
	}
	if x.Status == 0 {
		x.Status = statusCallerLeft
	}
	x.ending.Lock()
	x.ended = true
	x.ending.Unlock()
	x.Total = time.Since(x.Start)
	x.body.release()
	if x.release != nil {
		x.release()
	}
	if x.placed {
		x.line.way.places.leave()
	}
	if x.served {
		t.deps.InFlight(x.Upstream, -1)
	}
	if panicked == nil {
		w.deliver()
	}
	if t.deps.Observe != nil {
		t.deps.Observe(x)
	}
	if panicked != nil {
		if w.wrote {
			// What there is of the answer goes first: to nothing at all on a connection that
			// was used before, callers send their request again, whatever it is.
			_ = http.NewResponseController(w).Flush()
			breakOff(r)
		}
		panic(http.ErrAbortHandler) // the caller must not take what it has for the whole answer
	}
	switch {
	case r.ProtoMajor == 2:
		x.part(w)
	case r.ContentLength != 0:
		x.linger(w)
	}
}
