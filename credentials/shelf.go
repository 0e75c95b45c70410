package credentials

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	storeTimeout = 250 * time.Millisecond // of one operation; stores have shorter ones of their own
	storeRest    = 5 * time.Second        // after one that failed; twice that after the next, and so on
	longestRest  = 5 * time.Minute
	storeGrace   = 100 * time.Millisecond // for one whose time is over to say so itself
	leaseWait    = 5 * time.Second        // for another process's request, before one makes its own
	storeWait    = leaseWait + time.Second
)

var (
	errResting = errors.New("the store is left alone for a moment")
	errHeld    = errors.New("somebody else has the lease")
	errHangs   = errors.New("the store does not come back from an operation; going on without it")
)

// shelf is the Store as the engine sees it: one that costs next to nothing when it
// is down, slow or full. Its failures are told and then forgotten; there is always
// another way to get a token. A nil shelf holds nothing.
type shelf struct {
	store   Store
	observe func(op string, err error)

	mu        sync.Mutex // guards the fields below
	restUntil time.Time
	failures  int           // in a row
	hanging   int           // operations that were left alone and have not come back
	pending   int           // things to be done later
	idle      chan struct{} // closed once there are none; nil: there are none
}

func newShelf(deps Deps, old *Set) *shelf {
	switch {
	case deps.Store == nil:
		return nil
	case old != nil && old.shelf != nil && old.shelf.store == deps.Store:
		return old.shelf
	}
	return &shelf{store: deps.Store, observe: deps.ObserveStore}
}

// begin runs one operation, unless the store is resting, and leaves it alone once
// its time is over: a file system that hangs heeds no context. Until it has come
// back no other is begun, and late is called with what it brings; nil: nothing is.
func begin[T any](ctx context.Context, s *shelf, op string, timeout time.Duration, do func(ctx context.Context) (T, error), late func(T)) (T, error) {
	var none T
	if s.resting() {
		return none, errResting
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	ended := make(chan result, 1)
	over := false // guarded by s.mu; whoever sets it tells the result
	go func() {   // ends with the operation
		var r result
		func() {
			defer recovered(&r.err)
			r.value, r.err = do(ctx)
		}()
		s.mu.Lock()
		wasLeft := over
		over = true
		if wasLeft {
			s.hanging--
		}
		s.mu.Unlock()
		switch {
		case !wasLeft:
			ended <- r
		case late != nil && r.err == nil:
			defer recovered(&r.err)
			late(r.value)
		}
	}()
	leave := time.AfterFunc(timeout+storeGrace, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if over {
			return
		}
		over = true
		s.hanging++
		ended <- result{err: errHangs}
	})
	r := <-ended
	leave.Stop()
	return r.value, s.settle(op, r.err)
}

// resting reports whether the store is left alone.
func (s *shelf) resting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hanging > 0 || time.Now().Before(s.restUntil)
}

// settle notes how an operation ended, and returns its error.
func (s *shelf) settle(op string, err error) error {
	now, isNews := time.Now(), true
	s.mu.Lock()
	switch {
	case errors.Is(err, errHeld): // nothing is known of the store
	case err == nil || errors.Is(err, ErrMiss):
		s.failures = 0
	case now.Before(s.restUntil): // one of several that failed together
		isNews = false
	default:
		s.restUntil = now.Add(min(storeRest<<min(s.failures, 10), longestRest))
		s.failures++
	}
	s.mu.Unlock()
	if isNews && err != nil && err != ErrMiss && !errors.Is(err, errHeld) && s.observe != nil { //nolint:errorlint // one that wraps ErrMiss says what is wrong with an entry
		var bug error
		defer recovered(&bug)
		s.observe(op, err)
	}
	return err
}

// later does something that nobody waits for; see settled.
func (s *shelf) later(do func()) {
	if s == nil {
		return
	}
	s.mu.Lock()
	if s.pending == 0 {
		s.idle = make(chan struct{})
	}
	s.pending++
	s.mu.Unlock()
	go func() { // ends within the store's timeouts; settled waits for it
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.pending--; s.pending == 0 {
				close(s.idle)
				s.idle = nil
			}
		}()
		var bug error
		defer recovered(&bug)
		do()
	}()
}

// settled waits for what was to be done later, 6 s at most.
func (s *shelf) settled() {
	if s == nil {
		return
	}
	s.mu.Lock()
	idle := s.idle
	s.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(storeWait):
	}
}

// get returns the token stored for key, if there is one that can be read.
func (s *shelf) get(ctx context.Context, key Key) (Token, bool) {
	if s == nil {
		return Token{}, false
	}
	tok, err := begin(ctx, s, "get", storeTimeout, func(ctx context.Context) (Token, error) { return s.store.Get(ctx, key) }, nil)
	if err != nil || tok.ResourceServer != key.ResourceServer {
		return Token{}, false
	}
	return tok, true
}

// put reports whether the store has tok now, or need not have it.
func (s *shelf) put(ctx context.Context, key Key, tok Token) bool {
	if s == nil || tok.ExpiresAt.IsZero() {
		return true
	}
	return s.change(ctx, "put", func(ctx context.Context) error { return s.store.Put(ctx, key, tok) })
}

func (s *shelf) forget(ctx context.Context, key Key, tok Token) {
	if s == nil {
		return
	}
	_ = s.change(ctx, "delete", func(ctx context.Context) error { return s.store.Delete(ctx, key, tok) })
}

func (s *shelf) change(ctx context.Context, op string, do func(ctx context.Context) error) (done bool) {
	_, err := begin(ctx, s, op, storeTimeout, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) }, nil)
	return err == nil
}

// lease waits for its turn to ask for key's token, and returns what ends it.
func (s *shelf) lease(ctx context.Context, key Key, wait time.Duration) (release func()) {
	free := func() {}
	if s == nil || ctx.Err() != nil {
		return free
	}
	release, err := begin(ctx, s, "lease", wait, func(ctx context.Context) (func(), error) {
		release, err := s.store.Lease(ctx, key)
		if err != nil && ctx.Err() != nil {
			err = errHeld
		}
		return release, err
	}, func(release func()) { release() })
	if err != nil {
		return free
	}
	return release
}

// state is what the status says of the store.
func (s *shelf) state() string {
	if s == nil || isMemory(s.store) {
		return "memory"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 {
		return "failing"
	}
	return "ok"
}

func isMemory(store Store) bool {
	_, memory := store.(*Memory)
	return memory
}
