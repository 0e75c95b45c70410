package proxy

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// timedBody is a body in HTTP/2, which has no deadline of its own: a read that takes so
// long fails with os.ErrDeadlineExceeded, and the body with it.
type timedBody struct {
	io.ReadCloser
	patience time.Duration
	stalled  atomic.Bool

	mu    sync.Mutex // guards the fields below
	asked time.Time  // since when somebody waits; zero: nobody does
	timer *time.Timer
	runs  bool // the timer
}

// Read reads on. Close may be called meanwhile, and is what ends a wait.
func (b *timedBody) Read(p []byte) (int, error) {
	b.begin()
	n, err := b.ReadCloser.Read(p)
	b.end(err != nil)
	if err != nil && b.stalled.Load() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// begin notes that somebody waits from now on.
func (b *timedBody) begin() {
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
func (b *timedBody) end(good bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = time.Time{}
	if good && b.timer != nil {
		b.timer.Stop()
		b.runs = false
	}
}

// Close lets go of the upstream's connection, unless all of the body was read.
func (b *timedBody) Close() error {
	b.end(true)
	return b.ReadCloser.Close()
}

// look sees whether somebody has waited for long enough.
func (b *timedBody) look() {
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
