package battery

import "strings"

// lengthCases are of where a body ends, by its length.
func lengthCases() []Case {
	smuggled := get("/plain/public/smuggled")
	cases := each([]string{
		"3, 3", "3,4", "+3", "-3", "0x3", "3.0", "3e0", "99999999999999999999", "9223372036854775808", "", "3 0", "3;", "\"3\"", "three", "3\x0b",
		"٣", "- 3", "1_000",
	},
		byServer, "a length that is none:", func(length string) string {
			return request("POST", "/plain/inbox", "Content-Length: "+length) + "abc"
		})
	cases = append(cases, each([]string{"003", "\t3", "3 ", " 3", "3\t"}, passes(lineInbox).withBody("abc"), "a length with something around it:", func(length string) string {
		return request("POST", "/plain/inbox", "Content-Length:"+length) + "abc"
	})...)
	both := "both lengths: net/http goes by the chunks (RFC 9112 §6.1), one length goes on, and the connection ends"
	return append(cases,
		one("two lengths that differ", request("POST", "/plain/inbox", "Content-Length: 3", "Content-Length: 4")+"abcd", byServer),
		one("two lengths that differ, the first 0", request("POST", "/plain/inbox", "Content-Length: 0", "Content-Length: 3")+"abc", byServer),
		one("two lengths that are the same", request("POST", "/plain/inbox", "Content-Length: 3", "Content-Length: 3")+"abc", passes(lineInbox, "Content-Length: 3").withBody("abc")).
			because("RFC 9112 §6.3 allows it; one goes on"),
		one("a GET with a body", send("GET", "/plain/public/a", "abc"), ambiguous),
		one("a GET whose body is a request", send("GET", "/plain/public/a", smuggled), ambiguous),
		one("a HEAD with a body", send("HEAD", "/plain/public/a", smuggled), ambiguous),
		one("a GET with a chunked body", a("Transfer-Encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n", ambiguous),
		one("a HEAD with a chunked body", request("HEAD", "/plain/public/a", "Transfer-Encoding: chunked")+"0\r\n\r\n", ambiguous),
		one("a GET with an empty chunked body", a("Transfer-Encoding: chunked")+"0\r\n\r\n", refused("request_ambiguous")),
		one("a GET of a file with a body", send("GET", "/files/a", smuggled), ambiguous),
		one("a GET with a body that is denied anyway", send("GET", "/plain/admin", "abc"), refused("request_ambiguous", "denied")),
		one("a chunked body beside a length, and a byte more", request("POST", "/plain/inbox", "Content-Length: 6", "Transfer-Encoding: chunked")+"0\r\n\r\nG", passes(lineInbox)).last().because(both),
		one("a chunked body beside a length, and a request more", request("POST", "/plain/inbox", "Content-Length: 4", "Transfer-Encoding: chunked")+"0\r\n\r\n"+smuggled, passes(lineInbox)).last().because(both),
		one("a length beside a chunked body, and a request inside", request("POST", "/plain/inbox", "Transfer-Encoding: chunked", "Content-Length: 4")+"29\r\n"+smuggled[:0x29]+"\r\n0\r\n\r\n", passes(lineInbox).withBody(smuggled[:0x29])).last().because(both),
		one("a chunked body beside a length that is none", request("POST", "/plain/inbox", "Content-Length: x", "Transfer-Encoding: chunked")+"0\r\n\r\n", Want{Cut: true}),
		one("a length with a second in its name", request("POST", "/plain/inbox", "Content-Length: 0\r\nContent-Length-: 3"), passes(lineInbox)).because("that is another header, of no meaning"),
	)
}

// chunkCases are of bodies in chunks.
func chunkCases() []Case {
	cases := each([]string{
		"identity", "gzip, chunked", "chunked, identity", "chunked, chunked", "xchunked", "chunked;q=1", "", "chunked,", ",chunked", "gzip",
		"\"chunked\"", "chunked\x00", "x\tchunked", "chunked gzip", "çhunked", "deflate, gzip",
	},
		byServer, "an encoding that is not chunked:", func(encoding string) string {
			return request("POST", "/plain/inbox", "Transfer-Encoding: "+encoding) + "3\r\nabc\r\n0\r\n\r\n"
		})
	for _, framed := range []string{
		"3;\nabc\r\n0\r\n\r\n", "3\nabc\n0\n\n", "0x3\r\nabc\r\n0\r\n\r\n", "-3\r\nabc\r\n0\r\n\r\n", " 3\r\nabc\r\n0\r\n\r\n",
		"+3\r\nabc\r\n0\r\n\r\n", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", "10000000000000003\r\nabc\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n",
		"3\r\nabcX\r\n0\r\n\r\n", "g\r\nabc\r\n0\r\n\r\n", "\r\nabc\r\n0\r\n\r\n", "3;a=\rb\r\nabc\r\n0\r\n\r\n", "3 3\r\nabc\r\n0\r\n\r\n",
		"3\rabc\r\n0\r\n\r\n", "3_0\r\nabc\r\n0\r\n\r\n", "３\r\nabc\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n", "3\r\nabc\r\r\n0\r\n\r\n",
	} {
		cases = append(cases, one("a chunk that is none: "+shown(framed), chunked(framed), cut))
	}
	for _, encoding := range []string{"chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked"} {
		cases = append(cases, one("a chunked body by "+shown(encoding), request("POST", "/plain/inbox", "Transfer-Encoding:"+encoding)+"3\r\nabc\r\n0\r\n\r\n", passes(lineInbox).withBody("abc")).last())
	}
	return append(cases,
		one("two encodings, both chunked", request("POST", "/plain/inbox", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")+"0\r\n\r\n", byServer),
		one("two encodings, the first identity", request("POST", "/plain/inbox", "Transfer-Encoding: identity", "Transfer-Encoding: chunked")+"0\r\n\r\n", byServer),
		one("an encoding on a second line", request("POST", "/plain/inbox", "Transfer-Encoding:\r\n chunked")+"3\r\nabc\r\n0\r\n\r\n", passes(lineInbox).withBody("abc")).last().because("net/http joins the lines (RFC 9112 §5.2) and goes by it; the connection ends"),
		one("a chunk with an extension", chunked("3;ext=1\r\nabc\r\n0\r\n\r\n"), passes(lineInbox).withBody("abc")).last().because("RFC 9112 §7.1.1 has it ignored; it does not go on"),
		one("a chunk with a quoted extension", chunked("3;ext=\"a;b\"\r\nabc\r\n0;x\r\n\r\n"), passes(lineInbox).withBody("abc")).last().because("RFC 9112 §7.1.1 has it ignored; it does not go on"),
		one("a chunk with a space after its length", chunked("3 \r\nabc\r\n0\r\n\r\n"), passes(lineInbox).withBody("abc")).last().because("old servers send it; it is framed anew"),
		one("a chunk with zeros before its length", chunked("003\r\nabc\r\n00\r\n\r\n"), passes(lineInbox).withBody("abc")).last(),
		one("a chunk with its length in capitals", chunked("A\r\n0123456789\r\n0\r\n\r\n"), passes(lineInbox).withBody("0123456789")).last(),
		one("many chunks", chunked(strings.Repeat("1\r\nx\r\n", 1000)+"0\r\n\r\n"), passes(lineInbox).withBody(strings.Repeat("x", 1000))).last(),
		one("a chunked body and a request after it", chunked("0\r\n\r\n")+a(), passes(lineInbox)).last(),
		one("a chunk extension of 20 KB", chunked("3;x="+strings.Repeat("x", 20<<10)+"\r\nabc\r\n0\r\n\r\n"), cut),
		one("many empty extensions", chunked(strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\nx\r\n", 500)+"0\r\n\r\n"), cut),
	)
}

// trailerCases are of headers that come after the body. None goes on, and nobody
// takes the request for whole without them.
func trailerCases() []Case {
	cases := each([]string{
		"X-T: 1", "Authorization: Bearer attacker", "X-Forwarded-User: admin", "Host: evil.example", "Cookie: a=b", "X-T: 1\r\nX-U: 2", "X_T: 1",
	}, ambiguous, "trailers that nobody announced:", func(trailer string) string {
		return chunked("3\r\nabc\r\n0\r\n" + trailer + "\r\n\r\n")
	})
	cases = append(cases, each([]string{"X-T", "Authorization, X-T", "Cookie"}, ambiguous, "trailers that are announced:", func(names string) string {
		first, _, _ := strings.Cut(names, ",")
		return chunked("3\r\nabc\r\n0\r\n"+first+": 1\r\n\r\n", "Trailer: "+names)
	})...)
	cases = append(cases, each([]string{"Content-Length", "Transfer-Encoding", "Trailer", "X-T, content-length"}, byServer, "trailers that must be none:", func(names string) string {
		return chunked("0\r\n\r\n", "Trailer: "+names)
	})...)
	long := strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 4) + "0\r\n"
	return append(cases,
		one("trailers that are announced and do not come", chunked("3\r\nabc\r\n0\r\n\r\n", "Trailer: X-T"), ambiguous),
		one("trailers announced beside a length", send("POST", "/plain/inbox", "abc", "Trailer: X-T"), passes(lineInbox).without("Trailer").withBody("abc")).because("without chunks there are none (RFC 9112 §7.1.2); the announcement ends here"),
		one("trailers announced for a GET", a("Trailer: X-T"), passes(lineA).without("Trailer")).because("without chunks there are none (RFC 9112 §7.1.2); the announcement ends here"),
		one("a trailer that is no header", chunked("3\r\nabc\r\n0\r\nX-T\r\n\r\n"), cut),
		one("a trailer that has no end", chunked("3\r\nabc\r\n0\r\nX-T: 1"), cut).half(),
		one("trailers of 64 KB", chunked("3\r\nabc\r\n0\r\nX-T: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"), cut),
		one("trailers after a body too long to keep", chunked(long+"X-T: 1\r\n\r\n"), cut),
		one("announced trailers after a body too long to keep", chunked(long+"X-T: 1\r\n\r\n", "Trailer: X-T"), cut),
		one("a body too long to keep, without trailers", chunked(long+"\r\n"), passes(lineInbox).withBody(strings.Repeat("x", 4*0x10000))).last(),
	)
}

// versionCases are of versions of HTTP.
func versionCases() []Case {
	as := func(version string) string { return strings.Replace(a(), "HTTP/1.1", version, 1) }
	unsupported := refused("request_ambiguous").withStatus(505)
	cases := each([]string{"HTTP/1.2", "HTTP/1.3", "HTTP/1.9"}, unsupported, "a version that is not spoken:", as)
	cases = append(cases, each([]string{
		"HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/0.0", "HTTP/9.9", "http/1.1", "Http/1.1", "HTTP/1.10", "HTTP/1", "HTTP/01.1", "HTTP/1.1\x00",
		"HTTPS/1.1", "HTTP /1.1", "HTTP/1.1 x", "HTTP/1,1", "HTTP/-1.1", "XTTP/1.1", "HTTP/1.1.1", "HTTP", "", " HTTP/1.1", "HTTP/1.1 ",
	}, byServer, "a version that is none:", as)...)
	old := func(method, rest string) string {
		return method + " /plain/inbox HTTP/1.0\r\nHost: localhost\r\n" + rest
	}
	lengthRequired := refused("request_ambiguous").withStatus(411)
	return append(cases,
		one("a request line without a version", "GET /plain/public/a\r\n\r\n", byServer),
		one("HTTP/1.0 with a body and its length passes", old("POST", "Content-Length: 3\r\n\r\nabc"), passes(lineInbox).withBody("abc")),
		one("HTTP/1.0 with an empty body and its length passes", old("POST", "Content-Length: 0\r\n\r\n"), passes(lineInbox)),
		one("HTTP/1.0 in chunks, whose body would be lost", old("POST", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), lengthRequired),
		one("HTTP/1.0 without a length", old("POST", "\r\nabc"), lengthRequired),
		one("HTTP/1.0 without a length, a PUT", strings.Replace(old("PUT", "\r\nabc"), "/plain/inbox", "/files/a", 1), lengthRequired),
		one("HTTP/1.0 without a length, a PATCH", old("PATCH", "\r\nabc"), lengthRequired),
		one("HTTP/1.0 that stays open, in chunks", old("POST", "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")+a(), lengthRequired).last(),
		one("HTTP/1.0 with both lengths", old("POST", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"), passes(lineInbox).withBody("abc")).because("HTTP/1.0 has no chunks (RFC 9112 §6.1), so its length counts, one length goes on, and the connection ends").last(),
		one("HTTP/1.0 with a body on a GET", "GET /plain/public/a HTTP/1.0\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", ambiguous),
		one("HTTP/1.0 with an upgrade", "GET /plain/public/a HTTP/1.0\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", passes(lineA).without("Upgrade", "Connection")),
	)
}
