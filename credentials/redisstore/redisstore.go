// Package redisstore keeps tokens in Redis or Valkey, so that any number of
// bearerds spend one token request for each renewal. The server is trusted with
// nothing: values are sealed, and what it makes up is not believed.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"bearerd/credentials"
)

const (
	usualTimeout = 50 * time.Millisecond
	connectWait  = 4               // times the timeout
	retryEvery   = 2 * time.Second // connecting, and after a failure
	leaseLife    = 15 * time.Second
	leaseRetry   = 25 * time.Millisecond
	tokenPrefix  = "bearerd:token:"
	leasePrefix  = "bearerd:lease"
)

// Options say where the store is. URL is redis://, rediss:// or unix://, and may
// hold a password. Keys seal what is stored: the first seals, all open, so that a
// new one is put first and the old one taken out when its tokens have ended.
type Options struct {
	URL     credentials.Secret
	Keys    []credentials.Secret
	Timeout time.Duration // of one operation; 0: 50 ms
}

// Store is a credentials.Store in Redis.
type Store struct {
	option  rueidis.ClientOption
	ring    ring
	timeout time.Duration

	closing chan struct{}
	closed  chan struct{} // once connecting has ended
	ready   chan struct{} // once locker is there

	mu        sync.Mutex // guards the fields below
	locker    rueidislock.Locker
	restUntil time.Time
}

var _ credentials.Store = (*Store)(nil)

var (
	errHeld    = errors.New("waiting for another bearerd's token request")
	errDown    = errors.New("Redis is not reached; going on without it")                        //nolint:staticcheck // a name
	errRests   = errors.New("Redis failed a moment ago and is left alone; going on without it") //nolint:staticcheck // a name
	errForeign = fmt.Errorf("what lies in a token's place is no text; it will be replaced: %w", credentials.ErrMiss)
	errURL     = errors.New("not the URL of a Redis; write one such as redis://localhost:6379/0") // which may hold a password
)

// Open returns the store, and connects in the background: a Redis that is down
// costs nothing but its errors. Its own errors are about the options.
func Open(options Options) (*Store, error) {
	parsed, err := rueidis.ParseURL(options.URL.Reveal())
	if err != nil {
		return nil, errURL
	}
	sealing, err := newRing(options.Keys)
	if err != nil {
		return nil, err
	}
	timeout := options.Timeout
	if timeout == 0 {
		timeout = usualTimeout
	}
	parsed.DisableCache, parsed.DisableRetry, parsed.ForceSingleClient = true, true, true
	parsed.Dialer.Timeout, parsed.ConnWriteTimeout = 10*timeout, 10*timeout
	s := &Store{
		option: parsed, ring: sealing, timeout: timeout,
		closing: make(chan struct{}), closed: make(chan struct{}), ready: make(chan struct{}),
	}
	go s.connect() // ends with Close, which waits for it
	return s, nil
}

// CheckURL returns what Open would find wrong with a URL.
func CheckURL(url credentials.Secret) error {
	if _, err := rueidis.ParseURL(url.Reveal()); err != nil {
		return errURL
	}
	return nil
}

// connect tries until there is a connection. What comes after it, the library does.
func (s *Store) connect() {
	defer close(s.closed)
	for {
		locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
			ClientOption: s.option, KeyPrefix: leasePrefix, KeyMajority: 1,
			TryNextAfter: s.timeout,                            // for one answer; a Redis may be far away
			KeyValidity:  leaseLife, ExtendInterval: leaseLife, // never extended: that would go by this machine's clock
			FallbackSETPX: true, // and so would the usual way to take it
		})
		if err == nil {
			s.mu.Lock()
			s.locker = locker
			s.mu.Unlock()
			close(s.ready)
			return
		}
		select {
		case <-time.After(retryEvery):
		case <-s.closing:
			return
		}
	}
}

