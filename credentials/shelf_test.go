package credentials

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

// badStore is a Store of which every operation does the same.
type badStore struct {
	do    func(ctx context.Context) (Token, error)
	asked atomic.Int64
}

func (b *badStore) op(ctx context.Context) (Token, error) {
	b.asked.Add(1)
	return b.do(ctx)
}
func (b *badStore) Get(ctx context.Context, _ Key) (Token, error) { return b.op(ctx) }
func (b *badStore) Put(ctx context.Context, _ Key, _ Token) error {
	_, err := b.op(ctx)
	return err
}
func (b *badStore) Delete(ctx context.Context, _ Key, _ Token) error {
	_, err := b.op(ctx)
	return err
}
func (b *badStore) Lease(ctx context.Context, _ Key) (func(), error) {
	_, err := b.op(ctx)
	return func() {}, err
}

func TestShelf_ABadStoreCostsALineAndATokenRequest(t *testing.T) {
	foreign := newToken("AgForeign", "Bearer AgForeign")
	foreign.ResourceServer, foreign.lifetime = "groups.api.globus.org", time.Hour
	for _, tt := range []struct {
		name string
		do   func(ctx context.Context) (Token, error)
		most time.Duration // that a first request waits for it
		told bool
	}{
		{"down", func(context.Context) (Token, error) { return Token{}, errors.New("refused") }, 0, true},
		{"slow", func(ctx context.Context) (Token, error) {
			<-ctx.Done()
			return Token{}, ctx.Err()
		}, storeTimeout, true},
		{"hanging, as a file system does", func(context.Context) (Token, error) {
			time.Sleep(time.Hour)
			return Token{}, errors.New("back")
		}, storeTimeout + storeGrace, true},
		{"panicking", func(context.Context) (Token, error) { panic(canary) }, 0, true},
		{"with tokens of others", func(context.Context) (Token, error) {
			tok := foreign
			tok.ExpiresAt = time.Now().Add(time.Hour)
			return tok, nil
		}, 0, false},
		{"with tokens that have ended", func(context.Context) (Token, error) {
			tok := foreign
			tok.ResourceServer, tok.ExpiresAt = transferServer, time.Now().Add(-time.Second)
			return tok, nil
		}, 0, false},
		{"empty", func(context.Context) (Token, error) { return Token{}, ErrMiss }, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, store := newGlobus(), &badStore{do: tt.do}
				var told atomic.Int64
				c := transferCredential(g)
				c.shelf = &shelf{store: store, observe: func(_ string, err error) {
					told.Add(1)
					wantNothingOf(t, "the error", err.Error(), canary)
				}}
				start := time.Now()
				together(100, func(int) {
					if tok, err := c.Token(t.Context()); err != nil || tok.Reveal() == "AgForeign" {
						t.Errorf("Token() = %v, %v; want one of the endpoint's", tok, err)
					}
				})
				if took := time.Since(start); took > tt.most {
					t.Errorf("the first requests waited %v for the store, want %v at most", took, tt.most)
				}
				synctest.Wait()
				wantRequests(t, g, 1)
				if (told.Load() > 0) != tt.told || told.Load() > 1 {
					t.Errorf("%d failures were told, want one exactly if it failed", told.Load())
				}
				asked := store.asked.Load()
				for range 1000 {
					mustToken(t, c)
				}
				if store.asked.Load() != asked {
					t.Error("the store was asked though a token is at hand")
				}
				time.Sleep(time.Hour) // until what hangs is back
			})
		})
	}
}

func TestShelf_ANewerTokenOfTheStoreIsUsedWithoutARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		one, two := transferCredential(g), transferCredential(g)
		one.shelf, two.shelf = &shelf{store: store}, &shelf{store: store}
		first := mustToken(t, one)
		synctest.Wait()
		if !mustToken(t, two).Same(first) {
			t.Error("another process asked though a token is stored")
		}
		wantRequests(t, g, 1)
		g.Revoke(transferServer)
		one.Rejected(first)
		second := mustToken(t, one)
		synctest.Wait()
		two.Rejected(first)
		if !mustToken(t, two).Same(second) {
			t.Error("another process did not use the newer token")
		}
		wantRequests(t, g, 2)
	})
}

