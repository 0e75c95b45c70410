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
// The package reports (see Observer) and does not log. No error, String or
// marshalled form of anything here holds a token or a secret.
package credentials
