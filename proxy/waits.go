package proxy

import (
	"sync"
	"time"
)

// waits are all who wait for the same kind of thing, for which each has the same time.
// They are in the order in which they began, so that one timer is enough, which goes off
// when the first has waited for so long as it had been set: to start one for each who
// waits, and stop it, costs more than everything else about a wait.
type waits struct {
	patience time.Duration

	mu          sync.Mutex // guards the fields below
	first, last *wait
	timer       *time.Timer // nil until somebody waits
	runs        bool        // the timer
}

// wait is one of them. It is part of who waits, and at most in one list.
type wait struct {
	who           waiter
	since         time.Time
	before, after *wait
	waits         bool
}

// waiter is told that it has waited for too long, and does not wait any more then. It is
// told while nobody can begin or end, and must not take its time.
type waiter interface{ tooLong() }

func newWaits(patience time.Duration) *waits { return &waits{patience: patience} }

// begin has who wait from now on.
func (w *waits) begin(one *wait, who waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*one = wait{who: who, since: time.Now(), before: w.last, waits: true}
	if w.last == nil {
		w.first = one
	} else {
		w.last.after = one
	}
	w.last = one
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(w.patience, w.look)
	case !w.runs:
		w.timer.Reset(w.patience)
	}
	w.runs = true
}

// end has one not wait any more. Nothing happens if it does not.
func (w *waits) end(one *wait) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(one)
}

// remove takes one out. The caller holds mu.
func (w *waits) remove(one *wait) {
	if !one.waits {
		return
	}
	if one.before == nil {
		w.first = one.after
	} else {
		one.before.after = one.after
	}
	if one.after == nil {
		w.last = one.before
	} else {
		one.after.before = one.before
	}
	*one = wait{}
}

// look tells those that have waited for too long, and sets the timer for the next.
func (w *waits) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := w.first; one != nil; one = w.first {
		if left := w.patience - time.Since(one.since); left > 0 {
			w.timer.Reset(left)
			return
		}
		who := one.who
		w.remove(one)
		who.tooLong()
	}
	w.runs = false
}
