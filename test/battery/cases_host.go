package battery

import "strings"

// hostCases are of Host names: a web page can have its own resolve to this machine.
func hostCases() []Case {
	from := func(host string) string { return strings.Replace(a(), "Host: localhost", "Host: "+host, 1) }
	cases := each([]string{
		"evil.example", "evil.example:8080", "localhost.", "localhost.:8080", "localhost.evil.example", "evil.example.localhost", "127.0.0.1.nip.io",
		"0.0.0.0", "0.0.0.0:8080", "127.1", "127.0.0.2", "2130706433", "0x7f.1", "0x7f000001", "127.0.0.1.",
		"[::ffff:127.0.0.1]", "[::]", "[::2]", "::1", "[localhost]", "[127.0.0.1]", "127.0.0.1]", "[::1", "[::1]x", "[::1%25lo]",
		"", ":8080", ":", "%6cocalhost", "localhost%2eevil.example", "localhost%00", "localhost,evil.example", "localhost,localhost",
		"localhost;evil", "localhost:80:80", "localhost:abc", "localhost:80,evil.example", "localhost:-1", "localhost:+80", "local_host", "*",
		"*.localhost", "localhost'", "localhost=x", "plain", "xn--localhost-", "169.254.169.254", "[fe80::1]",
	}, refused("host_refused"), "the Host names another machine:", from)
	cases = append(cases, each([]string{
		"a/../x", "user@localhost", "local host", "localhost, evil.example", "ｌocalhost", "löcalhost", "localhost\\evil", "localhost\"",
		"<localhost>", "localhost#", "localhost?x", "http://localhost", "localhost\x00", "localhost^",
	},
		byServer, "the Host can be none:", from)...)
	for _, host := range []string{
		"localhost", "LOCALHOST", "LocalHost:80", "localhost:8080", "localhost:1", "localhost:65535", "127.0.0.1", "127.0.0.1:9", "[::1]",
		"[::1]:8080",
	} {
		cases = append(cases, one("the Host is this machine: "+host, from(host), passes(lineA)))
	}
	return append(cases,
		one("two Hosts", a("Host: localhost"), byServer),
		one("two Hosts, one of them foreign", a("Host: evil.example"), byServer),
		one("two Hosts in different cases", a("hOST: evil.example"), byServer),
		one("no Host", "GET /plain/public/a HTTP/1.1\r\n\r\n", byServer),
		one("a Host with a space before its colon", "GET /plain/public/a HTTP/1.1\r\nHost : localhost\r\n\r\n", byServer),
		one("a foreign Host on a POST", strings.Replace(send("POST", "/plain/inbox", "x"), "Host: localhost", "Host: evil.example", 1), refused("host_refused")),
		one("a foreign Host on HEAD", strings.Replace(request("HEAD", "/plain/public/a"), "Host: localhost", "Host: evil.example", 1), refused("host_refused")),
		one("a foreign Host for a file", strings.Replace(get("/files/a"), "Host: localhost", "Host: evil.example", 1), refused("host_refused")),
		one("a foreign Host where no prefix fits", strings.Replace(get("/"), "Host: localhost", "Host: evil.example", 1), refused("host_refused")),
		one("HTTP/1.0 without a Host passes", "GET /plain/public/a HTTP/1.0\r\n\r\n", passes(lineA)),
		one("HTTP/1.0 with a Host passes", "GET /plain/public/a HTTP/1.0\r\nHost: localhost:80\r\n\r\n", passes(lineA)),
		one("HTTP/1.0 with a foreign Host", "GET /plain/public/a HTTP/1.0\r\nHost: evil.example\r\n\r\n", refused("host_refused")),
		one("a foreign name where other proxies look for it", a("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Original-Host: evil.example"), passes(lineA)),
	)
}

// browserCases are what a web page has a browser send.
func browserCases() []Case {
	browser := refused("browser_refused")
	cases := each([]string{
		"Origin: http://evil.example", "Origin: null", "Origin:", "Origin: http://localhost", "Origin: http://localhost:8080",
		"origin: https://evil.example", "ORIGIN: file://", "Origin: chrome-extension://x", "Origin: *",
		"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Sec-Fetch-Site:", "sec-fetch-site: x",
	}, browser, "a page has sent it:", func(header string) string { return a(header) })
	cases = append(cases, each([]string{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}, browser, "a page has sent, with its origin,", func(method string) string {
		return request(method, "/plain/public/a", "Origin: http://evil.example")
	})...)
	cases = append(cases, each([]string{
		"Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: x-lab", "Access-Control-Request-Private-Network: true",
		"Access-Control-Request-Local-Network: true",
	}, browser, "a preflight:", func(header string) string {
		return request("OPTIONS", "/plain/public/a", header)
	})...)
	cases = append(cases, each([]string{
		"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Referer: http://evil.example/", "Sec-Ch-Ua: x", "DNT: 1",
		"Access-Control-Request-Method: GET", "User-Agent: Mozilla/5.0", "Purpose: prefetch",
	},
		passes(lineA), "no page has sent it:", func(header string) string { return a(header) })...)
	return append(cases,
		one("a form of a page", send("POST", "/plain/inbox", "a=b", "Origin: null", "Content-Type: text/plain"), browser),
		one("a form of a page, as a browser sends it", send("POST", "/plain/inbox", "a=b", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Content-Type: application/x-www-form-urlencoded"), browser),
		one("a preflight as a browser sends it", request("OPTIONS", "/plain/inbox", "Origin: http://evil.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Private-Network: true"), browser),
		one("two origins", a("Origin: http://localhost", "Origin: http://evil.example"), browser),
		one("a web socket of a page", a("Origin: http://evil.example", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), browser),
		one("a page's name made to resolve to this machine", strings.Replace(send("POST", "/plain/inbox", "x", "Origin: http://evil.example:8080", "Sec-Fetch-Site: same-origin"), "Host: localhost", "Host: evil.example:8080", 1), refused("host_refused", "browser_refused")),
		one("an origin where no prefix fits", get("/", "Origin: http://evil.example"), browser),
		one("an origin and a method that is not forwarded", request("TRACE", "/plain/public/a", "Origin: http://evil.example"), refused("method_refused", "browser_refused")),
	)
}
