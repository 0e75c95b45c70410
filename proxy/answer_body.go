package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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
	stalled  atomic.Bool

	mu    sync.Mutex // guards the fields below
	asked time.Time  // since when somebody waits; zero: nobody does
	timer *time.Timer
	runs  bool // the timer
}

// watch has the body of an answer watched.
func (x *Exchange) watch(resp *http.Response) {
	x.cut = nil
	resp.Trailer = nil
	if resp.Body == http.NoBody {
		return
	}
	b := &x.answer
	if b.resp != nil { // that of an attempt before, whose timer may be just about to go off
		b = new(answerBody)
	}
	b.ReadCloser, b.resp, b.x, b.patience = resp.Body, resp, x, x.line.patience
	if isEvents(resp.Header) {
		b.patience = max(b.patience, idleEvents)
	}
	resp.Body = b
}

// isEvents reports whether an answer that says so is a stream of events.
func isEvents(said http.Header) bool {
	return strings.HasPrefix(strings.ToLower(said.Get("Content-Type")), "text/event-stream")
}

// Read reads on. Close may be called meanwhile, and is what ends a wait.
func (b *answerBody) Read(p []byte) (int, error) {
	b.begin()
	n, err := b.ReadCloser.Read(p)
	b.end(err != nil)
	if err == nil {
		return n, nil
	}
	b.resp.Trailer = nil
	switch {
	case errors.Is(err, io.EOF):
	case b.stalled.Load():
		err = &Error{Code: "upstream_timeout", Detail: "nothing came of upstream " + b.x.Upstream + "'s answer for " + b.patience.String(), Err: errReadingAnswer}
		b.x.cut = err
	case b.x.ctx.Err() == nil:
		b.x.cut = &Error{Code: "upstream_invalid", Detail: "upstream " + b.x.Upstream + " broke its answer off", Err: errReadingAnswer}
	}
	return n, err
}

// begin notes that somebody waits from now on.
func (b *answerBody) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = time.Now()
	switch {
	case b.timer == nil:
		b.timer = time.AfterFunc(b.patience, b.look)
	case !b.runs:
		b.timer.Reset(b.patience)
	}
	b.runs = true
}

// end notes that nobody does. The timer runs on unless it is for good: to start it with
// each read, and stop it, would cost more than to look in vain.
func (b *answerBody) end(good bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = time.Time{}
	if good && b.timer != nil {
		b.timer.Stop()
		b.runs = false
	}
}

// Close lets go of the upstream's connection, unless all of the body was read.
func (b *answerBody) Close() error {
	b.end(true)
	return b.ReadCloser.Close()
}

// look sees whether somebody has waited for long enough.
func (b *answerBody) look() {
	b.mu.Lock()
	waits, left := !b.asked.IsZero(), b.patience-time.Since(b.asked)
	if b.runs = waits && left > 0; b.runs {
		b.timer.Reset(left)
	}
	b.mu.Unlock()
	if waits && left <= 0 {
		b.stalled.Store(true)
		_ = b.ReadCloser.Close() // has the Read under way return
	}
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
