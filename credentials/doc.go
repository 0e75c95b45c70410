// Package credentials gets, keeps and renews the access tokens bearerd puts on
// forwarded requests. It speaks the client credentials grant (RFC 6749 §4.4) as
// Globus Auth does, and knows nothing of the requests' callers or routes; see
// packages policy and proxy for those.
//
// Its words: a client is an application registered at a token endpoint; a
// credential is a named right to one resource server, kept by one Authorizer; a
// token is what the endpoint hands out for it; a fingerprint is the start of a
// token's hash, and the only form in which a token appears in any output.
//
// Each idea is one file:
//
//	authorizer.go          what puts a credential on a request; fixed tokens, and their files
//	client_credentials.go  a token by grant: the current one, one renewal at a time
//	run.go                 renewed ahead of need
//	renew.go               when, as pure timing: ages, waits, budgets
//	ask.go                 how one credential asks; warm.go how all of a client's ask at first
//	consent.go             what is asked for to consent alone
//	endpoint.go            one token request on the wire; answer.go what came back
//	discovery.go           where that goes, if an issuer says it
//	client.go              an application, its secrets and what else proves it; client_auth*.go how
//	store.go               where tokens outlive the process; shelf.go keeps faults there from costing
//	set.go                 all of it by name; status.go how each stands
//	class.go               why a request failed; token.go, secret.go, scope.go what their names say
//
// The package reports (see Observer) and does not log. No error, String or
// marshalled form of anything here holds a token or a secret.
package credentials
