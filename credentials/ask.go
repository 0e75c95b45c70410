package credentials

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ask makes a request for this credential alone. Where the endpoint does not know
// a scope that is there for more than the usual (data_access), it asks for the
// usual ones and warns. Of several such, each is then asked for beside it, so that
// the one that is not known spoils no other.
func (c *ClientCredentials) ask(ctx context.Context) (Token, string, error) {
	tok, warning, err := c.askFor(ctx, c.key.Scopes)
	if err == nil || len(c.fallback) == 0 || classOf(err) != ClassScope {
		return tok, warning, err
	}
	c.count()
	tok, _, failed := c.askFor(ctx, c.fallback)
	if failed != nil {
		return Token{}, "", failed
	}
	if len(c.extras) == 1 {
		return tok, "not known at the token endpoint, and left out: " + c.extras[0], nil
	}
	for _, scope := range c.extras {
		_, _ = c.consent(ctx, scope, map[string]string{"reason": "data_access"}) // who observes is told of it
	}
	return tok, "one of these is not known at the token endpoint; consent is asked for each by itself: " + strings.Join(c.extras, " "), nil
}

func (c *ClientCredentials) askFor(ctx context.Context, scopes []string) (Token, string, error) {
	tokens, err := c.endpoint.grant(ctx, scopes, c.count)
	if err != nil {
		return Token{}, "", err
	}
	return c.pick(tokens)
}

// pick returns the token for this resource server, and never another's, with a
// warning if it is good for less than was asked for.
func (c *ClientCredentials) pick(tokens []Token) (Token, string, error) {
	for _, tok := range tokens {
		if tok.ResourceServer == c.key.ResourceServer {
			return tok, warningOf(c.key.Scopes, tok), nil
		}
	}
	reason := "the answer has no token for resource server " + c.key.ResourceServer + "; check scopes and resource_server"
	if c.key.ResourceServer == "" {
		reason = "the answer names a resource server; write it as resource_server"
	}
	return Token{}, "", c.endpoint.fail(http.StatusOK, "", ClassScope, reason)
}

// warningOf says what of a token is less than was asked for: scopes that were not
// granted, or an end that was not told.
func warningOf(asked []string, tok Token) string {
	var warnings []string
	if missing := missingScopes(asked, tok); len(missing) > 0 {
		warnings = append(warnings, "not granted: "+strings.Join(missing, " "))
	}
	if tok.assumedLife {
		warnings = append(warnings, "the token endpoint does not say how long the token lives (expires_in); it is used for "+unstatedLife.String())
	}
	return strings.Join(warnings, "; ")
}

// missingScopes returns those that were asked for and not granted, without their
// dependent ones, which answers leave out. An endpoint that names none granted
// what was asked (RFC 6749 §5.1).
func missingScopes(asked []string, tok Token) (missing []string) {
	for _, scope := range asked {
		root, _, _ := strings.Cut(scope, "[")
		if tok.Scopes != nil && !slices.Contains(tok.Scopes, scope) && !slices.Contains(tok.Scopes, root) {
			missing = append(missing, root)
		}
	}
	return missing
}

// spend enters a request that is about to be made, or returns an *Error that says
// why it may not be.
func (c *ClientCredentials) spend(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var wait time.Duration
	if c.refused == nil && !c.askedAt.IsZero() {
		wait = c.pace.minInterval - now.Sub(c.askedAt)
	}
	if c.asked.count(now) >= c.pace.hourlyBudget {
		wait = max(wait, c.asked.wait(now))
	}
	if wait > 0 {
		return c.overBudget(wait)
	}
	c.asked.add(now)
	c.enteredAt = now
	return nil
}

// count enters a request that follows from one that was entered: what was asked
// for together is asked for alone, or without a scope, or by the next secret.
func (c *ClientCredentials) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked.add(time.Now())
}

// overBudget is the failure of a request that was not made. It is looked at again
// within a minute: another process may have put a token into the store.
func (c *ClientCredentials) overBudget(wait time.Duration) error {
	err := c.endpoint.fail(0, "", ClassBudget, "bearerd has asked as often as it may; its tokens live too short, or are refused")
	err.RetryAfter = min(wait, longestBackoff)
	return err
}
