package proxy

import (
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