// Close ends everything that the store has under way. It must be called once.
func (s *Store) Close() {
	close(s.closing)
	<-s.closed
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locker != nil {
		s.locker.Close()
	}
}

// do runs one operation within the timeout, unless one failed a moment ago.
func (s *Store) do(ctx context.Context, run func(ctx context.Context, client rueidis.Client) error) error {
	if err := s.rests(); err != nil {
		return err
	}
	select {
	case <-s.ready:
	case <-time.After(connectWait * s.timeout): // of the first connection
		return errDown
	case <-ctx.Done():
		return errDown
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	err := run(ctx, s.locker.Client())
	if err != nil && !errors.Is(err, credentials.ErrMiss) {
		if caller.Err() == nil {
			s.rest()
		}
		return errDown // its own words may quote the server's
	}
	return err
}

func (s *Store) rests() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.restUntil) {
		return errRests
	}
	return nil
}

func (s *Store) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restUntil = time.Now().Add(retryEvery)
}

// Get is credentials.Store's.
func (s *Store) Get(ctx context.Context, key credentials.Key) (tok credentials.Token, err error) {
	err = s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		_, tok, err = s.read(ctx, client, key)
		return err
	})
	return tok, err
}

// read returns what is stored as it is, and the token in it.
func (s *Store) read(ctx context.Context, client rueidis.Client, key credentials.Key) (string, credentials.Token, error) {
	sealed, err := client.Do(ctx, client.B().Get().Key(tokenPrefix+key.ID()).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return "", credentials.Token{}, credentials.ErrMiss
	}
	if told, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(told.Error(), "WRONGTYPE") {
		return "", credentials.Token{}, errForeign
	}
	if err != nil {
		return "", credentials.Token{}, err
	}
	data, ok := s.ring.open(key, sealed)
	if !ok {
		return sealed, credentials.Token{}, credentials.ErrMiss
	}
	tok, err := credentials.DecodeToken(key, data, time.Now())
	return sealed, tok, err
}

// Put is credentials.Store's.
func (s *Store) Put(ctx context.Context, key credentials.Key, tok credentials.Token) error {
	data, err := credentials.EncodeToken(key, tok)
	if err != nil {
		return err
	}
	life := time.Until(tok.ExpiresAt)
	if life <= 0 {
		return nil
	}
	return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Set().Key(tokenPrefix+key.ID()).Value(s.ring.seal(key, data)).Px(life).Build()).Error()
	})
}

// compareAndDelete deletes a value if it is still the one that was looked at.
var compareAndDelete = rueidis.NewLuaScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// Delete is credentials.Store's.
func (s *Store) Delete(ctx context.Context, key credentials.Key, tok credentials.Token) error {
	return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		sealed, kept, err := s.read(ctx, client, key)
		if errors.Is(err, credentials.ErrMiss) || err == nil && !kept.Same(tok) {
			return nil
		}
		if err != nil {
			return err
		}
		return compareAndDelete.Exec(ctx, client, []string{tokenPrefix + key.ID()}, []string{sealed}).Error()
	})
}

// Lease is credentials.Store's. It waits until ctx ends, or Redis fails.
func (s *Store) Lease(ctx context.Context, key credentials.Key) (func(), error) {
	for {
		if ctx.Err() != nil {
			return nil, errHeld
		}
		if err := s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
			return client.Do(ctx, client.B().Ping().Build()).Error() // the lock tells no failure from a lock that is held
		}); err != nil {
			return nil, err
		}
		// The lock lasts as long as its context, so that must not be the caller's wait.
		held, end := context.WithTimeout(context.WithoutCancel(ctx), leaseLife)
		_, release, err := s.locker.TryWithContext(held, key.ID())
		if err == nil {
			return func() { release(); end() }, nil
		}
		end()
		if !errors.Is(err, rueidislock.ErrNotLocked) {
			s.rest()
			return nil, errDown
		}
		select {
		case <-time.After(leaseRetry):
		case <-ctx.Done():
			return nil, errHeld
		}
	}
}
