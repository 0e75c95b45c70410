package battery

import (
	"fmt"
	"strings"
)

// connectionCases are of Connection, which takes off the headers that it names.
func connectionCases() []Case {
	cases := each([]string{
		"Authorization", "authorization", "close, Authorization", "keep-alive,AUTHORIZATION", "Content-Type, Range, If-Match, Idempotency-Key",
		"X-Forwarded-For", "x-forwarded-for", "Host", "Content-Length", "Transfer-Encoding", "Cookie", "x-lab", "close;q=1", `"close"`,
		"close Authorization", ",,Authorization", "close,\tauthorization", "Proxy-Authorization", "Bearerd-Error", "close, *", "Trailer",
		"keep-alive=5", "closed", "websocket", "Expect",
	}, ambiguous, "Connection names a header:", func(options string) string { return a("Connection: "+options, "X-Lab: 7") })
	cases = append(cases, each([]string{
		"keep-alive", "Keep-Alive", "close", "Close, TE", "TE", "te, close", "keep-alive, upgrade", "Upgrade, HTTP2-Settings", "", ",", "close,",
		"keep-alive , close",
	},
		passes(lineA, "X-Lab: 7"), "Connection is about the connection:", func(options string) string {
			return a("Connection: "+options, "X-Lab: 7")
		})...)
	return append(cases,
		one("Connection takes off the caller's Authorization, and would ours", a("Connection: close, Authorization", "Authorization: Bearer attacker"), ambiguous),
		one("Connection takes off a condition of a PUT", send("PUT", "/files/a", "x", "Connection: If-Match", `If-Match: "1"`), ambiguous),
		one("a second Connection names a header", a("Connection: close", "Connection: Authorization"), ambiguous),
		one("Connection in lower case names a header", a("connection: authorization"), ambiguous),
		one("Proxy-Connection and Keep-Alive end here", a("Proxy-Connection: Authorization", "Keep-Alive: timeout=5"), passes(lineA).without("Proxy-Connection", "Keep-Alive")),
		one("TE is not passed on but for trailers", a("Connection: TE", "TE: trailers, deflate"), passes(lineA)),
	)
}

// nameCases are of headers' names and values as such.
func nameCases() []Case {
	cases := each([]string{
		"X_Forwarded_User: admin", "Author_ization: x", "Authorization_: x", "_Authorization: x", "Content_Length: 3", "Transfer_Encoding: chunked",
		"X-Lab_: 7", "_: x", "__: x", "X_: ", "Host_: evil", "HTTP_PROXY: http://evil.example",
	},
		ambiguous, "a name with an underscore:", func(header string) string { return a(header) })
	cases = append(cases, each([]string{
		"X-A: b\xe9c", "X-A: \xff", "X-A: \xc0\xaf", "X-A: \xed\xa0\x80", "User-Agent: caf\xe9", "Accept: \xf6", "Authorization: Bearer \xff",
		"Cookie: a=\xff",
	}, ambiguous, "a value that is no UTF-8:", func(header string) string { return a(header) })...)
	cases = append(cases, each([]string{
		"X-A : b", ": b", " : b", "X-A", "X A: b", "X-A\x00: b", "X-A: b\x00c", "X-A: b\rc", "X-A: b\x0bc", "X-A: b\x1bc", "X-A: b\x7fc",
		"X-\xc3\x84: b", "X-A\t: b", "X/A: b", "(X): b", `"X": b`, "X-A:b\x01", "Content-Length : 3", "Transfer-Encoding : chunked",
		"Transfer-Encoding:\x0bchunked", "Connection: \x0bAuthorization", "Authorization : Bearer x", "=: x", "@: x", "X-A[]: x", "\x00",
		"X-A\xff: b",
	}, byServer, "a header that can be none:", func(header string) string { return a(header) })...)
	return append(cases,
		one("a space before the first header", "GET /plain/public/a HTTP/1.1\r\n X-A: b\r\nHost: localhost\r\n\r\n", byServer),
		one("a tab before the first header", "GET /plain/public/a HTTP/1.1\r\n\tHost: localhost\r\n\r\n", byServer),
		one("a name of an apostrophe and other marks", a("X'~!#$%&*+.^`|: 1"), passes(lineA)).because("RFC 9110 §5.1 allows them in a name; it goes on as it came"),
		one("a header on two lines", a("X-A: b\r\n c"), passes(lineA, "X-A: b c")).because("net/http joins them (RFC 9112 §5.2), and it goes on as one line"),
		one("a header on two lines, the second by a tab", a("X-A: b\r\n\tc"), passes(lineA, "X-A: b c")).because("net/http joins them (RFC 9112 §5.2), and it goes on as one line"),
		one("line ends without a carriage return", strings.ReplaceAll(a("X-A: b"), "\r", ""), passes(lineA, "X-A: b")).because("RFC 9112 §2.2 allows it; what goes on has them all"),
		one("one line end without a carriage return", a("X-A: b\nX-B: c"), passes(lineA, "X-A: b", "X-B: c")).because("RFC 9112 §2.2 allows it; what goes on has them all"),
		one("two Content-Types", send("POST", "/plain/inbox", "x", "Content-Type: text/plain", "Content-Type: application/json"), passes(lineInbox, "Content-Type: text/plain", "Content-Type: application/json").withBody("x")).
			because("both go on as they came; a rule that looks at the body takes it for none"),
	)
}