func TestShelf_CredentialsThatAreAskedForAlikeShareAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, cfg := newGlobus(), globusConfig()
		cfg.Tokens["again"] = cfg.Tokens["transfer"]
		delete(cfg.Tokens, "auth")
		set := newSet(t, cfg, emulator.DemoClientSecret, Deps{Transport: g, Store: NewMemory()}, nil)
		set.Warm(t.Context())
		if first := mustTokenOf(t, set, "transfer"); !mustTokenOf(t, set, "again").Same(first) {
			t.Error("each has a token of its own")
		}
		wantRequests(t, g, 1)
		for _, s := range set.Status() {
			if s.Store != "memory" {
				t.Errorf("store %q, want memory", s.Store)
			}
		}
	})
}

func TestShelf_WhoseTokenIsStoredDoesNotWaitForTheOthersRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		first := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g, Store: store}, nil)
		stored := mustTokenOf(t, first, "transfer")
		synctest.Wait()
		if _, err := store.Lease(t.Context(), member(t, first, "auth").key); err != nil { // and never given back
			t.Fatal(err)
		}
		g.SetTokenDelay(9 * time.Second)
		second := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g, Store: store}, nil)
		start := time.Now()
		second.Warm(t.Context())
		if got := mustTokenOf(t, second, "transfer"); !got.Same(stored) || time.Since(start) > 0 {
			t.Errorf("the stored token was there after %v, want at once", time.Since(start))
		}
		mustTokenOf(t, second, "auth")
	})
}

func TestShelf_DeadLeasesAreWaitedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g, Store: store}, nil)
		for _, name := range []string{"auth", "transfer"} {
			if _, err := store.Lease(t.Context(), member(t, set, name).key); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		set.Warm(t.Context())
		mustTokenOf(t, set, "auth")
		mustTokenOf(t, set, "transfer")
		if took := time.Since(start); took > leaseWait+time.Second {
			t.Errorf("the first tokens took %v, want %v for all leases", took, leaseWait)
		}
		wantRequests(t, g, 1)
	})
}

func TestShelf_ASlowEndpointIsAskedByOneOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		var all []*ClientCredentials
		for range 8 {
			c := transferCredential(g)
			c.shelf = &shelf{store: store}
			all = append(all, c)
			mustToken(t, c)
			synctest.Wait()
		}
		wantRequests(t, g, 1)
		g.SetTokenDelay(8 * time.Second)
		for _, c := range all { // all are due at once
			tok := *c.current.Load()
			tok.renewAge = 0
			c.current.Store(&tok)
		}
		time.Sleep(time.Second)
		together(8, func(i int) { <-all[i].renewal(t.Context()) })
		synctest.Wait()
		wantRequests(t, g, 2)
	})
}

func TestShelf_WhileTheEndpointRestsAnothersTokenIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		g.fails(emulator.Failure{Status: 429, Header: http.Header{"Retry-After": {"600"}}})
		c := transferCredential(g)
		c.required, c.shelf = true, &shelf{store: store}
		defer running(t, c)()
		time.Sleep(time.Minute)
		if _, err := c.Token(t.Context()); classOf(err) != ClassRateLimited {
			t.Fatalf("Token() = %v, want the class rate_limited", err)
		}
		g.heals()
		other := transferCredential(g)
		other.shelf = &shelf{store: store}
		tok := mustToken(t, other)
		time.Sleep(2 * pollInterval)
		if got, err := c.Token(t.Context()); err != nil || !got.Same(tok) {
			t.Errorf("Token() = %v, %v; want the one that another process got", got, err)
		}
	})
}

// badEntry is a Memory of which one entry is bad until it is put anew.
type badEntry struct {
	*Memory
	bad atomic.Bool
}

func (b *badEntry) Get(ctx context.Context, key Key) (Token, error) {
	if b.bad.Load() {
		return Token{}, fmt.Errorf("others can read it: %w", ErrMiss)
	}
	return b.Memory.Get(ctx, key)
}

