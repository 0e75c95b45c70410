package credentials

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	storeTimeout = 250 * time.Millisecond // of one operation; stores have shorter ones of their own
	storeRest    = 5 * time.Second        // after one that failed
	leaseWait    = 5 * time.Second        // for another process's request, before one makes its own
)

// shelf is the Store as the engine sees it: one that costs next to nothing when it
// is down, slow or full. Its failures are told and then forgotten; there is always
// another way to get a token. A nil shelf holds nothing.
type shelf struct {
	store   Store
	observe func(op string, err error)

	mu        sync.Mutex // guards the fields below
	restUntil time.Time
	failing   bool
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

// do runs one operation, unless the store is resting.
func (s *shelf) do(ctx context.Context, op string, timeout time.Duration, run func(ctx context.Context) error) error {
	s.mu.Lock()
	resting := time.Now().Before(s.restUntil)
	s.mu.Unlock()
	if resting {
		return errors.New("the store is left alone for a moment")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := func() (err error) {
		defer recovered(&err)
		return run(ctx)
	}()
	failed := err != nil && !errors.Is(err, ErrMiss)
	s.mu.Lock()
	s.failing = failed
	if failed {
		s.restUntil = time.Now().Add(storeRest)
	}
	s.mu.Unlock()
	if failed && s.observe != nil {
		s.observe(op, err)
	}
	return err
}

// get returns the token stored for key, if there is one that can be read.
func (s *shelf) get(ctx context.Context, key Key) (tok Token, ok bool) {
	if s == nil {
		return Token{}, false
	}
	err := s.do(ctx, "get", storeTimeout, func(ctx context.Context) (err error) {
		tok, err = s.store.Get(ctx, key)
		return err
	})
	if err != nil || tok.ResourceServer != key.ResourceServer {
		return Token{}, false
	}
	return tok, true
}

func (s *shelf) put(ctx context.Context, key Key, tok Token) {
	if s == nil || tok.ExpiresAt.IsZero() {
		return
	}
	_ = s.do(ctx, "put", storeTimeout, func(ctx context.Context) error { return s.store.Put(ctx, key, tok) })
}

func (s *shelf) forget(ctx context.Context, key Key, tok Token) {
	if s == nil {
		return
	}
	_ = s.do(ctx, "delete", storeTimeout, func(ctx context.Context) error { return s.store.Delete(ctx, key, tok) })
}

// lease waits for its turn to ask for key's token, 5 s at most, and returns what
// ends it.
func (s *shelf) lease(ctx context.Context, key Key) (release func()) {
	release = func() {}
	if s == nil {
		return release
	}
	_ = s.do(ctx, "lease", leaseWait, func(ctx context.Context) error {
		got, err := s.store.Lease(ctx, key)
		if err == nil {
			release = got
			return nil
		}
		if ctx.Err() != nil { // somebody else has it: that is no fault of the store's
			return nil
		}
		return err
	})
	return release
}

// state is what the status says of the store.
func (s *shelf) state() string {
	if s == nil {
		return "memory"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing {
		return "failing"
	}
	return "ok"
}
