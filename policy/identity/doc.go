// Package identity checks bearer tokens that callers show: JWTs of issuers that
// the configuration names, and ServiceAccounts' tokens, which Kubernetes' API
// server checks (TokenReview). It says what a token proves; who that is, policy
// says.
//
// What cannot be checked proves nothing: no failure of an issuer or an API server
// lets anybody in. Nothing in a token says where its keys are (RFC 7515 jku, jwk,
// x5u and x5c are not looked at), and no error holds any of a token.
package identity
