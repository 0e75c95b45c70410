package credentials

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Renewal is one token request for one credential, or what stood in for it, as told
// to an Observer.
type Renewal struct {
	Credential string
	Token      Token // zero if it failed
	Forced     bool  // because an upstream refused the token before
	Stored     bool  // the token was read from the store, and no request made
	Read       bool  // it is fixed, and was read anew from what the configuration names
	Took       time.Duration
	RetryIn    time.Duration // after a failure: no request before that
	Class      Class         // of the failure; "" if it succeeded
	Warning    string        // it succeeded, but somebody should look
	Err        error
}

// An Observer is told of each Renewal once, by the goroutine that made it.
type Observer func(Renewal)

// ClientCredentials is an Authorizer that gets tokens for one resource server by
// the client credentials grant. Run renews them ahead of need, so that a request
// waits for the very first token at most, and for one that follows a refusal.
// However many callers wait, one request is under way, on a context that none of
// them can cancel. An expired token is never used.
type ClientCredentials struct {
	name     string
	endpoint *Endpoint
	key      Key      // what shapes its tokens
	fallback []string // the scopes to ask for where the endpoint does not know all; nil: none
	extras   []string // what fallback leaves out, each to be consented to then
	margin   time.Duration
	required bool
	pace     pace
	observe  Observer
	shelf    *shelf

	observeConsent func(Consented)

	current atomic.Pointer[Token] // immutable; set by keep, cleared by Rejected
	flight  singleflight.Group
	waiters atomic.Int64
	wake    chan struct{} // Run looks again

	renewing atomic.Bool           // a renewal is under way
	unsaved  atomic.Pointer[Token] // one that the store did not take

	consents consents

	mu        sync.Mutex // guards the fields below
	refused   *Token     // an upstream refused it: the next renewal is for that
	forcedAt  time.Time
	asked     ledger
	enteredAt time.Time // the last request was about to be sent
	askedAt   time.Time // the last that succeeded was
	obtained  bool
	failures  int // renewals failed in a row
	retryAt   time.Time
	lastError error
	lastAt    time.Time // the last request ended
	warning   string
}

func newClientCredentials(name string, endpoint *Endpoint, key Key, margin time.Duration) *ClientCredentials {
	return &ClientCredentials{
		name: name, endpoint: endpoint, key: key, margin: margin,
		pace: usualPace, wake: make(chan struct{}, 1), consents: consents{turn: make(chan struct{}, 1)},
	}
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
	now := time.Now()
	if tok := c.current.Load(); tok != nil && tok.usable(now, c.margin) {
		return *tok, nil
	}
	if err := c.resting(now); err != nil {
		return Token{}, err
	}
	c.waiters.Add(1)
	defer c.waiters.Add(-1)
	select {
	case r := <-c.renewal(ctx):
		if r.Err != nil {
			return Token{}, r.Err
		}
		return r.Val.(Token), nil
	case <-ctx.Done():
		return Token{}, fmt.Errorf("waiting for a token: %w", context.Cause(ctx))
	}
}

// Rejected forgets tok if it is the current token, at most once per 10 s. Within
// them, and while the endpoint is left alone, it reports false: the token stays,
// and the upstream's refusal stands.
func (c *ClientCredentials) Rejected(tok Token) bool {
	current := c.current.Load()
	if current == nil || !current.Same(tok) {
		return true // another caller was here first; a newer token is there or on its way
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	justForced := !c.forcedAt.IsZero() && now.Sub(c.forcedAt) < c.pace.forcedInterval
	if justForced || c.restOver(now) > 0 || c.asked.count(now) >= c.pace.hourlyBudget {
		return c.current.Load() != current
	}
	if c.current.CompareAndSwap(current, nil) {
		c.refused, c.forcedAt = current, now
		c.look()
	}
	return true
}

// look has Run see what is to be done.
func (c *ClientCredentials) look() {
	select {
	case c.wake <- struct{}{}:
	default: // it will
	}
}

// renewal starts the one renewal there is at a time, or joins it. It goes on
// whether or not anybody waits for it: its own request, another process's and one
// without extra scopes have the endpoint's timeout (10 s) each, the store some
// seconds more.
func (c *ClientCredentials) renewal(ctx context.Context) <-chan singleflight.Result {
	return c.flight.DoChan("", func() (v any, err error) {
		defer recovered(&err) // a panic inside DoChan would end the process
		c.renewing.Store(true)
		defer c.renewing.Store(false)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*c.endpoint.timeout()+storeWait) // outlives the caller that started it
		defer cancel()
		return c.renew(ctx)
	})
}

