package battery

// plainCases are what tools send. They pass, or the rules say why not.
func plainCases() []Case {
	return []Case{
		one("a plain GET passes", a(), passes(lineA)),
		one("HEAD is allowed where GET is", request("HEAD", "/plain/public/a"), passes("HEAD /public/a HTTP/1.1")),
		one("a POST passes with its body", send("POST", "/plain/inbox/x", `{"a": 1}`, "Content-Type: application/json"),
			passes("POST /inbox/x HTTP/1.1", "Content-Type: application/json", "Content-Length: 8").withBody(`{"a": 1}`)),
		one("a POST with an empty body passes", send("POST", "/plain/inbox", ""), passes(lineInbox)),
		one("a POST without length and body passes", request("POST", "/plain/inbox"), passes(lineInbox)),
		one("a POST with binary bytes passes", send("POST", "/plain/inbox", "\x00\xff\r\n\r\n\x80"), passes(lineInbox).withBody("\x00\xff\r\n\r\n\x80")),
		one("a body that looks like a request is a body", send("POST", "/plain/inbox", get("/plain/admin")), passes(lineInbox).withBody(get("/plain/admin"))),
		one("a PUT to a file passes", send("PUT", "/files/a.csv", "1,2\n"), passes("PUT /data/a.csv HTTP/1.1").withBody("1,2\n")),
		one("a DELETE of a file passes", request("DELETE", "/files/a.csv"), passes("DELETE /data/a.csv HTTP/1.1")),
		one("a DELETE with a body passes", send("DELETE", "/files/a.csv", "x"), passes("DELETE /data/a.csv HTTP/1.1").withBody("x")).
			because("RFC 9110 §9.3.5 leaves it to the server; it is framed anew"),
		one("a GET that says its length is 0 passes", a("Content-Length: 0"), passes(lineA)),
		one("a path below a base path passes", get("/based/task/1"), passes("GET /v0.10/task/1 HTTP/1.1")),
		one("a POST below a base path passes", send("POST", "/based/task/1", "x"), passes("POST /v0.10/task/1 HTTP/1.1").withBody("x")),
		one("conditions and ranges pass", a(`If-Match: "x"`, "Range: bytes=0-,0-,0-", `If-None-Match: W/"y"`),
			passes(lineA, `If-Match: "x"`, "Range: bytes=0-,0-,0-", `If-None-Match: W/"y"`)),
		one("Accept-Encoding passes as it is, and none is added", a("Accept-Encoding: br;q=0.5, *"), passes(lineA, "Accept-Encoding: br;q=0.5, *")),
		one("no Accept-Encoding is added", a(), passes(lineA).without("Accept-Encoding")),
		one("an unknown header passes", a("X-Lab: 7"), passes(lineA, "X-Lab: 7")),
		one("an Idempotency-Key passes", send("POST", "/plain/inbox", "x", "Idempotency-Key: 1"), passes(lineInbox, "Idempotency-Key: 1").withBody("x")),
		one("a header name in any case passes", a("x-lAB: 7"), passes(lineA, "X-Lab: 7")),
		one("a header in UTF-8 passes", a("X-Lab: größe"), passes(lineA, "X-Lab: größe")),
		one("an empty header passes", a("X-Lab:"), passes(lineA)),
		one("a header given twice passes twice", a("X-Lab: 1", "X-Lab: 2"), passes(lineA, "X-Lab: 1", "X-Lab: 2")),
		one("Content-Encoding passes with the body as it is", send("POST", "/plain/inbox", "\x1f\x8b", "Content-Encoding: gzip"), passes(lineInbox, "Content-Encoding: gzip").withBody("\x1f\x8b")),
		one("a chunked body passes", chunked("3\r\nabc\r\n0\r\n\r\n"), passes(lineInbox).withBody("abc")).last(),

		one("a path that no rule allows is denied", get("/plain/admin"), refused("denied")),
		one("the upstream's own root is denied", get("/plain"), refused("denied")),
		one("a longer name than the rule's is denied", get("/plain/publicity"), refused("denied")),
		one("a name in another case than the rule's is denied", get("/plain/Public/a"), refused("denied")),
		one("a method that the rule does not name is denied", request("DELETE", "/plain/public/a"), refused("denied")),
		one("a POST where only GET is allowed is denied", send("POST", "/plain/public/a", "x"), refused("denied")),
		one("a GET where only POST is allowed is denied", get("/plain/inbox/x"), refused("denied")),
		one("HEAD where only POST is allowed is denied", request("HEAD", "/plain/inbox/x"), refused("denied")),
		one("OPTIONS where only GET is allowed is denied", request("OPTIONS", "/plain/public/a"), refused("denied")),
		one("PUT below a base path is denied", send("PUT", "/based/task/1", "x"), refused("denied")),
		one("PATCH of a file is denied", send("PATCH", "/files/a", "x"), refused("denied")),
		one("a sibling of the base path's allowed one is denied", get("/based/tasks"), refused("denied")),
	}
}

// methodCases ask for what bearerd does not forward at all.
func methodCases() []Case {
	cases := each([]string{
		"TRACE", "TRACK", "CONNECT", "PRI", "get", "Get", "gET", "post", "delete", "options", "FOO", "FOO!#$", "G", "GETT", "PROPFIND", "MKCOL", "LOCK", "COPY",
		"SEARCH", "QUERY", "M-SEARCH", "PURGE", "DEBUG", "LINK", "REPORT", "BREW", "HTTP", "*", "_GET", "GET.", "GET'",
	}, refused("method_refused"), "the method is not forwarded:", func(method string) string { return request(method, "/plain/public/a") })
	many := ""
	for range 1000 {
		many += "A"
	}
	cases = append(cases, each([]string{"TRACE", "FOO", "get"}, refused("method_refused"), "with a body, the method is not forwarded:", func(method string) string {
		return send(method, "/plain/inbox", "abc")
	})...)
	return append(append(cases,
		one("a method of 1000 bytes is not forwarded", request(many, "/plain/public/a"), refused("method_refused")),
		one("TRACE that no hop may forward is not answered either", request("TRACE", "/plain/public/a", "Max-Forwards: 0"), refused("method_refused")),
		one("OPTIONS that no hop may forward goes by the rules", request("OPTIONS", "/plain/public/a", "Max-Forwards: 0"), refused("denied")),
	), each([]string{"G T", "G\xc3\x89T", `"GET"`, "GET\x00", "\x00GET", "GET/", "GET,POST", "(GET)", "G\tT", " GET", "", "\t", "GET:", "GET\x0b", "{GET}"},
		byServer, "a method that is no token:", func(method string) string { return request(method, "/plain/public/a") })...)
}
