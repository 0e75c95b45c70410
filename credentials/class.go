package credentials

// Class says in one stable word why a token request failed. Errors, logs,
// metrics and the status carry it; docs/credentials.md says what to do about each.
type Class string

// The classes. The first five are transient: they are tried again soon, by
// themselves. The others are permanent: somebody must act, and until then the
// endpoint is only probed.
const (
	ClassNetwork     Class = "network"      // no answer: DNS, connection, TLS, time
	ClassServer      Class = "server"       // 5xx, or a page of something in between
	ClassRateLimited Class = "rate_limited" // 429
	ClassMalformed   Class = "malformed"    // a 200 that is no token response
	ClassBudget      Class = "budget"       // bearerd's own bound on requests for one credential
	ClassClient      Class = "client"       // the endpoint does not know the client, or its secret
	ClassScope       Class = "scope"        // it does not know a scope, or gave no token for the resource server
	ClassRequest     Class = "request"      // it refused for another reason
	ClassSecret      Class = "secret"       // the client's own proof cannot be read or made
)

// Permanent reports whether trying again will not help until somebody acts.
func (c Class) Permanent() bool {
	switch c {
	case ClassClient, ClassScope, ClassRequest, ClassSecret:
		return true
	}
	return false
}
