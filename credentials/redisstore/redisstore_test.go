package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bearerd/credentials"
	"bearerd/credentials/storetest"
	"bearerd/test/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	oneKey  = credentials.NewSecret("the first key, of more than 32 characters")
	another = credentials.NewSecret("another key, of more than 32 characters too")
)

func open(t *testing.T, server *redis.Server, keys ...credentials.Secret) *Store {
	t.Helper()
	s, err := Open(Options{URL: credentials.NewSecret(server.URL), Keys: keys, Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	<-s.ready
	return s
}

func TestStore_IsAStore(t *testing.T) {
	server := redis.Start(t)
	storetest.Run(t, func(t *testing.T) credentials.Store {
		server.Flush()
		return open(t, server, oneKey)
	})
}

func TestOpen_SaysWhatIsWrongAndHoldsNoPassword(t *testing.T) {
	for name, options := range map[string]Options{
		"no key":      {URL: credentials.NewSecret("redis://localhost")},
		"a short key": {URL: credentials.NewSecret("redis://localhost"), Keys: []credentials.Secret{credentials.NewSecret("hidden")}},
		"no URL":      {URL: credentials.NewSecret("http://u:hidden@localhost"), Keys: []credentials.Secret{oneKey}},
	} {
		_, err := Open(options)
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want an error without the secret", name, err)
		}
	}
}

func TestStore_WhatLiesInRedisIsSealedForItsPlaceAndKeys(t *testing.T) {
	server := redis.Start(t)
	s, key := open(t, server, oneKey), storetest.Key()
	other := storetest.Key()
	other.ClientID = "another"
	tok := storetest.Token(t, "AgVisible", time.Hour)
	if err := s.Put(t.Context(), key, tok); err != nil {
		t.Fatal(err)
	}
	if raw := server.Do("GETRANGE", tokenPrefix+key.ID(), "0", "-1"); strings.Contains(raw, "AgVisible") {
		t.Error("the token is to be read in Redis")
	}
	miss := func(what string, s *Store, key credentials.Key) {
		t.Helper()
		if _, err := s.Get(t.Context(), key); !errors.Is(err, credentials.ErrMiss) {
			t.Errorf("%s: %v, want ErrMiss", what, err)
		}
	}
	server.Do("COPY", tokenPrefix+key.ID(), tokenPrefix+other.ID())
	miss("a value moved to another key", s, other)
	miss("a stranger's keys", open(t, server, another), key)
	rotated := open(t, server, another, oneKey)
	if got, err := rotated.Get(t.Context(), key); err != nil || !got.Same(tok) {
		t.Errorf("the old key of two does not open: %v", err)
	}
	if err := rotated.Put(t.Context(), key, tok); err != nil {
		t.Fatal(err)
	}
	miss("sealed with the new key, for who has the old one alone", s, key)
	for _, poison := range []string{"", "x", strings.Repeat("x", 100), "AgVisible"} {
		server.Do("SET", tokenPrefix+key.ID(), poison)
		miss("poison", s, key)
	}
	server.Do("DEL", tokenPrefix+key.ID())
	server.Do("LPUSH", tokenPrefix+key.ID(), "a list")
	if _, err := s.Get(t.Context(), key); err == nil {
		t.Error("a list was taken for a token")
	}
}

func TestStore_ARedisThatFailsIsLeftAloneAndComesBack(t *testing.T) {
	for _, tt := range []struct {
		name        string
		break_, end func(*redis.Server)
	}{
		{"killed", (*redis.Server).Kill, (*redis.Server).Restart},
		{"paused", (*redis.Server).Pause, (*redis.Server).Resume},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := redis.Start(t)
			s, key, tok := open(t, server, oneKey), storetest.Key(), storetest.Token(t, "first", time.Hour)
			if err := s.Put(t.Context(), key, tok); err != nil {
				t.Fatal(err)
			}
			tt.break_(server)
			for _, op := range []func() error{
				func() error { _, err := s.Get(t.Context(), key); return err },
				func() error { return s.Put(t.Context(), key, tok) },
				func() error { return s.Delete(t.Context(), key, tok) },
				func() error { _, err := s.Lease(t.Context(), key); return err },
			} {
				start := time.Now()
				if err := op(); err == nil || errors.Is(err, credentials.ErrMiss) {
					t.Errorf("an operation succeeded without a Redis: %v", err)
				}
				if took := time.Since(start); took > 3*s.timeout {
					t.Errorf("an operation took %v, want %v at most", took, s.timeout)
				}
			}
			tt.end(server)
			for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				if err := s.Put(t.Context(), key, tok); err == nil {
					return
				}
				if time.Since(start) > 10*time.Second {
					t.Fatal("the store did not come back")
				}
			}
		})
	}
}

func TestOpen_ARedisThatIsDownCostsNothingAndIsFoundLater(t *testing.T) {
	server := redis.Start(t)
	server.Kill()
	s, err := Open(Options{URL: credentials.NewSecret(server.URL), Keys: []credentials.Secret{oneKey}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if _, err := s.Get(t.Context(), storetest.Key()); err == nil || errors.Is(err, credentials.ErrMiss) {
		t.Errorf("Get() = %v, want an error", err)
	}
	server.Restart()
	<-s.ready
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.Get(t.Context(), storetest.Key()); errors.Is(err, credentials.ErrMiss) {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("the store did not come back")
		}
	}
}

// far is a way to a server on which each byte takes a while.
func far(t *testing.T, server *redis.Server, delay time.Duration) credentials.Secret {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	carry := func(to, from net.Conn) {
		defer func() { _, _ = to.Close(), from.Close() }()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			time.Sleep(delay) // of the way, not of the test
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "redis://"))
			if err != nil {
				_ = near.Close()
				continue
			}
			all.Go(func() { carry(there, near) })
			all.Go(func() { carry(near, there) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return credentials.NewSecret("redis://" + l.Addr().String())
}

func TestStore_ARedisFarAwayLeasesToo(t *testing.T) {
	server := redis.Start(t)
	s, err := Open(Options{URL: far(t, server, 30*time.Millisecond), Keys: []credentials.Secret{oneKey}, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	<-s.ready
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		release, err := s.Lease(ctx, storetest.Key())
		cancel()
		if err != nil {
			t.Fatalf("Lease() = %v", err)
		}
		release()
	}
}

func TestStore_ACallerWhoseTimeIsOverIsNoFaultOfRedis(t *testing.T) {
	s := open(t, redis.Start(t), oneKey)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		_, _ = s.Lease(over, storetest.Key())
		_, _ = s.Get(over, storetest.Key())
		if err := s.rests(); err != nil {
			t.Fatal(err)
		}
	}
}

// A holder that dies leaves its lease to end by itself, by Redis's own clock.
func TestStore_ALeaseOfTheDeadEnds(t *testing.T) {
	server := redis.Start(t)
	s := open(t, server, oneKey)
	release, err := s.Lease(t.Context(), storetest.Key())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	var life int
	if _, err := fmt.Sscanf(server.Do("PTTL", leasePrefix+":0:"+storetest.Key().ID()), ":%d", &life); err != nil || life <= 0 || life > int(leaseLife.Milliseconds()) {
		t.Errorf("the lease ends in %d ms, %v; want %v at most", life, err, leaseLife)
	}
}
