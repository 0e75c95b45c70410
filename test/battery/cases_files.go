package battery

import "strings"

// fileCases are names of files: whatever a file system has, and nothing that
// leaves its folder.
func fileCases() []Case {
	cases := each([]string{
		"..", ".", "../admin", "a/../../admin", "%2e%2e/admin", "%2e%2e%2fadmin", "..%2fadmin", "a%2f..%2fb", "a%2F..%2F..%2Fadmin", "%2e",
		"a/%2e/b", "%252e%252e/admin", "a%252f..%252fb",
		"..%5cadmin", `..\admin`, `a\b`, "a%5c..%5cb", "..;/admin", "..;a=b/admin", "..%3bx/admin", "%2e%2e%3bx/admin", "a%00", "a%0ab",
		"a%0d%0aX-Inj:1", "a%7f", "%c0%ae%c0%ae/admin", "..%c0%afadmin",
		"/a", "a//b", "a#b", "ü", "a|b", "%252e%252e%252fadmin", "%2e%252e/admin",
	}, ambiguous, "a file outside its folder:", func(input string) string { return get("/files/" + input) })
	cases = append(cases, each([]string{"PUT", "DELETE"}, ambiguous, "a file outside its folder, changed:", func(method string) string {
		return send(method, "/files/a%2f..%2f..%2fadmin", "")
	})...)
	cases = append(cases, each([]string{"%zz", "a%2"}, byServer, "a file whose name starts no escape:", func(input string) string { return get("/files/" + input) })...)
	for _, c := range same("/files", "a file's name:", "/files/", []string{
		"a%2Fb", "a%2fb", "a%25b", "100%25", "a%3Bb", "a%3Fb", "a%23b", "a%2Eb", "a.", "...", ".hidden", "..a", "a%20b", "a;v=1",
		"gr%C3%B6%c3%9fe.csv", "", "a/b/c/", "%E2%80%A8", "a%3a%2A%22", "a+b", "a%2Bb", "a%2520b", "a%5Bb%5D", "a%7Cb",
	}) {
		c.Wants[0].Line = strings.Replace(c.Wants[0].Line, "GET ", "GET /data", 1)
		cases = append(cases, c)
	}
	return append(cases,
		one("a folder without a slash", get("/files"), passes("GET /data/ HTTP/1.1")),
		one("a name that is no UTF-8", get("/files/caf%e9"), passes("GET /data/caf%e9 HTTP/1.1")).because("file systems keep names as bytes; it goes on as it came"),
		one("dots encoded three times", get("/files/%25252e%25252e"), passes("GET /data/%25252e%25252e HTTP/1.1")).because("decoded twice, which is as often as any server does, it is %2e%2e, a name"),
	)
}

