// Package proxy is HTTP in, HTTP out: the life of one request.
//
// A request travels one straight line, and every step of it is one file:
//
//	begin      exchange.go   an Exchange is made, and a copy of the request that carries it
//	guard      guard.go      method, framing, headers, Host; nothing ambiguous goes on
//	             via.go        a request that has been here before
//	             target.go     the request target, taken apart once from its bytes
//	             absolute.go   one that is a URL of an upstream's, by who has bearerd for a proxy
//	             browser.go    web pages, which are refused or let in by name
//	identify   identify.go   who is calling (asks package policy)
//	             peer.go       the user at the other end of the connection; its certificate's names
//	             shown.go      keys, and placeholders that stand for them
//	route      route.go      which upstream: by URL, listener, host or prefix
//	shim       shim.go       a tool's own token request ends here, with a placeholder
//	decide     decide.go     may they, with which credential, how often (asks package policy)
//	             spool.go      as much of the body as a rule that decides wants to see
//	spool      spool.go      a small body is read whole
//	             stream.go     a large one streams, and is lent to one attempt at a time
//	forward    upstream.go   httputil.ReverseProxy, and inside it:
//	  rewrite    rewrite.go    what the upstream is told; cannot fail
//	               headers.go     what goes on of a caller's headers, and what ends here
//	  consent    consent.go    one that Globus wants of a service account is granted
//	  authorize  authorize.go  the credential, after checking where the request goes
//	  breaker    breaker.go    an upstream that keeps failing is left alone
//	  repeat     repeat.go     once more, where that does nothing twice
//	               fault.go      what went wrong, as far as it matters to that
//	  transport  way.go        how requests get to one upstream, kept over reloads:
//	               places.go      how many may be on their way at once
//	               wire.go        its connections, and whether it heard of a request:
//	               http1.go       those that are kept, and who gets which
//	                 http1_conn.go   one request and its answer over one
//	                 http1_write.go  how a request is written
//	                 http1_upload.go one that is while its answer is awaited
//	                 socket.go       beneath TLS: whether anything left, and until when to read
//	                 connect.go      how they are opened, straight or through a forward proxy
//	               http2.go       those of an upstream that may speak HTTP/2, by net/http
//	                 transport.go   what that is like, for upstreams and token endpoints
//	                 trip.go        what it may try again by itself
//	                 early.go       what comes over one before the request is whole
//	                 timed_body.go  a body without a deadline gets one
//	               dial.go        where they may lead
//	               egress.go      the forward proxy, if any
//	  answer     answer.go     what the caller is told
//	             answer_body.go its body, for as long as something comes of it
//	             truncated.go   one cut short is an error to every caller
//	finish     chain.go      a panic is answered for, and what was held given back
//	             taken.go       the answer goes; one that is not taken ends, in HTTP/2 alone
//	             chain.go       the Observers hear of it, once
//	             linger.go     a body that was answered before its end
//
// chain.go holds the steps in order. Each returns an error or lets the request
// on; errors.go alone writes an error of bearerd's own. A request sees one
// table (proxy.go) from begin to finish, so that a reload never changes the
// rules half-way. explain.go takes a request down the same line up to where it
// would be forwarded.
//
// The path decided on is the path forwarded, byte for byte: Exchange.Path,
// computed once from the raw request target. What follows RFC 9110 and 9112 here
// is mostly net/http's work; what is refused beyond them is said in guard.go.
package proxy
