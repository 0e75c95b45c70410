package battery

import "strings"

// pipelineCases are several requests at once.
func pipelineCases() []Case {
	many := func(name, raw string, wants ...Want) Case { return Case{Name: name, Raw: raw, Wants: wants} }
	b := get("/plain/public/b")
	lineB := "GET /public/b HTTP/1.1"
	return []Case{
		many("two requests at once", a()+b, passes(lineA), passes(lineB)),
		many("twenty requests at once", strings.Repeat(a(), 20), repeated(passes(lineA), 20)...),
		many("a body and a request at once", send("POST", "/plain/inbox", "abc")+a(), passes(lineInbox).withBody("abc"), passes(lineA)),
		many("a HEAD and a request at once", request("HEAD", "/plain/public/a")+b, passes("HEAD /public/a HTTP/1.1"), passes(lineB)),
		many("a denied request and one that passes", get("/plain/admin")+a(), refused("denied"), passes(lineA)),
		many("a denied request with a body, and one that passes", send("POST", "/plain/public/a", get("/plain/admin"))+a(), refused("denied"), passes(lineA)),
		many("one that passes and one that is denied", a()+get("/plain/admin"), passes(lineA), refused("denied")),
		many("one that passes and an ambiguous one", a()+get("/plain/public/../admin"), passes(lineA), ambiguous),
		many("one that passes and an absolute one", a()+get("http://evil.example/plain/public/a"), passes(lineA), ambiguous),
		many("one that passes and one for another Host", a()+strings.Replace(b, "localhost", "evil.example", 1), passes(lineA), refused("host_refused")),
		many("one that passes and TRACE", a()+request("TRACE", "/plain/public/a"), passes(lineA), refused("method_refused")),
		many("one that passes and CONNECT", a()+request("CONNECT", "evil.example:443"), passes(lineA), refused("method_refused")),
		many("one that passes and the preface of HTTP/2", a()+"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", passes(lineA), refused("method_refused")),
		many("one that passes and garbage", a()+"\x00\x01\x02\r\n\r\n", passes(lineA), byServer),
		many("a line end before a request", "\r\n"+a(), byServer),
		many("line ends between requests", send("POST", "/plain/inbox", "abc")+"\r\n"+a(), passes(lineInbox).withBody("abc"), passes(lineA)).because("RFC 9112 §2.2 has a server ignore an empty line there"),
		many("a body longer than it says", send("POST", "/plain/inbox", "abc")+"def\r\n\r\n", passes(lineInbox).withBody("abc"), byServer),
		many("a body longer than it says, the rest a request", request("POST", "/plain/inbox", "Content-Length: 3")+"abc"+get("/plain/admin"), passes(lineInbox).withBody("abc"), refused("denied")),
		many("the last request before one too many", a("Connection: close")+b, passes(lineA)).last(),
		many("two spaces in the request line", strings.Replace(a(), " /plain", "  /plain", 1), byServer),
		many("two spaces before the version", strings.Replace(a(), " HTTP", "  HTTP", 1), byServer),
		many("a tab in the request line", strings.Replace(a(), " HTTP", "\tHTTP", 1), byServer),
		many("a carriage return in the request line", strings.Replace(a(), " HTTP", "\rHTTP", 1), byServer),
	}
}

func repeated(want Want, n int) []Want {
	wants := make([]Want, n)
	for i := range wants {
		wants[i] = want
	}
	return wants
}

// halfCases break off.
func halfCases() []Case {
	var cases []Case
	for _, raw := range []string{
		"G", "GET", "GET /plain/public/a", "GET /plain/public/a HTTP/1.1", "GET /plain/public/a HTTP/1.1\r\n",
		"GET /plain/public/a HTTP/1.1\r\nHost: loc", "GET /plain/public/a HTTP/1.1\r\nHost: localhost\r\n",
		"GET /plain/public/a HTTP/1.1\r\nHost: localhost\r\n\r",
	} {
		cases = append(cases, one("a head that breaks off: "+shown(raw), raw, byServer).half())
	}
	return append(cases,
		one("a body that breaks off", request("POST", "/plain/inbox", "Content-Length: 45")+"abc", cut).half(),
		one("a body that never begins", request("POST", "/plain/inbox", "Content-Length: 45"), cut).half(),
		one("a body of 1 MB that breaks off", request("POST", "/plain/inbox", "Content-Length: 1000000")+strings.Repeat("x", 200000), cut).half(),
		one("a body of 9 EB that breaks off", request("POST", "/plain/inbox", "Content-Length: 9223372036854775807")+"abc", cut).half(),
		one("chunks without a last one", chunked("3\r\nabc\r\n"), cut).half(),
		one("chunks that break off inside", chunked("ff\r\nabc"), cut).half(),
		one("chunks that break off before the last line", chunked("3\r\nabc\r\n0\r\n"), cut).half(),
		one("chunks of 256 KB without a last one", chunked("40000\r\n"+strings.Repeat("x", 0x40000)+"\r\n"), cut).half(),
		one("a body that breaks off, and is denied anyway", request("POST", "/plain/admin", "Content-Length: 45")+"abc", cut).half(),
		one("nothing at all", "", byServer).half(),
	)
}

// foreignCases are other protocols, and what is no protocol.
func foreignCases() []Case {
	var cases []Case
	for _, raw := range []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c",
		"SSH-2.0-x\r\n", "HELO localhost\r\n", "*1\r\n$4\r\nPING\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "\x00\x00\x00\x00\r\n\r\n",
		"\r\n\r\n\r\n\r\n", "GET\r\n\r\n", "GET /plain/public/a\n\n", "\x05\x01\x00\r\n\r\n", "GIOP\x01\x00\r\n\r\n", "stats\r\n",
		"\xef\xbb\xbfGET /plain/public/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		cases = append(cases, one("another protocol: "+shown(raw), raw, byServer).half())
	}
	return append(cases,
		one("PROXY and a request", "PROXY TCP4 10.0.0.1 127.0.0.1 1 2\r\n"+a(), byServer),
		one("an expectation that nobody meets", send("POST", "/plain/inbox", "abc", "Expect: 200-ok"), byServer),
		one("an expectation beside another", send("POST", "/plain/inbox", "abc", "Expect: 100-continue, x"), passes(lineInbox).without("Expect").withBody("abc")).
			because("net/http meets the one it knows, and the body is here before anything is sent"),
		one("an expectation that is met", send("POST", "/plain/inbox", "abc", "Expect: 100-continue"), passes(lineInbox).withBody("abc")),
	)
}
