package proxy

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"time"
)

const (
	// lingerTime is how long a caller is given to send the rest of a body that was
	// answered before its end.
	lingerTime = 5 * time.Second
	// partTime is how long one in HTTP/2 is given to look at such an answer.
	partTime = 100 * time.Millisecond
	// firstWindow is how much a caller in HTTP/2 may send at once (RFC 9113 §6.9.2).
	firstWindow = 64<<10 - 1
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

// linger reads what is still to come of a body that was answered before its end. Many
// callers send all of it before they read: to close on them would reset the
// connection, and they would never see the answer.
func (x *Exchange) linger(w http.ResponseWriter) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(lingerTime))
	if x.body.ended() || x.in.Header["Expect"] != nil && !x.body.begun() {
		return // there is none, or the caller waits to be asked for it
	}
	_ = connection.Flush()
	_, _ = io.Copy(io.Discard, x.in.Body)
}

// part is linger in HTTP/2, where nothing need be read: behind an answer that came
// before the body's end net/http tells the caller to stop. But curl (7.88) loses what it
// has not looked at yet of the answer when it hears that, and is given a moment to end
// the stream itself. What fits into the first window can be here already, as a whole.
func (x *Exchange) part(w *response) {
	if x.ctx.Err() != nil {
		return
	}
	if known := x.in.ContentLength; (known < 0 || known > firstWindow) && !x.body.ended() {
		_ = w.FlushError()
		timer := time.NewTimer(partTime)
		defer timer.Stop()
		select {
		case <-x.ctx.Done():
			return
		case <-timer.C:
		}
	}
	w.within(takeTime) // for what net/http has yet to send
}