// queryCases are of queries, which go on byte for byte or not at all.
func queryCases() []Case {
	cases := same("/plain", "a query goes on byte for byte:", "/plain/public/a?", []string{
		"", "x", "x=", "=x", "=", "?", "??", "&", "&&", "a&&b", "a=1&a=2", "b=2&a=1", "x=1;y=2&z=3", "b=2&a=1&f=x;y", ";", "a;b;c", "a[]=1&a[]=2",
		"a[0]={b}|c^d", `a="b"<c>`, "a=`b`", `a=b\c`,
		"q=größe", "q=😀", "q=gr%C3%B6%c3%9fe", "x=a+b%2Bc%20d", "x=/../../admin", "x=%2e%2e%2f", "url=http://169.254.169.254/", "a?b", "a=b=c",
		"%61=1", "x=%26y%3D1", "x=access_token", "access_tokens=1", "method=DELETE", "x=_method", "token=1",
		"x=%ff", "limit=1000&offset=0", "filter=status:ACTIVE,INACTIVE/label:*", "x=~!*'()", "x=\u202e", "a=%E2%80%AE", "@evil.example/", "://", "x=%23y",
	})
	cases = append(cases, each([]string{"x=\xff", "\xc3", "x=\xed\xa0\x80", "q=\xf6", "x=a#b", "#", "a=1#access", "x#/../.."}, ambiguous, "a query that servers read differently:", func(query string) string {
		return get("/plain/public/a?" + query)
	})...)
	cases = append(cases, each([]string{"x=%zz&y=2", "%", "x=%", "x=%1", "x=%u0061", "a=1&b=%g1", "%%"}, ambiguous, "a query with a % that starts no escape:", func(query string) string {
		return get("/plain/public/a?" + query)
	})...)
	cases = append(cases, each([]string{"x=a b", "x=\tb", "x=\x00", "x=\x1b[2J", "x=\x7f", "x=\rb"}, byServer, "a query with a raw control or space:", func(query string) string {
		return get("/plain/public/a?" + query)
	})...)
	cases = append(cases, each([]string{
		"access_token=x", "ACCESS_TOKEN=x", "Access_Token=x", "acces%73_token=x", "access%5Ftoken=x", "%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x",
		"a=1&access_token=x", "a=1;access_token=x", "access_token", "access_token[]=x", "access_token=&b",
		"_method=DELETE", "_METHOD=DELETE", "%5fmethod=DELETE", "_metho%64=DELETE", "a=1&_method=DELETE", "a=1;_method=DELETE", "_method", "_method[]=x", "_Method=PUT",
	}, ambiguous, "a query that asks for another credential or method:", func(query string) string { return get("/plain/public/a?" + query) })...)
	many := func(n int, separator string) string { return strings.Repeat("a"+separator, n-1) + "z=1" }
	tooLong := refused("request_too_long")
	return append(cases,
		one("a POST that asks for another method", send("POST", "/plain/inbox?_method=DELETE", "x"), ambiguous),
		one("a POST with a token in the query", send("POST", "/plain/inbox?access_token=x", "x"), ambiguous),
		one("a file's name with a token in the query", get("/files/a?access_token=x"), ambiguous),
		one("an encoded NUL in a query", get("/plain/public/a?x=%00"), passes("GET /public/a?x=%00 HTTP/1.1")).because("rules that look at the query judge it decoded; it goes on as it came"),
		one("a query's name encoded twice", get("/plain/public/a?%2561ccess_token=x"), passes("GET /public/a?%2561ccess_token=x HTTP/1.1")).because("servers decode a query once, and then this is another name"),
		one("a query of 1000 parameters passes", get("/plain/public/a?"+many(1000, "&")), passes("GET /public/a?"+many(1000, "&")+" HTTP/1.1")),
		one("a query of 1001 parameters", get("/plain/public/a?"+many(1001, "&")), tooLong),
		one("a query of 1001 parameters by semicolons", get("/plain/public/a?"+many(1001, ";")), tooLong),
		one("a query of 8 KB passes", get("/plain/public/a?"+strings.Repeat("x", 8000)), passes("GET /public/a?"+strings.Repeat("x", 8000)+" HTTP/1.1")),
		one("a query of more than 8 KiB", get("/plain/public/a?"+strings.Repeat("x", 8200)), tooLong),
		one("a query of 10001 parameters", get("/plain/public/a?"+strings.Repeat("a&", 10000)+"z=1"), tooLong),
		one("a path of 4 KB passes", get("/plain/public/"+strings.Repeat("x", 4000)), passes("GET /public/"+strings.Repeat("x", 4000)+" HTTP/1.1")),
		one("a path of more than 4 KiB", get("/plain/public/"+strings.Repeat("x", 4097)), tooLong),
		one("a path of 20 KB", get("/plain/public/"+strings.Repeat("x/", 10000)), tooLong),
		one("a path of 900 KB", get("/plain/public/"+strings.Repeat("x", 900000)), byServer),
		one("a query of 900 KB", get("/plain/public/a?"+strings.Repeat("x", 900000)), byServer),
		one("a path of 900 KB that has no end", "GET /plain/public/"+strings.Repeat("x", 900000), byServer),
	)
}