// credentialCases are of what callers say of themselves: it ends here, and ours is
// the only credential that goes on.
func credentialCases() []Case {
	ours := passes(lineA) // that it has one Authorization, ours, and none of these is checked of all that arrives
	cases := each([]string{
		"Authorization: Bearer attacker", "authorization: Basic eDp5", "AUTHORIZATION: x", "Authorization:", "Authorization: Bearer a, Bearer b",
		"Authorization: Bearer", "Authorization: Negotiate YII=", "Authorization: Digest username=\"x\"",
		"Authorization: AWS4-HMAC-SHA256 Credential=x",
		"Authorization: bearer  x", "Authorization: Bearer\tx", "Authorization: Bearer größe", "Proxy-Authorization: Basic eDp5",
		"proxy-authorization: x", "Cookie: a=b", "cookie: a=b; c=d", "Cookie: session=\"x\"",
	}, ours, "the caller's credential ends here:", func(header string) string { return a(header) })
	cases = append(cases, each([]string{
		"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443",
		"X-Forwarded-Prefix: /admin", "X-Forwarded-Uri: /admin", "X-Forwarded-Method: DELETE", "X-Forwarded-User: admin", "X-Forwarded-Email: a@b",
		"X-Forwarded-Groups: wheel", "X-Forwarded-Preferred-Username: admin", "X-Forwarded-Access-Token: x", "X-Forwarded-Client-Cert: x",
		"x-forwarded-anything: x", "X-Forwarded-: x",
		"Forwarded: for=127.0.0.1;host=evil", "X-Real-IP: 127.0.0.1", "X-Remote-User: admin", "X-Remote-Group: system:masters",
		"X-Remote-Extra-Scopes: x", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Original-Method: DELETE", "X-Client-IP: 127.0.0.1",
		"True-Client-IP: 127.0.0.1",
		"Remote-User: admin", "X-Auth-Request-User: admin", "X-WebAuth-User: admin", "Max-Forwards: 0", "Early-Data: 1",
		"Tailscale-User-Login: admin", "X-Amzn-Oidc-Identity: x", "X-Goog-Authenticated-User-Email: x", "Cf-Access-Jwt-Assertion: x",
		"X-Envoy-Original-Path: /admin",
	}, ours, "what somebody is said to be ends here:", func(header string) string { return a(header) })...)
	return append(cases,
		one("two Authorizations", a("Authorization: Bearer attacker", "authorization: Basic eDp5"), ours),
		one("an Authorization of 16 KB", a("Authorization: Bearer "+strings.Repeat("x", 16<<10)), ours),
		one("many Cookies", a("Cookie: a=b", "Cookie: c=d", "cookie: e=f"), ours),
		one("an Authorization on two lines", a("Authorization: Bearer\r\n attacker"), ours),
		one("an Authorization of a POST", send("POST", "/plain/inbox", "x", "Authorization: Bearer attacker"), passes(lineInbox).withBody("x")),
		one("a key as of another service", a("X-Api-Key: abc"), passes(lineA, "X-Api-Key: abc")).because("no caller here has a key, so it is between the tool and the upstream"),
		one("Bearerd-Error in a request", a("Bearerd-Error: denied"), passes(lineA)).because("it means something in answers only"),
	)
}

