package battery

// targetCases are targets in another form than a path (RFC 9112 §3.2).
func targetCases() []Case {
	cases := each([]string{
		"http://localhost/plain/public/a", "http://evil.example/plain/public/a", "https://localhost/plain/public/a", "HTTP://localhost/plain/public/a",
		"ftp://localhost/plain/public/a", "http://localhost", "http://localhost?x", "http://user@localhost/plain/public/a", "http:///plain/public/a",
		"http://[::1]/plain/public/a",
		"x:http://169.254.169.254/admin", "x:y", "http:evil/plain/public/a", "http:/plain/public/a", "localhost:80", "javascript:alert(1)",
		"mailto:a@b", "urn:a:b", "data:text/plain,x",
		"file:///etc/passwd", "unix:/run/x", "gopher://localhost/_x", "*",
	}, ambiguous, "the target is no path:", func(target string) string { return get(target) })
	cases = append(cases, each([]string{
		"?x", "plain/public/a", "../plain/public/a", "#x", "", "%2fplain%2fpublic%2fa", ":", "://localhost/plain", "1http://x/", "\\plain\\public",
		";/plain", "@evil.example/plain",
	},
		byServer, "the target is nothing:", func(target string) string { return get(target) })...)
	return append(cases,
		one("OPTIONS of the server as a whole is not answered for the upstream", request("OPTIONS", "*"), ambiguous),
		one("OPTIONS of an opaque target", request("OPTIONS", "x:*"), ambiguous),
		one("HEAD of the asterisk", request("HEAD", "*"), ambiguous),
		one("an absolute POST with a body", send("POST", "http://localhost/plain/inbox", "abc"), ambiguous),
		one("CONNECT to a host", request("CONNECT", "evil.example:443"), refused("method_refused")),
		one("CONNECT to bearerd itself", request("CONNECT", "localhost:80"), refused("method_refused")),
		one("CONNECT with a body that is a request", send("CONNECT", "localhost:80", a()), refused("method_refused")),
		one("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused("method_refused")).last(),
		one("the preface of HTTP/2 with frames after it", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", refused("method_refused")).last(),
		one("the preface as HTTP/1.1", request("PRI", "*"), refused("method_refused")),
	)
}

// routeCases are paths that are near a prefix and not below it.
func routeCases() []Case {
	return append(each([]string{
		"/", "/plainEVIL/x", "/plain@evil.example/x", "/plain.evil.example/x", "/plain:80/x", "/Plain/public/a", "/PLAIN/public/a",
		"/pl%61in/public/a", "/%70lain/public/a",
		"/plain;x/public/a", "/plain,/public/a", "/public/a", "/v0.10/task/1", "/plain%20/public/a", "/evil", "/~plain/public/a",
	}, refused("no_upstream"), "no prefix fits:", func(path string) string { return get(path) }),
		each([]string{
			"/plain%2Fpublic/a", "/plain%2f..%2fadmin", "/plain%5cpublic/a", "/plain%00/public/a", "/plain%3b/public/a", "/plain%23/public/a",
			"/plain%3f/public/a", "/plain%252fpublic/a", "/files%2fa", "/files%2f..%2fadmin",
		},
			refused("request_ambiguous", "no_upstream"), "no prefix fits, and it is encoded:", func(path string) string { return get(path) })...)
}

// strictCases are paths of upstreams that say nothing of files.
func strictCases() []Case {
	var cases []Case
	below := func(input string) string { return get("/plain/public/" + input) }
	for _, kind := range []struct {
		what   string
		inputs []string
	}{
		{"a dot segment:", []string{"..", ".", "./", "../", "../admin", "./a", "a/..", "a/.", "a/../b", "../../admin", "a/b/../../../admin"}},
		{"a dot segment, encoded:", []string{
			"%2e%2e/admin", "%2E%2E/admin", ".%2e/admin", "%2e./admin", "%2e", "a/%2e", "a/%2e%2e/%2e%2e/admin", "%2e%2e%2fadmin", "..%2fadmin",
			"..%2Fadmin", "a%2f..%2f..%2fadmin", "a%2F%2e%2e%2Fadmin",
		}},
		{"a dot segment, encoded twice or more:", []string{
			"%252e%252e/admin", "%252E%252e/admin", ".%252e/admin", "..%252fadmin", "%25%32%65%25%32%65/admin", "%25252e%25252e/admin",
			"..%25252fadmin",
		}},
		{"a dot segment as servlets see it:", []string{"..;/admin", "..;a=b/admin", ".;/a", "a;/../b", "..;", "%2e%2e;/admin", "..%3b/admin", "..%3B/admin"}},
		{"a backslash:", []string{`..\admin`, `a\b`, `\..\admin`, "..%5cadmin", "..%5Cadmin", "a%5cb", "%5c..%5cadmin"}},
		{"an overlong form:", []string{"%c0%ae%c0%ae/admin", "..%c0%afadmin", "%c1%9cadmin", "%e0%80%ae%e0%80%ae/admin", "%f0%80%80%ae/admin", "%c0%80"}},
		{"no UTF-8:", []string{"%ff", "%fe%ff", "%80", "%c3", "%ed%a0%80", "%f4%90%80%80", "a%e9"}},
		{"raw bytes that are no path:", []string{
			"\xff\xfe", "ü", "．．/admin", "a\u202eb", `a"b`, "a<b", "a>b", "a^b", "a`b", "a{b", "a}b", "a|b", "a[b", "a]b", "a#b", "a#/../admin", "#",
		}},
		{"dots of another alphabet:", []string{"%EF%BC%8E%EF%BC%8E/admin", "%E2%80%A5/admin"}},
		{"a control character:", []string{"a%00b", "a%0d%0aX-Inj:1", "a%0ab", "a%09b", "a%1b%5b2J", "a%7fb", "%00", "..%00/admin", "a%00.txt"}},
		{"an empty segment:", []string{"/a", "a//b", "a//", "//", "a///b"}},
		{"an encoded separator:", []string{"a%2fb", "a%2Fb", "a%3fb", "a%3Fx=1", "a%23b", "a%3bb", "a%25b", "a%252eb", "a%2eb", "a%2Etxt", "%2ehidden"}},
		{"a dot at a segment's end:", []string{"a.", "a./b", "...", "a..", "a/..."}},
	} {
		cases = append(cases, each(kind.inputs, ambiguous, kind.what, below)...)
	}
	cases = append(cases, each([]string{"%zz", "%", "a%2", "%u002e", "%2", "%%32%65", "%g0"}, byServer, "a % that starts no escape:", below)...)
	cases = append(cases, each([]string{"a b", "a\tb", "a\x00b", "a\x1bb", "a\x7fb", "a\rb"}, byServer, "a raw control or space:", below)...)
	cases = append(cases, each([]string{
		"//plain/public/a", "/plain//public/a", "//evil.example/plain/public/a", "///plain/public/a", `/\evil.example/`, "/plain/../plain/public/a",
		"/x/../plain/public/a", "/./plain/public/a", "/../plain/public/a", "/plain/..", "/..", "/.", "/plain/%2e%2e/plain/public/a",
		"/based/../v2/admin", "/based/%2e%2e/v2/admin", "/based/%2e%2e/%2e%2e/v2/admin", "/based/task/..%2f..%2f..%2fadmin",
		"/based/task/../../admin", "/based/..%2fadmin", "/based/task/%252e%252e/%252e%252e/admin", "/based/..;/admin", "/based/task/..\\..\\admin",
	}, ambiguous, "a path that leaves or hides its prefix:", func(path string) string { return get(path) })...)
	cases = append(cases, same("/plain", "a path that is nothing special:", "/plain/public/", []string{
		"a%20b", "a+b(c)'*,;=:@&$!", "~home", "a;v=1;w=2", "gr%C3%B6%c3%9fe", ".hidden", "..a", "a..b", "a.b.c", "", "a/", "%41", "a%7Eb",
		"%E2%80%AE", "%EF%BF%BD", "%F0%9F%92%A9", "-_.~a", "a@b:c", "%21%24", "@evil.example/", "http:evil", "a=b&c=d", "a%3Ab", "a%40b",
	})...)
	return append(cases,
		one("the rule's own path without a slash passes", get("/plain/public"), passes("GET /public HTTP/1.1")),
		one("a letter of the rule's path, encoded", get("/plain/%70ublic/a"), passes("GET /%70ublic/a HTTP/1.1")).because("rules compare decoded segments, and so does any server; it goes on as it came"),
		one("a letter in another case, encoded", get("/plain/publi%43/a"), refused("denied")),
		one("a base path's segment, encoded, is not the base path", get("/based/v0%2e10/task/1"), ambiguous),
	)
}
