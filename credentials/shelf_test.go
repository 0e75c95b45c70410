package credentials

import (
	"context"
	"errors"
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
