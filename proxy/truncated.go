package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
)

// wholeBytes is how long an answer may be that is read whole before it is sent.
const wholeBytes = 1 << 20

// connection returns the socket that a request came in on; nil if it is not known.
func connection(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	if c == nil || c.net == nil {
		return nil
	}
	return underneath(c.net)
}

// breakOff resets the connection of a request whose answer ends before its end. In
// HTTP/1.0 the end of the connection is that of the answer where no length was
// said, and there are clients that never count: a reset is an error to all of them.
// It goes below TLS, whose own end would be in good order.
func breakOff(r *http.Request) {
	if tcp, ok := connection(r.Context()).(*net.TCPConn); ok && r.ProtoMajor == 1 {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

// readWhole reads an answer before it is sent, where the caller could not tell that
// it was cut short: in HTTP/1.0, without a length, over a unix socket, which cannot
// be reset. What is too long for that, or has no end, is refused.
func readWhole(resp *http.Response) error {
	x := exchangeOf(resp.Request)
	if resp.ContentLength >= 0 || x.in.ProtoAtLeast(1, 1) {
		return nil
	}
	_, isUnix := connection(x.in.Context()).(*net.UnixConn)
	hasNone := x.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	if !isUnix || hasNone {
		return nil
	}
	fault := func(what string) error {
		e := x.invalid(what)
		if x.mayBeDone() {
			e.Code = "outcome_unknown"
		}
		return e
	}
	const tooLong = "answers at length without saying how long, and in HTTP/1.0 over a unix socket nobody could tell whether that is all of it; use HTTP/1.1"
	if isEvents(resp.Header) {
		return fault(tooLong)
	}
	whole := &body{budget: x.body.budget}
	err := whole.read(resp.Body, -1, wholeBytes)
	if err == nil && whole.whole {
		resp.ContentLength = int64(len(whole.head))
		x.told.Set("Content-Length", strconv.Itoa(len(whole.head)))
		resp.Body = held{bytes.NewReader(whole.head), whole, resp.Body}
		return nil
	}
	whole.release()
	switch {
	case errors.Is(err, errBudget):
		return fault("answers without saying how long, and too much is being held to read all of it first, as HTTP/1.0 over a unix socket needs; use HTTP/1.1")
	case err != nil:
		return fault("broke its answer off")
	}
	return fault(tooLong)
}

// held is an answer's body that was read whole.
type held struct {
	io.Reader
	whole *body
	from  io.Closer
}

// Close gives back what was held.
func (h held) Close() error {
	h.whole.release()
	return h.from.Close()
}
