package credentials

import (
	"context"
	"time"
)

// run renews the token ahead of its end until ctx is done, and gets the first one
// if that is required.
func (c *ClientCredentials) run(ctx context.Context) {
	for {
		wait := c.untilDue(time.Now())
		if wait <= 0 {
			select {
			case <-c.renewal(ctx):
			case <-ctx.Done():
				return
			}
			wait = max(c.untilDue(time.Now()), time.Second) // a renewal that changed nothing is not tried at once
		}
		timer := time.NewTimer(min(wait, pollInterval))
		select {
		case <-timer.C:
			c.tend(ctx)
		case <-c.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// tend does what is not urgent. While the endpoint is left alone, another process
// may have put a token into the store; and what the store did not take is offered
// again.
func (c *ClientCredentials) tend(ctx context.Context) {
	if tok := c.unsaved.Load(); tok != nil {
		_, newer := c.fromStore(ctx)
		if current := c.current.Load(); !newer && current != nil && current.Same(*tok) {
			c.save(*tok)
		} else {
			c.unsaved.CompareAndSwap(tok, nil)
		}
	}
	now := time.Now()
	tok := c.current.Load()
	if c.resting(now) != nil && (tok == nil || tok.State(now) != StateFresh) {
		c.fromStore(ctx)
	}
}

// never is longer than anybody waits.
const never = 365 * 24 * time.Hour

// untilDue is how long it is until Run should renew; 0 or less: now.
func (c *ClientCredentials) untilDue(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := time.Duration(0)
	switch tok := c.current.Load(); {
	case tok != nil:
		due = tok.renewAge - tok.age(now)
	case !c.obtained && !c.required && c.failures == 0:
		return never // nobody needs one yet
	}
	return max(due, c.restOver(now))
}
