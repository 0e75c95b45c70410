package credentials

import "time"

// State is how a credential stands.
type State string

// The states. A fresh token is served; so is a stale one, while its successor is
// asked for; an expired one never is.
const (
	StateNone    State = "none"    // no token was got yet
	StateFresh   State = "fresh"   // served, renewal not due
	StateStale   State = "stale"   // served, renewal due or under way
	StateExpired State = "expired" // too close to its end to be served, or past it
	StateFixed   State = "fixed"   // not by grant: a token of the configuration's, Basic, or none
)

// Status is what can be told of one credential. Nothing in it is secret.
type Status struct {
	Credential      string    `json:"credential"`
	State           State     `json:"state"`
	Client          string    `json:"client,omitempty"`
	ResourceServer  string    `json:"resource_server,omitempty"`
	ScopesAsked     []string  `json:"scopes_asked,omitempty"`
	ScopesGranted   []string  `json:"scopes_granted,omitempty"` // nil: the endpoint did not say
	IssuedAt        time.Time `json:"issued_at,omitzero"`
	ExpiresAt       time.Time `json:"expires_at,omitzero"`
	NextRenewal     time.Time `json:"next_renewal,omitzero"` // the next request is not before that
	LastRequest     time.Time `json:"last_request,omitzero"` // when the last one ended
	LastResult      string    `json:"last_result,omitempty"` // ok or failed; "" before the first
	Class           Class     `json:"class,omitempty"`       // of the last failure, until one succeeds
	Reason          string    `json:"reason,omitempty"`      // the same in words
	Warning         string    `json:"warning,omitempty"`     // it works, but somebody should look
	FailuresInARow  int       `json:"failures_in_a_row"`
	Waiters         int       `json:"waiters"`           // requests waiting for a token now
	FetchesLastHour int       `json:"fetches_last_hour"` // token requests
	Secret          string    `json:"secret,omitempty"`  // the reference whose secret the endpoint took last
	Store           string    `json:"store"`             // memory, ok, or failing
	Fingerprint     string    `json:"fingerprint,omitempty"`
	Required        bool      `json:"required"` // bearerd is not ready before it was obtained
	Obtained        bool      `json:"obtained"` // a token was got, or read from the store, at least once
}

// status tells how the credential stands.
func (c *ClientCredentials) status(now time.Time) Status {
	secret, store := c.endpoint.Secret(), c.shelf.state()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Credential: c.name, State: StateNone, ResourceServer: c.key.ResourceServer, ScopesAsked: c.key.Scopes,
		LastRequest: c.lastAt, Warning: c.warning, FailuresInARow: c.failures, Waiters: int(c.waiters.Load()),
		FetchesLastHour: c.asked.count(now), Secret: secret, Store: store, Required: c.required, Obtained: c.obtained,
	}
	tok := c.current.Load()
	if tok == nil && c.obtained {
		s.State = StateExpired
	}
	if tok != nil {
		s.State = tok.State(now)
		if !tok.usable(now, c.margin) {
			s.State = StateExpired
		}
		s.ScopesGranted, s.Fingerprint = tok.Scopes, tok.Fingerprint()
		s.ExpiresAt = tok.ExpiresAt.Round(0)
		s.IssuedAt = s.ExpiresAt.Add(-tok.lifetime)
		s.NextRenewal = s.IssuedAt.Add(tok.renewAge)
	}
	if c.lastError != nil {
		s.LastResult, s.Class, s.Reason = "failed", classOf(c.lastError), c.lastError.Error()
		if c.retryAt.After(s.NextRenewal) {
			s.NextRenewal = c.retryAt.Round(0)
		}
	} else if !c.lastAt.IsZero() {
		s.LastResult = "ok"
	}
	return s
}
