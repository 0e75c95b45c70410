package credentials

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

const (
	consentKept   = 10 * time.Minute // for so long what was consented to is not asked for again
	consentFailed = time.Minute      // nor what could not be
	maxConsents   = 256              // scopes remembered; while all are fresh, no other is asked for
)

var errManyConsents = errors.New("consent was asked for too many scopes lately; the next is asked for in some minutes")

// consents are those that a credential asked for of late.
type consents struct {
	mu      sync.Mutex // guards byScope
	byScope map[string]*consent
}

type consent struct {
	done chan struct{} // closed when the grant has ended, after the fields below are set
	at   time.Time
	err  error
}

// fresh reports whether no other grant is due: one is under way, or ended a moment ago.
func (c *consent) fresh(now time.Time) bool {
	select {
	case <-c.done:
	default:
		return true
	}
	keep := consentKept
	if c.err != nil {
		keep = consentFailed
	}
	return now.Sub(c.at) < keep
}

// Consent is Consenter's. A scope that was granted is not asked for again within
// 10 min, one that was refused not within 1 min, and at most 256 are remembered.
func (c *ClientCredentials) Consent(ctx context.Context, scope string) error {
	one, err := c.consent(ctx, scope)
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

// consent returns the grant that is under way for scope, after starting one if
// need be. Its error is the outcome of one that has ended.
func (c *ClientCredentials) consent(ctx context.Context, scope string) (*consent, error) {
	now := time.Now()
	c.consents.mu.Lock()
	defer c.consents.mu.Unlock()
	if known := c.consents.byScope[scope]; known != nil && known.fresh(now) {
		select {
		case <-known.done:
			if known.err == nil {
				return nil, &ConsentedError{known.at}
			}
			return nil, known.err
		default:
			return known, nil
		}
	}
	if err := c.resting(now); err != nil {
		return nil, err // an endpoint that is left alone is left alone
	}
	if err := c.spendConsent(now); err != nil {
		return nil, err
	}
	maps.DeleteFunc(c.consents.byScope, func(_ string, one *consent) bool { return !one.fresh(now) })
	if len(c.consents.byScope) >= maxConsents {
		return nil, errManyConsents
	}
	if c.consents.byScope == nil {
		c.consents.byScope = map[string]*consent{}
	}
	one := &consent{done: make(chan struct{})}
	c.consents.byScope[scope] = one
	go c.grantConsent(context.WithoutCancel(ctx), scope, one) // its own: it ends with the grant, after 10 s at most
	return one, nil
}

// grantConsent makes the grant, whoever still waits for it.
func (c *ClientCredentials) grantConsent(ctx context.Context, scope string, one *consent) {
	err := func() (err error) {
		defer recovered(&err)
		_, err = c.endpoint.Grant(ctx, []string{scope})
		return err
	}()
	one.at, one.err = time.Now(), err
	close(one.done)
}