// renew gets a token, unless another renewal ended a moment ago: from the store if
// another process has put one there, else from the endpoint.
func (c *ClientCredentials) renew(ctx context.Context) (Token, error) {
	start := time.Now()
	if tok := c.current.Load(); tok != nil && tok.State(start) == StateFresh && tok.usable(start, c.margin) {
		return *tok, nil
	}
	if err := c.resting(start); err != nil {
		return Token{}, err
	}
	if refused := c.isRefused(); refused != nil {
		c.shelf.forget(ctx, c.key, *refused)
	}
	if tok, ok := c.fromStore(ctx); ok {
		return tok, nil
	}
	wait := leaseWait
	if tok := c.current.Load(); tok != nil && tok.usable(start, c.margin) {
		wait = c.endpoint.timeout() + time.Second // nobody waits: there is time for another process's request
	}
	release := c.shelf.lease(ctx, c.key, wait)
	var got *Token
	defer func() { c.giveBack(release, got) }()
	if c.shelf != nil { // another process may have asked meanwhile
		if tok, ok := c.fromStore(ctx); ok {
			return tok, nil
		}
	}
	tok, warning, err := func() (tok Token, warning string, err error) {
		defer recovered(&err) // so that a panic counts as a failure, and is told
		if err := c.spend(time.Now()); err != nil {
			return Token{}, "", err
		}
		return c.ask(ctx)
	}()
	rest := c.settle(tok, warning, err, start)
	if err != nil {
		return Token{}, &RestingError{Wait: rest, Err: err}
	}
	got = &tok
	if kept := c.current.Load(); kept != nil {
		return *kept, nil
	}
	return tok, nil // refused already; its upstream will say so again
}

// giveBack ends a lease, after the token that was got under it is in the store.
// Nobody waits for either.
func (c *ClientCredentials) giveBack(release func(), got *Token) {
	if release == nil {
		return
	}
	c.shelf.later(func() {
		if got != nil {
			c.save(*got)
		}
		release()
	})
}

// save puts a token into the store, or remembers that it has to be.
func (c *ClientCredentials) save(tok Token) {
	if c.shelf.put(context.Background(), c.key, tok) {
		c.unsaved.Store(nil)
		return
	}
	c.unsaved.Store(&tok)
}

// fromStore takes a token from the store, if there is a better one than the
// current and it is not the one that was refused.
func (c *ClientCredentials) fromStore(ctx context.Context) (Token, bool) {
	tok, ok := c.shelf.get(ctx, c.key)
	if !ok {
		return Token{}, false
	}
	now := time.Now()
	c.mu.Lock()
	current := c.current.Load()
	switch {
	case !tok.usable(now, c.margin),
		c.refused != nil && c.refused.Same(tok),
		current != nil && (current.Same(tok) || tok.ExpiresAt.Before(current.ExpiresAt)):
		c.mu.Unlock()
		return Token{}, false
	}
	tok = c.keep(tok)
	c.mu.Unlock()
	c.tell(Renewal{Credential: c.name, Token: tok, Stored: true})
	return tok, true
}

// outcome is what is at hand after a renewal that was made with others.
func (c *ClientCredentials) outcome() (Token, error) {
	if tok := c.current.Load(); tok != nil {
		return *tok, nil
	}
	if err := c.resting(time.Now()); err != nil {
		return Token{}, err
	}
	return Token{}, &RestingError{Err: c.endpoint.fail(0, "", ClassNetwork, "no token came; ask again")}
}

