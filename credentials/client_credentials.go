package credentials

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Renewal is one token request for one credential, as told to an Observer.
type Renewal struct {
	Credential string
	Token      Token // zero if it failed
	Forced     bool  // because an upstream refused the token before
	Took       time.Duration
	RetryIn    time.Duration // after a failure: no request before that
	Err        error
}

// An Observer is told of each Renewal once, by the goroutine that made it.
type Observer func(Renewal)

// ClientCredentials is an Authorizer that gets tokens for one resource server by
// the client credentials grant: at first need, again when margin is left of the
// current one, and once more when an upstream refuses it. However many callers
// wait, one request is under way, on a context that none of them can cancel. An
// expired token is never used.
type ClientCredentials struct {
	name           string
	endpoint       *Endpoint
	resourceServer string // "" for servers that name none
	scopes         []string
	margin         time.Duration
	observe        Observer

	current atomic.Pointer[Token] // immutable; set by keep, cleared by Rejected
	flight  singleflight.Group

	consents consents

	mu        sync.Mutex // guards the fields below
	forced    bool       // an upstream refused the token: the next renewal is for that
	forcedAt  time.Time
	failures  int // renewals failed in a row
	retryAt   time.Time
	lastError error
}

// Authorize puts the current token on req, after getting one if need be. It
// waits until req's context ends at most.
func (c *ClientCredentials) Authorize(req *http.Request) (Token, error) {
	tok, err := c.Token(req.Context())
	if err != nil {
		return Token{}, err
	}
	tok.put(req)
	return tok, nil
}

// Token returns a token with margin to spare, or a *RestingError around an
// *Error, or ctx's error.
func (c *ClientCredentials) Token(ctx context.Context) (Token, error) {
	if tok := c.current.Load(); tok != nil && tok.usable(time.Now(), c.margin) {
		return *tok, nil
	}
	if err := c.resting(time.Now()); err != nil {
		return Token{}, err
	}
	ch := c.flight.DoChan("", func() (v any, err error) {
		defer recovered(&err)                                                        // a panic inside DoChan would end the process
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grantTimeout) // outlives the caller that started it
		defer cancel()
		return c.renew(ctx)
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return Token{}, r.Err
		}
		return r.Val.(Token), nil
	case <-ctx.Done():
		return Token{}, fmt.Errorf("waiting for a token: %w", context.Cause(ctx))
	}
}

// Rejected forgets tok if it is the current token, at most once per 10 s; within
// them it reports false, and the upstream's refusal stands.
func (c *ClientCredentials) Rejected(tok Token) bool {
	current := c.current.Load()
	if current == nil || !current.Same(tok) {
		return true // another caller was here first; a newer token is there or on its way
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.forcedAt.IsZero() && now.Sub(c.forcedAt) < forcedInterval {
		return c.current.Load() != current
	}
	if c.current.CompareAndSwap(current, nil) {
		c.forced, c.forcedAt = true, now
	}
	return true
}

// renew asks for a token, unless another caller's request ended a moment ago.
func (c *ClientCredentials) renew(ctx context.Context) (Token, error) {
	start := time.Now()
	if tok := c.current.Load(); tok != nil && tok.usable(start, c.margin) {
		return *tok, nil
	}
	if err := c.resting(start); err != nil {
		return Token{}, err
	}
	tok, err := func() (tok Token, err error) {
		defer recovered(&err) // so that a panic counts as a failure, and is told
		tokens, err := c.endpoint.Grant(ctx, c.scopes)
		if err != nil {
			return Token{}, err
		}
		return c.pick(tokens)
	}()
	wait := c.settle(tok, err, time.Since(start))
	if err != nil {
		return Token{}, &RestingError{Wait: wait, Err: err}
	}
	return tok, nil
}

// pick returns the token for this resource server, and never another's.
func (c *ClientCredentials) pick(tokens []Token) (Token, error) {
	for _, tok := range tokens {
		if tok.ResourceServer == c.resourceServer {
			return tok, nil
		}
	}
	reason := "the answer has no token for resource server " + c.resourceServer + "; check scopes and resource_server"
	if c.resourceServer == "" {
		reason = "the answer names a resource server; write it as resource_server"
	}
	return Token{}, c.endpoint.fail(http.StatusOK, "", reason)
}

// settle keeps the outcome of a request and tells it. After a failure it returns
// how long the endpoint is left alone.
func (c *ClientCredentials) settle(tok Token, err error, took time.Duration) time.Duration {
	c.mu.Lock()
	told := Renewal{Credential: c.name, Token: tok, Forced: c.forced, Took: took, Err: err}
	if err == nil {
		c.current.Store(&tok)
		c.forced, c.failures, c.retryAt, c.lastError = false, 0, time.Time{}, nil
	} else {
		c.failures++
		told.RetryIn = backoff(c.failures, err)
		c.retryAt, c.lastError = time.Now().Add(told.RetryIn), err
	}
	c.mu.Unlock()
	if c.observe != nil {
		c.observe(told)
	}
	return told.RetryIn
}

// resting returns the last failure while the endpoint is to be left alone.
func (c *ClientCredentials) resting(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.retryAt) {
		return &RestingError{Wait: c.retryAt.Sub(now), Err: c.lastError}
	}
	return nil
}

// RestingError is a failed token request, told to all who waited for it and, until
// Wait is over, to all who come without another request.
type RestingError struct {
	Wait time.Duration
	Err  error
}

func (e *RestingError) Error() string { return e.Err.Error() }
func (e *RestingError) Unwrap() error { return e.Err }

// recovered turns a panic into an error that holds nothing of the panic's value,
// which may be a request with its credentials.
func recovered(err *error) {
	if recover() != nil {
		*err = &Error{Reason: "bearerd failed while asking for a token; this is a bug"}
	}
}