func (b *badEntry) Put(ctx context.Context, key Key, tok Token) error {
	b.bad.Store(false)
	return b.Memory.Put(ctx, key, tok)
}

func TestShelf_ABadEntryIsToldAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &badEntry{Memory: NewMemory()}
		store.bad.Store(true)
		var told atomic.Int64
		c := transferCredential(newGlobus())
		c.shelf = &shelf{store: store, observe: func(string, error) { told.Add(1) }}
		tok := mustToken(t, c)
		synctest.Wait()
		if got, err := store.Get(t.Context(), c.key); err != nil || !got.Same(tok) || told.Load() == 0 {
			t.Errorf("the store has %v, %v after %d reports; want the new token, and to be told", got, err, told.Load())
		}
	})
}

func TestShelf_OneBlipIsOneFailureHoweverManyMeetIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{store: &badStore{do: func(context.Context) (Token, error) {
			time.Sleep(50 * time.Millisecond) // so that all have begun before the first fails
			return Token{}, errors.New("down")
		}}}
		together(8, func(int) { s.get(t.Context(), transferCredential(nil).key) })
		time.Sleep(storeRest)
		if s.resting() {
			t.Errorf("the store is still left alone %v after one blip", storeRest)
		}
	})
}

func TestShelf_ALeaseThatSomebodyElseHasTellsNothingOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{store: NewMemory(), failures: 3}
		key := transferCredential(nil).key
		if _, err := s.store.Lease(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		s.lease(t.Context(), key, time.Second)
		if s.failures != 3 || s.resting() {
			t.Errorf("%d failures, resting %v; want the 3 that were, and no rest", s.failures, s.resting())
		}
	})
}

func TestShelf_TheIntervalCountsFromTheRequestAndNotFromTheWaitForALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		g.SetLifetime(2 * time.Second)
		c := transferCredential(g)
		c.shelf = &shelf{store: store}
		release, err := store.Lease(t.Context(), c.key)
		if err != nil {
			t.Fatal(err)
		}
		mustToken(t, c) // after the wait for that
		release()
		time.Sleep(1500 * time.Millisecond)
		if _, err := c.Token(t.Context()); classOf(err) != ClassBudget {
			t.Errorf("Token() = %v, want the class budget within %v of a request", err, minInterval)
		}
		wantRequests(t, g, 1)
	})
}

func TestShelf_WhatTheStoreHasIsNotReplacedByWhatEndsSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, memory := newGlobus(), NewMemory()
		store := &switched{Store: memory}
		store.down.Store(true)
		c, other := transferCredential(g), transferCredential(g)
		c.shelf, other.shelf = &shelf{store: store}, &shelf{store: memory}
		defer running(t, c)()
		mustToken(t, c)
		time.Sleep(time.Hour)
		later := mustToken(t, other)
		store.down.Store(false)
		time.Sleep(longestRest + pollInterval)
		synctest.Wait()
		if got, err := memory.Get(t.Context(), c.key); err != nil || !got.Same(later) || !mustToken(t, c).Same(later) {
			t.Errorf("the store has %v, %v; want the token that ends later, used by both", got, err)
		}
	})
}

func TestSet_AReloadTakesItsTokensToANewStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		old := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g}, nil)
		tok := mustTokenOf(t, old, "transfer")
		set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g, Store: store}, old)
		renewing(t, set)
		time.Sleep(2 * pollInterval)
		synctest.Wait()
		if got, err := store.Get(t.Context(), member(t, set, "transfer").key); err != nil || !got.Same(tok) {
			t.Errorf("the new store has %v, %v; want the token that was there", got, err)
		}
	})
}

func TestSet_AReloadWhileFirstTokensComeAsksForNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(8 * time.Second)
		deps := Deps{Transport: g, Store: NewMemory()}
		old := newSet(t, globusConfig(), emulator.DemoClientSecret, deps, nil)
		renewing(t, old)
		time.Sleep(time.Second)
		set := newSet(t, globusConfig(), emulator.DemoClientSecret, deps, old)
		renewing(t, set)
		mustTokenOf(t, set, "transfer")
		mustTokenOf(t, set, "auth")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantRequests(t, g, 1)
		for _, s := range set.Status() {
			if s.FailuresInARow != 0 || s.Class != "" {
				t.Errorf("status %+v, want no failure", s)
			}
		}
	})
}

