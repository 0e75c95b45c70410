package credentials

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An Authorizer puts credentials on requests to one resource server. It is safe
// for concurrent use.
type Authorizer interface {
	// Authorize sets req's credentials, replacing any it carries, and returns
	// the token used. It may wait for a token until req's context ends; its
	// errors are a *RestingError, or the context's.
	Authorize(req *http.Request) (Token, error)
	// Rejected gives back a token the upstream refused. If it is still the
	// current one it is forgotten, so a hundred such calls cost one renewal.
	// It reports whether authorizing again may help.
	Rejected(tok Token) (retry bool)
}

// A Consenter is an Authorizer whose client can consent to a scope for itself, as
// Globus's service accounts do: by asking for a token with it. It is safe for
// concurrent use.
type Consenter interface {
	// Consent has one token granted with scope, and discards it; the current
	// token stays. It waits until ctx ends at most, and a hundred such calls make
	// one request, whose report says because of what the first was made. Where
	// consent was granted a while ago it makes none, and returns a *ConsentedError.
	Consent(ctx context.Context, scope string, because map[string]string) error
}

// A ConsentedError says that no consent was asked for, since it was granted
// before: what was refused later than At is not refused for want of it.
type ConsentedError struct{ At time.Time }

func (*ConsentedError) Error() string { return "consent was granted already" }

// AccessToken returns an Authorizer with one fixed token, as globus_sdk's
// AccessTokenAuthorizer; a refusal of it cannot be helped. The error says what
// is wrong with the token and does not hold it.
func AccessToken(token Secret) (Authorizer, error) {
	tok, err := newBearer(token.Reveal())
	return static{tok}, err
}

// Basic returns an Authorizer that sends HTTP Basic credentials (RFC 7617).
func Basic(username string, password Secret) Authorizer {
	return static{newBasic(username, password.Reveal())}
}

func newBasic(username, password string) Token {
	pair := username + ":" + password
	return newToken(pair, "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
}

// None returns an Authorizer that takes any Authorization off the request and
// puts none on, for what upstreams serve to everybody.
func None() Authorizer { return none{} }

type static struct{ token Token }

func (s static) Authorize(req *http.Request) (Token, error) {
	s.token.put(req)
	return s.token, nil
}

func (static) Rejected(Token) bool { return false }

type none struct{}

func (none) Authorize(req *http.Request) (Token, error) {
	req.Header.Del("Authorization")
	return Token{}, nil
}

func (none) Rejected(Token) bool { return false }

// watched is an Authorizer whose token, or password, is read anew when what it is
// kept in changes: a projected ServiceAccount token is replaced every hour or so.
// What cannot be read, or not be sent, leaves the one before in force, and is told
// once.
type watched struct {
	name     string
	from     Reference
	made     func(text string) (Token, error)
	required bool
	observe  Observer // nil: nobody

	current atomic.Pointer[Token]

	looking sync.Mutex // held by one look at a time, so that none undoes a later one
	mu      sync.Mutex // guards failed
	failed  error      // of the last look; nil: it was good
}

func (w *watched) Authorize(req *http.Request) (Token, error) {
	tok := w.current.Load()
	tok.put(req)
	return *tok, nil
}

// Rejected looks for a newer token; without one, the refusal cannot be helped.
func (w *watched) Rejected(tok Token) bool {
	_ = w.look()
	return !w.current.Load().Same(tok)
}

// look reads the token and keeps it if it is another.
func (w *watched) look() error {
	w.looking.Lock()
	defer w.looking.Unlock()
	tok, err := w.read()
	w.mu.Lock()
	before := w.failed
	w.failed = err
	current := w.current.Load()
	changed := err == nil && (current == nil || !current.Same(tok))
	if changed {
		w.current.Store(&tok)
	}
	w.mu.Unlock()
	switch {
	case w.observe == nil || current == nil: // the first is told by who made it
	case err != nil && (before == nil || before.Error() != err.Error()):
		w.observe(Renewal{Credential: w.name, Read: true, Class: ClassSecret, RetryIn: pollInterval, Err: err})
	case changed || err == nil && before != nil:
		w.observe(Renewal{Credential: w.name, Read: true, Token: tok})
	}
	return err
}

func (w *watched) read() (Token, error) {
	secret, err := w.from.Read()
	if err != nil {
		return Token{}, err
	}
	tok, err := w.made(secret.Reveal())
	if err != nil {
		return Token{}, fmt.Errorf("what %s names cannot be sent: %w", w.from, err)
	}
	return tok, nil
}

func (w *watched) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{
		Credential: w.name, State: StateFixed, Store: "memory", Required: w.required, Obtained: true,
		Fingerprint: w.current.Load().Fingerprint(),
	}
	if w.failed != nil {
		s.LastResult, s.Class, s.Reason = "failed", ClassSecret, w.failed.Error()+"; the one before is used on"
	}
	return s
}
