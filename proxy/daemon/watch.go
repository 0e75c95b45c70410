package daemon

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"bearerd/proxy"
)

const (
	// watchAfter is how long a request is under way before its caller is looked after.
	watchAfter = 50 * time.Millisecond
	// watchEvery is how long a look after the caller of a request that takes long is
	// behind the last, at most.
	watchEvery = 250 * time.Millisecond
)

// watch tells the requests of a connection in plain HTTP/1 that their caller has left.
// net/http has a goroutine for each which reads until there is an answer, and then is
// woken to end: that took 4 % of the CPU of a request, and a tenth where there was one at
// a time. Few take so long that anybody leaves meanwhile.
type watch struct {
	conn net.Conn
	left context.CancelFunc // ends the context of the requests; nil: net/http is to watch

	mu    sync.Mutex  // guards the fields below
	due   bool        // the request under way is not watched yet
	since time.Time   // it is; zero: none is
	timer *time.Timer // nil until there was one
	runs  bool        // the timer
}

// connContext is for http.Server.ConnContext.
func connContext(ctx context.Context, outer net.Conn) context.Context {
	ctx = proxy.ConnContext(ctx, outer)
	if c, isPlain := outer.(*conn); isPlain && canPeek(c.Conn) {
		ctx, c.watch.left = context.WithCancel(ctx)
		c.watch.conn = c.Conn
	}
	return ctx
}

// yielding lets the goroutine that net/http begins with each request in HTTP/1 run at
// once, when it has nothing to do (see replaces). Else it waits for this one to wait, and
// another thread is woken to take it over.
func yielding(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			runtime.Gosched()
		}
		h.ServeHTTP(w, r)
	})
}

// begin is for when a request has come.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = w.left != nil
}

// end is for when it was answered.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due, w.since = false, time.Time{}
}

// replaces reports whether it does what a read of net/http is for, which then is not to
// be made. It takes the first of a single byte for that; another would be tried again.
func (w *watch) replaces(p []byte) bool {
	if len(p) != 1 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.due {
		return false
	}
	w.due, w.since = false, time.Now()
	switch {
	case w.runs: // for a request before
	case w.timer == nil:
		w.timer, w.runs = time.AfterFunc(watchAfter, w.look), true
	default:
		w.runs = true
		w.timer.Reset(watchAfter)
	}
	return true
}

// look looks after the caller, and sees to the next time.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		w.runs = false
		return
	}
	took := time.Since(w.since)
	switch {
	case took < watchAfter: // it is another request
		w.timer.Reset(watchAfter - took)
	case peek(w.conn) == itsEnd:
		w.runs = false
		w.left()
	default:
		w.timer.Reset(min(took, watchEvery))
	}
}

// close is for when the connection is closed, whoever does it.
func (w *watch) close() {
	w.end()
	if w.left != nil {
		w.left()
	}
}

// ahead is what comes next on a connection.
type ahead int

const (
	nothingYet ahead = iota // that is known of
	something
	itsEnd
)
