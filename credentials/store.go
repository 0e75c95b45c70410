package credentials

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// ErrMiss is Store.Get's answer where nothing usable is stored.
var ErrMiss = errors.New("no token is stored")

// Key is everything that shaped a token. Two tokens whose keys differ anywhere
// are never taken for each other.
type Key struct {
	Endpoint       string // the token endpoint, or the issuer it is discovered from
	ClientID       string
	Auth           string // how the client proves itself
	ResourceServer string
	Scopes         []string
	Parameters     map[string]Texts
}

// A Store keeps tokens over restarts and shares them between processes. It is
// never asked while a request waits that a token at hand could serve, and
// whatever goes wrong in it costs a token request, not a caller's. It is safe for
// concurrent use; every wait in it ends with ctx.
type Store interface {
	// Get returns the token stored, or ErrMiss: where there is none, where it has
	// expired, and where what is stored was made for another key or by nobody we
	// know. An error that wraps ErrMiss says what is wrong with an entry, which a
	// Put replaces.
	Get(ctx context.Context, key Key) (Token, error)
	// Put stores a token until it expires.
	Put(ctx context.Context, key Key, tok Token) error
	// Delete forgets tok, and only tok: a newer token stays.
	Delete(ctx context.Context, key Key, tok Token) error
	// Lease waits until this process alone may ask for key's token, so that of
	// many one asks. It is advisory: with an error, and after 15 s, who wants a
	// token asks all the same. Release may be called more than once.
	Lease(ctx context.Context, key Key) (release func(), err error)
}

// ID is a name for the key: the SHA-256 of all of it, in hex.
func (k Key) ID() string {
	text, err := json.Marshal(k)
	if err != nil {
		return "" // strings do not fail to encode
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

const (
	storedVersion = 1
	maxStored     = 64 << 10 // bytes
	maxClockAhead = 5 * time.Minute
	maxInMemory   = 1024 // tokens
)

// stored is a token as stores keep it.
type stored struct {
	Version        int      `json:"version"`
	Key            string   `json:"key"` // Key.ID
	AccessToken    string   `json:"access_token"`
	ResourceServer string   `json:"resource_server"`
	Scopes         []string `json:"scopes"`  // null: the endpoint did not say
	Issued         int64    `json:"issued"`  // ms since 1970
	Expires        int64    `json:"expires"` // ms since 1970
}

// EncodeToken writes a token for a Store. What comes back is a secret, and good
// for key alone. A token without end is none that a Store keeps.
func EncodeToken(key Key, tok Token) ([]byte, error) {
	if tok.ExpiresAt.IsZero() {
		return nil, errors.New("a token without end is not stored")
	}
	return json.Marshal(stored{
		Version: storedVersion, Key: key.ID(), AccessToken: tok.Reveal(), ResourceServer: tok.ResourceServer, Scopes: tok.Scopes,
		Issued: tok.ExpiresAt.Add(-tok.lifetime).UnixMilli(), Expires: tok.ExpiresAt.UnixMilli(),
	})
}

// DecodeToken reads what EncodeToken wrote, as suspiciously as a token endpoint's
// answer: for what was made for another key or changed since, has ended, or lives
// longer than tokens do, the error is ErrMiss.
func DecodeToken(key Key, data []byte, now time.Time) (Token, error) {
	var s stored
	if len(data) > maxStored || json.Unmarshal(data, &s) != nil {
		return Token{}, ErrMiss
	}
	issued, expires := time.UnixMilli(s.Issued), time.UnixMilli(s.Expires)
	life := expires.Sub(issued)
	if s.Version != storedVersion || s.Key != key.ID() || s.ResourceServer != key.ResourceServer ||
		!now.Before(expires) || issued.Sub(now) > maxClockAhead || life <= 0 || life > maxLifetime {
		return Token{}, ErrMiss
	}
	tok, err := newBearer(s.AccessToken)
	if err != nil {
		return Token{}, ErrMiss
	}
	tok.ResourceServer, tok.Scopes, tok.lifetime = s.ResourceServer, s.Scopes, life
	tok.ExpiresAt = now.Add(expires.Sub(now.Round(0))) // on both clocks
	return tok, nil
}

// Memory is a Store that ends with the process.
type Memory struct {
	mu     sync.Mutex // guards the fields below
	tokens map[string][]byte
	leases map[string]chan struct{}
}

// NewMemory returns an empty one. It keeps 1024 tokens at most.
func NewMemory() *Memory {
	return &Memory{tokens: map[string][]byte{}, leases: map[string]chan struct{}{}}
}

// Get is Store's.
func (m *Memory) Get(_ context.Context, key Key) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return DecodeToken(key, m.tokens[key.ID()], time.Now())
}

// Put is Store's.
func (m *Memory) Put(_ context.Context, key Key, tok Token) error {
	data, err := EncodeToken(key, tok)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.tokens[key.ID()]; !there && len(m.tokens) >= maxInMemory {
		return errors.New("the store is full")
	}
	m.tokens[key.ID()] = data
	return nil
}

// Delete is Store's.
func (m *Memory) Delete(_ context.Context, key Key, tok Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kept, err := DecodeToken(key, m.tokens[key.ID()], time.Now()); err != nil || kept.Same(tok) {
		delete(m.tokens, key.ID())
	}
	return nil
}

// Lease is Store's.
func (m *Memory) Lease(ctx context.Context, key Key) (func(), error) {
	for {
		m.mu.Lock()
		held := m.leases[key.ID()]
		if held == nil {
			mine := make(chan struct{})
			m.leases[key.ID()] = mine
			m.mu.Unlock()
			return sync.OnceFunc(func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				delete(m.leases, key.ID())
				close(mine)
			}), nil
		}
		m.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
