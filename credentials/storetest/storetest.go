// Package storetest holds what every credentials.Store must do.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bearerd/credentials"
)

// Key is one that tokens of Token's are stored under.
func Key() credentials.Key {
	return credentials.Key{
		Endpoint: "https://auth.example.org/token", ClientID: "id", Auth: "client_secret_basic",
		ResourceServer: "api.example.org", Scopes: []string{"read", "write[*dependent]"},
		Parameters: map[string]credentials.Texts{"audience": {"a"}},
	}
}

// Token returns a token as an endpoint hands it out.
func Token(t testing.TB, value string, life time.Duration) credentials.Token {
	t.Helper()
	endpoint := credentials.Endpoint{
		URL: "https://auth.example.org/token", Auth: proven{}, Transport: answering(fmt.Sprintf(
			`{"access_token":%q,"token_type":"Bearer","resource_server":"api.example.org","scope":"read write","expires_in":%d}`, value, int(life.Seconds()))),
	}
	tokens, err := endpoint.Grant(t.Context(), []string{"read", "write"})
	if err != nil {
		t.Fatal(err)
	}
	return tokens[0]
}

type proven struct{}

func (proven) Prove(context.Context, string, http.Header, url.Values) error { return nil }

// Run checks that what open opens is a Store. Open makes an empty one for each
// test, which closes it when it ends.
func Run(t *testing.T, open func(t *testing.T) credentials.Store) {
	t.Run("gives back what was put", func(t *testing.T) {
		s, tok := open(t), Token(t, "first", time.Hour)
		if _, err := s.Get(t.Context(), Key()); !errors.Is(err, credentials.ErrMiss) {
			t.Fatalf("an empty store: %v, want ErrMiss", err)
		}
		put(t, s, Key(), tok)
		got, err := s.Get(t.Context(), Key())
		if err != nil || !got.Same(tok) || got.ResourceServer != tok.ResourceServer || strings.Join(got.Scopes, " ") != "read write" {
			t.Fatalf("Get() = %v, %v; want what was put", got, err)
		}
		if off := got.ExpiresAt.Sub(tok.ExpiresAt).Abs(); off > time.Second || got.State(time.Now()) != tok.State(time.Now()) {
			t.Errorf("the token's end is %v off", off)
		}
		newer := Token(t, "second", time.Hour)
		put(t, s, Key(), newer)
		want(t, s, Key(), newer)
	})
	t.Run("keeps what ends to itself", func(t *testing.T) {
		s := open(t)
		put(t, s, Key(), Token(t, "short", time.Second))
		for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			_, err := s.Get(t.Context(), Key())
			if errors.Is(err, credentials.ErrMiss) {
				return
			}
			if err != nil || time.Since(start) > 3*time.Second {
				t.Fatalf("Get() = %v %v after a token of a second was put, want ErrMiss", err, time.Since(start))
			}
		}
	})
	t.Run("never takes one key for another", func(t *testing.T) {
		s := open(t)
		put(t, s, Key(), Token(t, "first", time.Hour))
		for name, change := range map[string]func(*credentials.Key){
			"endpoint":        func(k *credentials.Key) { k.Endpoint += "/" },
			"client":          func(k *credentials.Key) { k.ClientID = "i" },
			"auth":            func(k *credentials.Key) { k.Auth = "client_secret_post" },
			"resource server": func(k *credentials.Key) { k.ResourceServer = "" },
			"fewer scopes":    func(k *credentials.Key) { k.Scopes = k.Scopes[:1] },
			"scopes joined":   func(k *credentials.Key) { k.Scopes = []string{strings.Join(k.Scopes, " ")} },
			"no parameters":   func(k *credentials.Key) { k.Parameters = nil },
			"parameter":       func(k *credentials.Key) { k.Parameters = map[string]credentials.Texts{"audience": {"b"}} },
			"moved border":    func(k *credentials.Key) { k.Endpoint, k.ClientID = k.Endpoint+"i", "d" },
		} {
			key := Key()
			change(&key)
			if _, err := s.Get(t.Context(), key); !errors.Is(err, credentials.ErrMiss) {
				t.Errorf("another %s: %v, want ErrMiss", name, err)
			}
		}
	})
	t.Run("forgets the token it is told to, and no other", func(t *testing.T) {
		s, old, newer := open(t), Token(t, "old", time.Hour), Token(t, "newer", time.Hour)
		put(t, s, Key(), newer)
		if err := s.Delete(t.Context(), Key(), old); err != nil {
			t.Fatal(err)
		}
		want(t, s, Key(), newer)
		if err := s.Delete(t.Context(), Key(), newer); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), Key()); !errors.Is(err, credentials.ErrMiss) {
			t.Errorf("after Delete: %v, want ErrMiss", err)
		}
		if err := s.Delete(t.Context(), Key(), newer); err != nil {
			t.Errorf("deleting what is not there: %v", err)
		}
	})
	t.Run("leases to one at a time", func(t *testing.T) {
		s := open(t)
		var holders, most, turns atomic.Int64
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				release, err := s.Lease(ctx, Key())
				cancel() // the wait is over, the lease is not
				if err != nil {
					t.Errorf("Lease() = %v", err)
					return
				}
				most.Store(max(most.Load(), holders.Add(1)))
				turns.Add(1)
				time.Sleep(5 * time.Millisecond)
				holders.Add(-1)
				release()
				release() // does no harm
			})
		}
		group.Wait()
		if most.Load() != 1 || turns.Load() != 8 {
			t.Errorf("%d held the lease at once and %d had it, want 1 and 8", most.Load(), turns.Load())
		}
	})
	t.Run("waits for a lease as long as it is told to", func(t *testing.T) {
		s := open(t)
		release, err := s.Lease(t.Context(), Key())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := s.Lease(ctx, Key()); err == nil {
			t.Error("a lease was given twice")
		}
		other := Key()
		other.ClientID = "another"
		free, err := s.Lease(t.Context(), other)
		if err != nil {
			t.Fatalf("another key's lease: %v", err)
		}
		free()
	})
}

func put(t *testing.T, s credentials.Store, key credentials.Key, tok credentials.Token) {
	t.Helper()
	if err := s.Put(t.Context(), key, tok); err != nil {
		t.Fatalf("Put() = %v", err)
	}
}

func want(t *testing.T, s credentials.Store, key credentials.Key, tok credentials.Token) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if err != nil || !got.Same(tok) {
		t.Errorf("Get() = %v, %v; want %v", got, err, tok)
	}
}
