package proxy

import (
	"net/url"
	"strings"
	"testing"

	"bearerd/policy"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want target
	}{
		{"/a/b", target{form: originForm, path: "/a/b"}},
		{"/a?b=c?d", target{form: originForm, path: "/a", query: "?b=c?d"}},
		{"/a?", target{form: originForm, path: "/a", query: "?"}},
		{"//evil.example/x", target{form: originForm, path: "//evil.example/x"}},
		{"/x:http://evil.example/", target{form: originForm, path: "/x:http://evil.example/"}},
		{"*", target{form: asteriskForm, path: "*"}},
		{"http://evil.example/a?b", target{form: absoluteForm, origin: "http://evil.example", authority: "evil.example", path: "/a", query: "?b"}},
		{"http://evil.example", target{form: absoluteForm, origin: "http://evil.example", authority: "evil.example"}},
		{"http://user@evil.example:80/a", target{form: absoluteForm, origin: "http://user@evil.example:80", authority: "user@evil.example:80", path: "/a"}},
		{"x:http://169.254.169.254/admin", target{form: absoluteForm, origin: "x:http://169.254.169.254", authority: "169.254.169.254", path: "/admin"}},
		{"evil.example:443", target{form: authorityForm, authority: "evil.example:443"}},
		{"http:evil/a", target{form: authorityForm, authority: "http:evil/a"}},
		{"?x", target{form: authorityForm, query: "?x"}},
		{"", target{form: authorityForm}},
	} {
		if got := parseTarget(tt.raw); got != tt.want {
			t.Errorf("parseTarget(%q) = %+v, want %+v", tt.raw, got, tt.want)
		}
		if err := parseTarget(tt.raw).check(false); (err == nil) != (tt.want.form == originForm && !strings.Contains(tt.raw, "//")) {
			t.Errorf("%q: %v", tt.raw, err)
		}
	}
}

func TestCheckQuery(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "a=b&c": "", "a=[1]|{2}^\"<>\\`é": "", "x=%00": "", "a=b;c=d": "", "access": "", "token=1": "", "=": "", "a==": "", "%5B%5D": "", "x=access_token": "",
		"access_token=1": "has access_token", "a&ACCESS_TOKEN": "has access_token", "access%5Ftoken=x": "has access_token", "a;access_token=x": "has access_token",
		"access_token[]=x": "has access_token", "+access_token=x": "has access_token", "%20access_token%20=x": "has access_token",
		"_method=DELETE": "has _method", "%5fmethod=DELETE": "has _method", "a=b&_Method=PUT": "has _method",
		"%": "has a %", "a=%zz": "has a %", "a=%4": "has a %", "a b": "has a character", "a#b": "has a character", "a\x00": "has a character", "a\x7f": "has a character",
		"\xff": "is not UTF-8", "a=\xc0\xaf": "is not UTF-8",
	} {
		if got := checkQuery(query); (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("checkQuery(%q) = %q, want %q", query, got, want)
		}
	}
}

func TestHostName(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "localhost", "LocalHost:8080": "localhost", "127.0.0.1:1": "127.0.0.1", "[::1]:8080": "::1", "[::1]": "::1", "localhost:": "localhost",
		"": "", ":8080": "", "localhost:abc": "", "[localhost]": "", "::1": "", "[::1": "", "::1]": "", "a:b:80": "", "localhost.": "localhost.", "[::1]x": "",
		"localhost,evil": "localhost,evil", "%6cocalhost": "%6cocalhost", "[]": "", "[::1]:8080:1": "",
	} {
		if got := hostName(host); got != want {
			t.Errorf("hostName(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestHasOverlong(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "é": false, "日本": false, "😀": false, "\xc0\xae": true, "\xc1\x81": true, "\xe0\x80\xae": true, "\xf0\x80\x80\xae": true,
		"\xc0": false, "\xc0.": false, "\xe0\xa4\xb9": false, "\xff": false,
	} {
		if got := policy.HasOverlong(text); got != want {
			t.Errorf("hasOverlong(%q) = %v", text, got)
		}
	}
}

// checkReadBack has net/url read a URL that was accepted, where it reads it at all.
func checkReadBack(t *testing.T, raw string, got target) {
	t.Helper()
	u, err := url.ParseRequestURI(raw)
	if err == nil && (u.Host != got.authority || u.User != nil || u.EscapedPath() != got.path || !strings.EqualFold(u.Scheme+"://"+u.Host, got.origin)) {
		t.Fatalf("%q was taken for %+v, and net/url reads %+v", raw, got, u)
	}
}

// FuzzTarget holds the oracle: what is accepted has, in up to two decodings, no
// segment that leads elsewhere, and reads back as the bytes that came; a URL, where it
// may be one, with the host that net/url reads.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{
		"/", "/a", "/a/../b", "/%2e%2e/b", "/a%2f..%2fb", "/..;/a", "/a\\..\\b", "/%252e%252e/", "/%c0%ae%c0%ae/", "//a", "/a//b", "/a?x=1;y=2", "/a?x=%zz", "*", "http://a/b",
		"/．．/a", "/%ef%bc%8e%ef%bc%8e/a", "/a%00", "/a?access_token=1", "/a#b", "/a?b#c", "/\xff", "/a.", "/.../b", "/a;b=c/d", "/a%3b..%2f",
		"http://up.example/a?b", "http://up.example", "http://up.example?b", "https://[::1]:443/a", "http://a@b/c", "http://a\\b/c", "http://a/http://b/", "HTTP://A/b", "http://\u212a/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := parseTarget(raw)
		through := got.form == absoluteForm
		if got.check(through) != nil {
			return
		}
		if got.origin+got.path+got.query != raw || strings.HasPrefix(raw, "/") == through {
			t.Fatalf("%q was taken for %+v", raw, got)
		}
		if through {
			checkReadBack(t, raw, got)
		}
		if strings.ContainsAny(got.path, " \t\r\n\x00\x7f#?\\") || strings.ContainsAny(got.query, " \t\r\n\x00\x7f#") {
			t.Fatalf("%q was accepted with a byte that ends or hides something", raw)
		}
		decoded := got.path
		for range 2 {
			decoded = policy.Unescape(decoded)
			for _, separators := range []string{"/", `/\`} {
				for _, segment := range strings.FieldsFunc(decoded, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
					if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
						t.Fatalf("%q was accepted, and decodes to %q", raw, decoded)
					}
				}
			}
		}
		if checkStrict(got.path) != "" {
			return
		}
		// A strict path is the same path however often it is decoded.
		if once := policy.Unescape(got.path); strings.Count(once, "/") != strings.Count(got.path, "/") || policy.Unescape(once) != once {
			t.Fatalf("%q is no strict path: it decodes to %q", raw, once)
		}
	})
}
