package credentials

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// consentKept is for how long what was asked for is not asked for again, whether
	// it was granted or refused.
	consentKept = 10 * time.Minute
	// consentBudget is how many consents are asked for with one credential in any
	// hour. They are a part of hourlyBudget, and leave the most of it to renewals.
	consentBudget = 60
)

// Consented is one request for consent, as told to an observer.
type Consented struct {
	Credential string
	Scope      string
	Because    map[string]string // as Consent was given it
	Took       time.Duration
	Class      Class // of the failure; "" if it was granted
	Err        error
}

// consents are those that a credential asked for of late.
type consents struct {
	turn chan struct{} // full while a request is under way

	mu       sync.Mutex          // guards the fields below
	byScope  map[string]*consent // by the scope without its asterisks, which change nothing of what it opens
	asked    ledger
	failures int // that say nothing of a scope, in a row
	retryAt  time.Time
	failed   error // the last of them
}

type consent struct {
	scope   string
	because map[string]string
	done    chan struct{} // closed when the request has ended, after the fields below are set
	at      time.Time
	sent    bool // or it found the endpoint resting, or its budget spent
	err     error
}

// Consent is Consenter's. What was granted, and what was refused for its scope, is
// not asked for again within 10 min. One request is made at a time, and 60 in any
// hour; one that fails for another reason is followed by a rest, as with tokens.
func (c *ClientCredentials) Consent(ctx context.Context, scope string, because map[string]string) error {
	one, err := c.consent(ctx, scope, because)
	if err != nil {
		return err
	}
	select {
	case <-one.done:
		return one.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for consent: %w", context.Cause(ctx))
	}
}

// consent returns the request that is under way for scope, after starting one if
// need be. Its error is the outcome of one that has ended.
func (c *ClientCredentials) consent(ctx context.Context, scope string, because map[string]string) (*consent, error) {
	now := time.Now()
	key := strings.ReplaceAll(scope, "*", "")
	c.consents.mu.Lock()
	defer c.consents.mu.Unlock()
	maps.DeleteFunc(c.consents.byScope, func(_ string, one *consent) bool { return one.isOver(now) })
	if known := c.consents.byScope[key]; known != nil {
		select {
		case <-known.done:
		default:
			return known, nil
		}
		if known.err == nil {
			return nil, &ConsentedError{known.at}
		}
		return nil, known.err
	}
	if err := c.consentResting(now); err != nil {
		return nil, err
	}
	if c.consents.asked.count(now)+c.consents.waiting() >= consentBudget {
		return nil, &RestingError{Wait: c.consents.asked.wait(now), Err: c.overBudget(0)}
	}
	if c.consents.byScope == nil {
		c.consents.byScope = map[string]*consent{}
	}
	one := &consent{scope: scope, because: because, done: make(chan struct{})}
	c.consents.byScope[key] = one
	go c.grantConsent(context.WithoutCancel(ctx), one) // its own: those before it and itself take 10 s each at most
	return one, nil
}

// waiting is how many requests are under way or wait for their turn; c.mu is held.
func (c *consents) waiting() (n int) {
	for _, one := range c.byScope {
		select {
		case <-one.done:
		default:
			n++
		}
	}
	return n
}

// isOver reports whether another request may be made.
func (one *consent) isOver(now time.Time) bool {
	select {
	case <-one.done:
	default:
		return false
	}
	isRemembered := one.sent && (one.err == nil || classOf(one.err) == ClassScope)
	return !isRemembered || now.Sub(one.at) >= consentKept
}

// consentResting returns the last failure while the endpoint is to be left alone:
// by consents, or by everybody. c.consents.mu is held.
func (c *ClientCredentials) consentResting(now time.Time) error {
	if wait := restOf(c.consents.retryAt, now); wait > 0 {
		return &RestingError{Wait: wait, Err: c.consents.failed}
	}
	return c.resting(now)
}

// spendConsent enters a request that is about to be made; c.consents.mu is held.
func (c *ClientCredentials) spendConsent(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked.count(now) >= c.pace.hourlyBudget {
		return &RestingError{Wait: c.asked.wait(now), Err: c.overBudget(0)}
	}
	c.consents.asked.add(now)
	c.asked.add(now)
	return nil
}

// grantConsent makes the request, whoever still waits for it.
func (c *ClientCredentials) grantConsent(ctx context.Context, one *consent) {
	c.consents.turn <- struct{}{}
	defer func() { <-c.consents.turn }()
	start := time.Now()
	c.consents.mu.Lock()
	err := c.consentResting(start) // the one before may have failed
	if err == nil {
		err = c.spendConsent(start)
	}
	c.consents.mu.Unlock()
	one.sent = err == nil
	if one.sent {
		err = c.askConsent(ctx, one.scope)
	}
	c.consents.mu.Lock()
	switch class := classOf(err); {
	case !one.sent:
	case err == nil || class == ClassScope:
		c.consents.failures = 0
	default:
		c.consents.failures++
		c.consents.failed = err
		c.consents.retryAt = time.Now().Add(backoff(c.consents.failures, class, retryAfterOf(err), rand.Float64()))
	}
	one.at, one.err = time.Now(), err
	c.consents.mu.Unlock()
	close(one.done)
	if c.observeConsent != nil && one.sent {
		var bug error
		defer recovered(&bug)
		c.observeConsent(Consented{
			Credential: c.name, Scope: one.scope, Because: one.because, Took: time.Since(start), Class: classOf(err), Err: err,
		})
	}
}

// askConsent has a token granted with scope and discards it.
func (c *ClientCredentials) askConsent(ctx context.Context, scope string) (err error) {
	defer recovered(&err)
	tok, _, err := c.askFor(ctx, []string{scope})
	if err == nil && len(missingScopes([]string{scope}, tok)) > 0 {
		err = c.endpoint.fail(http.StatusOK, "", ClassScope, "answered a request for consent without granting it")
	}
	return err
}
