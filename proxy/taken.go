package proxy

import (
	"net/http"
	"time"
)

// takeTime is how long a caller in HTTP/2 may take to let a piece of an answer go out.
const takeTime = 30 * time.Second

// FlushError sends what was written. It is for http.ResponseController.
func (w *response) FlushError() error {
	w.within(takeTime)
	defer w.within(0)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// deliver sends what net/http has of a whole answer, which it else would when the
// handler returns: the caller need not wait for what is noted of it. One that has no
// length, or is in HTTP/2, would take a write more, and who still sends is not answered
// before their body was read.
func (w *response) deliver() {
	in := w.x.in
	if w.wrote && in.ProtoMajor == 1 && w.Header()["Content-Length"] != nil && (in.ContentLength == 0 || w.x.body.ended()) {
		_ = w.FlushError()
	}
}

// within bounds how long the caller may take to let what is sent go out, or takes the
// bound back; what is not taken has the stream reset. It is for HTTP/2, where one
// stream may be stuck and the others go on. Else the connection has such a bound.
func (w *response) within(patience time.Duration) {
	if w.x.in.ProtoMajor != 2 {
		return
	}
	var deadline time.Time
	if patience > 0 {
		deadline = time.Now().Add(patience)
	}
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline) // not every ResponseWriter has one
}
