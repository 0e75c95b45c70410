// Package policy says who may do what. A caller is who sends a request, as far
// as that can be told from what is known of its connection and of what it showed;
// a rule allows or denies callers some methods and paths of some upstreams, on
// conditions on the query and on fields of a JSON body (RFC 8259, by RFC 6901's
// pointers); a decision is the answer for one request. The first rule that matches
// decides, and unknown is deny.
//
// What several readers could take in different ways is not judged: a rule that
// allows does not match it, and one that denies does. Where a rule that denies
// looks at several elements or values, one is enough.
//
// Deciding is a pure function of the rules and the request: no clock, no I/O, no
// log. Only a Limiter knows the time, and whom it let through. The package knows
// nothing of HTTP messages, files or credentials, only names; who proves what by a
// token is a Verifier's matter.
//
//	caller.go      who a peer is; verifier.go what a token proves
//	policy.go      Decide; rule.go one rule; explain.go why; suggest.go what would allow
//	pattern.go     paths, as words.go reads them; wander.go and never.go as others may
//	condition.go   one condition; query.go and body.go what it is held against
//	limit.go       how often, and how many at a time
//	config*.go     the section of config.yaml; reach.go rules that can never match
//
// Below it, policy/identity checks tokens and policy/audit writes the audit log.
package policy
