// Package policy says who may do what. A caller is who sends a request, as far
// as that can be told; a rule allows callers some methods and paths of some
// upstreams; a decision is the answer for one request. Unknown is deny.
//
// Deciding is a pure function of the rules and the request: no clock, no I/O, no
// log. The package knows nothing of HTTP messages or credentials, only names.
package policy
