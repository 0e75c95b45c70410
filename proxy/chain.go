package proxy

import (
	"net/http"
	"time"
)

// lingerTime is how long a caller may take to send the rest of a body that was
// answered before its end.
const lingerTime = 5 * time.Second

// ServeHTTP takes a request that came in on l down the line.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := l.proxy.table.Load()
	x, r := begin(r)
	answer := &response{ResponseWriter: w, x: x, draining: &l.proxy.draining}
	defer l.proxy.finish(answer, r, t)
	r, err := t.admit(l, answer, r, x)
	answered := false
	if err == nil {
		answered, err = t.shim(answer, r, x)
	}
	if err == nil && !answered {
		err = t.decide(r, x)
	}
	switch {
	case err != nil:
		writeError(answer, r, err)
	case !answered:
		answer.Header()["Content-Type"] = nil // net/http would guess one where the upstream says none
		x.line.ServeHTTP(answer, r)
	}
}

// admit takes the steps before anything is decided on.
func (t *table) admit(l *Listener, w http.ResponseWriter, r *http.Request, x *Exchange) (*http.Request, error) {
	if err := t.guard(l, r, x); err != nil {
		return r, err
	}
	if err := t.identify(r, x); err != nil {
		return r, err
	}
	if err := t.route(l, r, x); err != nil {
		return r, err
	}
	if t.deps.InFlight != nil {
		x.served = true
		t.deps.InFlight(x.Upstream, 1)
	}
	return spool(w, r, x)
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
		x.Err = errBrokeOff
	}
	if x.Status == 0 {
		x.Status = statusCallerLeft
	}
	if r.ContentLength != 0 {
		// What is left of the body the server reads, to keep the connection; not for ever.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime))
	}
	x.Total = time.Since(x.Start)
	if x.served {
		t.deps.InFlight(x.Upstream, -1)
	}
	if t.deps.Observe != nil {
		t.deps.Observe(x)
	}
	if panicked != nil {
		panic(http.ErrAbortHandler) // the caller must not take what it has for the whole answer
	}
}
