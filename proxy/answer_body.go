package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	// idleEvents is how long a stream of events may bring nothing: a pause means
	// nothing there.
	idleEvents = 5 * time.Minute
	// peekTime is how long an answer that is looked at before it is passed on may come
	// in drops, and discardTime one that nobody will see.
	peekTime    = 5 * time.Second
	discardTime = time.Second
)

// answerBody is the body of an upstream's answer, of one attempt. It ends when it has
// brought nothing for so long while somebody waited for it, and in no other time:
// neither how long it is nor how slowly the caller reads is of any account. Its
// trailers, which would pass all checks by, are dropped, whether they were announced
// or turn up at its end.
type answerBody struct {
	io.ReadCloser
	resp     *http.Response
	x        *Exchange
	patience time.Duration
}

// watch has the body of an answer watched.
func (x *Exchange) watch(resp *http.Response) {
	x.cut = nil
	resp.Trailer = nil
	if resp.Body == http.NoBody {
		return
	}
	b := &x.answer
	if b.resp != nil { // that of an attempt before
		b = new(answerBody)
	}
	b.resp, b.x, b.patience = resp, x, x.line.patience
	if isEvents(resp.Header) {
		b.patience = max(b.patience, idleEvents)
	}
	if own, ok := resp.Body.(*http1Body); ok {
		own.patience = b.patience
		b.ReadCloser = own
	} else {
		b.ReadCloser = &timedBody{ReadCloser: resp.Body, patience: b.patience}
	}
	resp.Body = b
}

// isEvents reports whether an answer that says so is a stream of events.
func isEvents(said http.Header) bool {
	return strings.HasPrefix(strings.ToLower(said.Get("Content-Type")), "text/event-stream")
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.resp.Trailer = nil
	switch {
	case errors.Is(err, io.EOF):
	case b.x.ctx.Err() != nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &Error{Code: "upstream_timeout", Detail: "nothing came of upstream " + b.x.Upstream + "'s answer for " + b.patience.String(), Err: errReadingAnswer}
		b.x.cut = err
	default:
		b.x.cut = &Error{Code: "upstream_invalid", Detail: "upstream " + b.x.Upstream + " broke its answer off", Err: errReadingAnswer}
	}
	return n, err
}

// errReadingAnswer is for the log.
var errReadingAnswer = errors.New("reading the response's body")

// readFor reads until the end, most bytes, or the first pause after so long.
func readFor(from io.Reader, most int, patience time.Duration) (read []byte, err error) {
	until := time.Now().Add(patience)
	read = make([]byte, 0, min(most, 512))
	for err == nil && len(read) < most && time.Now().Before(until) {
		if len(read) == cap(read) {
			read = append(read, 0)[:len(read)]
		}
		var n int
		n, err = from.Read(read[len(read):min(cap(read), most)])
		read = read[:len(read)+n]
	}
	return read, err
}