// inherit takes over what before holds, for a credential that differs only in how
// its tokens are asked for. A rest after failures is not taken over: what was
// changed may be what failed.
func (c *ClientCredentials) inherit(before *ClientCredentials) {
	before.mu.Lock()
	defer before.mu.Unlock()
	if tok := before.current.Load(); tok != nil {
		kept := *tok
		kept.renewAge = renewalAge(kept.lifetime, c.margin, rand.Float64()) // the margin may be another
		c.current.Store(&kept)
		if c.shelf != before.shelf || before.unsaved.Load() != nil {
			c.unsaved.Store(&kept)
		}
	}
	c.obtained, c.asked, c.askedAt, c.lastAt = before.obtained, ledger{slices.Clone(before.asked.made)}, before.askedAt, before.lastAt
}

// keep makes tok the current token; c.mu is held.
func (c *ClientCredentials) keep(tok Token) Token {
	tok.renewAge = renewalAge(tok.lifetime, c.margin, rand.Float64())
	c.current.Store(&tok)
	c.refused, c.obtained = nil, true
	c.failures, c.retryAt, c.lastError = 0, time.Time{}, nil
	c.look()
	return tok
}

// settle keeps the outcome of a request and tells it. After a failure it returns
// how long the endpoint is left alone; a token that was refused, but has not
// ended, is used again then: the refusal may have been one path's quirk.
func (c *ClientCredentials) settle(tok Token, warning string, err error, start time.Time) time.Duration {
	c.mu.Lock()
	now := time.Now()
	told := Renewal{Credential: c.name, Forced: c.refused != nil, Took: now.Sub(start), Warning: warning, Err: err}
	if classOf(err) != ClassBudget {
		c.lastAt = now
	}
	if err == nil {
		c.askedAt, c.warning = c.enteredAt, warning
		told.Token = c.keep(tok)
	} else {
		told.Class = classOf(err)
		c.failures++
		told.RetryIn = backoff(c.failures, told.Class, retryAfterOf(err), rand.Float64())
		c.retryAt, c.lastError = now.Add(told.RetryIn), err
		if c.refused != nil && c.refused.usable(now, c.margin) {
			c.current.CompareAndSwap(nil, c.refused)
		}
		c.refused = nil
	}
	c.mu.Unlock()
	c.tell(told)
	return told.RetryIn
}

func (c *ClientCredentials) tell(r Renewal) {
	if c.observe == nil {
		return
	}
	var bug error
	defer recovered(&bug) // what is told of is done, whatever happens to who is told
	c.observe(r)
}

func (c *ClientCredentials) isRefused() *Token {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// resting returns the last failure while the endpoint is to be left alone.
func (c *ClientCredentials) resting(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.restOver(now); wait > 0 {
		return &RestingError{Wait: wait, Err: c.lastError}
	}
	return nil
}

// restOver is how long the endpoint is left alone yet, by the clock that says
// less; c.mu is held.
func (c *ClientCredentials) restOver(now time.Time) time.Duration { return restOf(c.retryAt, now) }

func restOf(until, now time.Time) time.Duration {
	if until.IsZero() {
		return 0
	}
	return min(until.Sub(now), until.Round(0).Sub(now.Round(0)))
}

// endRest lets the endpoint be asked again at once if it refused the client: what
// that proves itself with has changed.
func (c *ClientCredentials) endRest() {
	ends := func(err error) bool {
		class := classOf(err)
		return class.Permanent() && class != ClassScope
	}
	c.consents.mu.Lock()
	if ends(c.consents.failed) {
		c.consents.retryAt, c.consents.failures = time.Time{}, 0
	}
	c.consents.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if ends(c.lastError) {
		c.retryAt, c.failures = time.Time{}, 0
		c.look()
	}
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
		*err = &Error{Class: ClassNetwork, Reason: "bearerd failed while asking for a token; this is a bug"}
	}
}