func TestSet_ASpoiledRoundEndsWhereTheEndpointWantsToBeLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		way := transport(func(req *http.Request) (*http.Response, error) {
			if asked++; asked == 1 {
				return answers(http.StatusBadRequest, nil, `{"error":"invalid_scope"}`)(req)
			}
			return answers(http.StatusTooManyRequests, http.Header{"Retry-After": {"600"}}, "")(req)
		})
		set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: way.pointer()}, nil)
		set.Warm(t.Context())
		synctest.Wait()
		if asked != 2 {
			t.Errorf("%d requests, want one together and one alone", asked)
		}
	})
}

func TestShelf_WhatAStoreDidNotTakeIsOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemory()
		store := &switched{Store: memory}
		store.down.Store(true)
		c := transferCredential(newGlobus())
		c.shelf = &shelf{store: store}
		defer running(t, c)()
		tok := mustToken(t, c)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := store.asked.Load(); n > 60 {
			t.Errorf("a store that is down was asked %d times in an hour", n)
		}
		store.down.Store(false)
		time.Sleep(longestRest + pollInterval)
		synctest.Wait()
		if got, err := memory.Get(t.Context(), c.key); err != nil || !got.Same(tok) {
			t.Errorf("once it is back the store has %v, %v; want the token", got, err)
		}
	})
}

// switched is a Store that is down at times.
type switched struct {
	Store
	down  atomic.Bool
	asked atomic.Int64
}

func (s *switched) Get(ctx context.Context, key Key) (Token, error) {
	if s.asked.Add(1); s.down.Load() {
		return Token{}, errors.New("down")
	}
	return s.Store.Get(ctx, key)
}

func (s *switched) Put(ctx context.Context, key Key, tok Token) error {
	if s.asked.Add(1); s.down.Load() {
		return errors.New("down")
	}
	return s.Store.Put(ctx, key, tok)
}

func TestShelf_ARefusedTokenLeavesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store := newGlobus(), NewMemory()
		c := transferCredential(g)
		c.shelf = &shelf{store: store}
		first := mustToken(t, c)
		synctest.Wait()
		g.Revoke(transferServer)
		g.fails(emulator.Unavailable())
		c.Rejected(first)
		_, _ = c.Token(t.Context())
		if _, err := store.Get(t.Context(), c.key); !errors.Is(err, ErrMiss) {
			t.Errorf("the refused token is still stored: %v", err)
		}
	})
}

func TestShelf_AStoreThatHangsIsAskedAgainWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var released atomic.Int64
		hangs := &lateStore{Memory: NewMemory(), released: &released}
		c := transferCredential(newGlobus())
		c.shelf = &shelf{store: hangs}
		first := mustToken(t, c) // while the lease is waited for in vain
		if _, err := hangs.Memory.Get(t.Context(), c.key); !errors.Is(err, ErrMiss) {
			t.Errorf("a store that hangs was asked for more: %v", err)
		}
		if c.shelf.state() != "failing" {
			t.Errorf("state %q while it hangs, want failing", c.shelf.state())
		}
		time.Sleep(time.Hour)
		if released.Load() != 1 {
			t.Errorf("a lease that came too late was given back %d times, want once", released.Load())
		}
		if !c.Rejected(first) || mustToken(t, c).Same(first) {
			t.Error("no second token")
		}
		synctest.Wait()
		if got, err := hangs.Memory.Get(t.Context(), c.key); err != nil || got.Same(first) {
			t.Errorf("the store has %v, %v; want the second token", got, err)
		}
	})
}

// lateStore is a Memory whose first lease comes after a minute, whoever waits.
type lateStore struct {
	*Memory
	asked    bool
	released *atomic.Int64
}

func (l *lateStore) Lease(ctx context.Context, key Key) (func(), error) {
	if !l.asked {
		l.asked = true
		time.Sleep(time.Minute)
		return func() { l.released.Add(1) }, nil
	}
	return l.Memory.Lease(ctx, key)
}