// overrideCases ask the upstream to act on another method than the rules saw.
func overrideCases() []Case {
	var cases []Case
	for _, name := range []string{"X-HTTP-Method-Override", "x-http-method-override", "X-HTTP-Method", "X-Method-Override", "x-method-OVERRIDE"} {
		cases = append(cases,
			one(fmt.Sprintf("another method by %s on a GET", name), a(name+": DELETE"), ambiguous),
			one(fmt.Sprintf("another method by %s on a POST", name), send("POST", "/plain/inbox", "x", name+": PUT"), ambiguous),
		)
	}
	return append(cases,
		one("another method by an empty header", a("X-HTTP-Method-Override:"), ambiguous),
		one("the same method by a header", a("X-HTTP-Method-Override: GET"), ambiguous),
		one("another method by a second header", a("X-HTTP-Method-Override: GET", "X-HTTP-Method-Override: DELETE"), ambiguous),
	)
}

// limitCases are of what is too much.
func limitCases() []Case {
	lines := func(n int) []string {
		var headers []string
		for i := range n {
			headers = append(headers, fmt.Sprintf("X-%d: b", i))
		}
		return headers
	}
	tooMany := refused("request_too_long").withStatus(431)
	return []Case{
		one("190 headers pass", a(lines(190)...), passes(lineA, "X-189: b")),
		one("201 headers", a(lines(201)...), tooMany),
		one("201 headers of one name", a(strings.Split(strings.Repeat("A: b|", 200)+"A: b", "|")...), tooMany),
		one("2000 headers", a(lines(2000)...), tooMany),
		one("a header of 20 KB passes", a("X-A: "+strings.Repeat("x", 20<<10)), passes(lineA)),
		one("a header of 40 KB", a("X-A: "+strings.Repeat("x", 40<<10)), byServer),
		one("a header of 900 KB", a("X-A: "+strings.Repeat("x", 900<<10)), byServer),
		one("a header's name of 40 KB", a(strings.Repeat("x", 40<<10)+": 1"), byServer),
		one("a header of 900 KB that has no end", "GET /plain/public/a HTTP/1.1\r\nHost: localhost\r\nX-A: "+strings.Repeat("x", 900<<10), byServer),
		one("100000 empty lines on a second line", a("X-A: b"+strings.Repeat("\r\n ", 100000)), byServer),
	}
}

// upgradeCases ask for another protocol. They are answered in HTTP/1.1, as RFC 9110
// §7.8 says of who does not speak it, and the upstream is not asked.
func upgradeCases() []Case {
	plain := passes(lineA).without("Upgrade", "Connection", "Http2-Settings", "Sec-Websocket-Key", "Sec-Websocket-Version")
	cases := []Case{
		one("an upgrade to HTTP/2, as curl and Java send it", a("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), plain),
		one("an upgrade of a POST", send("POST", "/plain/inbox", "x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), passes(lineInbox).without("Upgrade", "Connection", "Http2-Settings").withBody("x")),
		one("a web socket", a("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), plain),
		one("a web socket that would talk at once", a("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")+get("/plain/admin"), plain),
		one("an upgrade to what no prefix fits", get("/", "Connection: Upgrade", "Upgrade: websocket"), refused("no_upstream")),
		one("an upgrade to what is denied", get("/plain/admin", "Connection: Upgrade", "Upgrade: websocket"), refused("denied")),
	}
	cases[3].Wants = append(cases[3].Wants, refused("denied"))
	return append(cases, each([]string{"TLS/1.0", "IRC/6.9", "h2c, websocket", "HTTP/3", "", "websocket\t"}, plain, "an upgrade to", func(protocol string) string {
		return a("Connection: upgrade", "Upgrade: "+protocol)
	})...)
}
