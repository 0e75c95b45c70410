// Package proxy is HTTP in, HTTP out: the life of one request.
//
// A request travels one straight line, and every step of it is one file:
//
//	begin      exchange.go   an Exchange is made, and a copy of the request that carries it
//	guard      guard.go      method, target, Host, browsers; nothing ambiguous goes on
//	identify   identify.go   who is calling (asks package policy)
//	route      route.go      which upstream: by listener, host or prefix
//	spool      spool.go      a small body is read whole; a large one streams
//	shim       shim.go       a tool's own token request ends here, with a placeholder
//	decide     decide.go     may they, and with which credential (asks package policy)
//	forward    upstream.go   httputil.ReverseProxy, and inside it:
//	  rewrite    rewrite.go    what the upstream is told; cannot fail
//	  consent    consent.go    one that Globus wants of a service account is granted
//	  authorize  authorize.go  the credential, after checking where the request goes
//	  breaker    breaker.go    an upstream that keeps failing is left alone
//	  transport  transport.go  the wire
//	  answer     rewrite.go    what the caller is told
//	finish     chain.go      the Observers hear of it, once; a panic is answered for
//
// chain.go holds the steps in order. Each returns an error or lets the request
// on; errors.go alone writes an error of bearerd's own. A request sees one
// table (proxy.go) from begin to finish, so that a reload never changes the
// rules half-way.
//
// The path decided on is the path forwarded, byte for byte: Exchange.Path,
// computed once from the raw request target. What follows RFC 9110 and 9112 here
// is mostly net/http's work; what is refused beyond them is said in guard.go.
package proxy
