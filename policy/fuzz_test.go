package policy

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func FuzzPattern(f *testing.F) {
	for _, seed := range []string{
		"", "/", "//", "/a", "/a/", "/*", "/**", "/a/*/b/**", "/***", "/%2A", "/%2a%2A", "/%", "/%zz", "/%2e%2e", "/.", "/a%2Fb",
		"/a b", "/é", "/\xff", "/a\x00", "/=", "/=*", "/*=", "a", "/a?b", "/a#b", "/%00", "/%25%32%41", strings.Repeat("/a", 1000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePattern(text)
		if err != nil {
			if err.Error() == "" || p.String() != "" {
				t.Errorf("ParsePattern(%q) = %q with error %q, want none with a text", text, p, err)
			}
			return
		}
		if p.String() != text {
			t.Errorf("ParsePattern(%q).String() = %q", text, p)
		}
		segments, ok := splitPath(text)
		if !ok {
			t.Fatalf("pattern %q is no path", text)
		}
		// A wildcard is an asterisk that is not escaped, and it matches itself too.
		if !p.match(segments) || !p.forbids(segments) {
			t.Errorf("pattern %q does not match its own path", text)
		}
		if strings.Contains(text, "*") {
			return
		}
		if other, _ := splitPath(text + "x"); p.match(other) {
			t.Errorf("pattern %q without wildcards matches another path", text)
		}
		if below, _ := splitPath(text + "/x"); p.match(below) {
			t.Errorf("pattern %q without wildcards matches what is below it", text)
		}
	})
}

func FuzzDecide(f *testing.F) {
	for _, seed := range []string{
		"local example GET /v1/tasks/7", "local example HEAD /v1/tasks/7", "local example DELETE /v1/tasks/7", "cron transfer POST /v0.10/transfer",
		"cron transfer GET /v2/oauth2/token", "cron transfer GET /V2/%6fauth2/TOKEN/introspect", "local transfer GET /%zz", " example GET /v1/tasks/7",
		"local  GET /", "local example  /", "local example GET ", "local example GET v1", "cron transfer PUT //", "local example GET /v1/tasks/%2F",
		"cron transfer TUP ///P//", "cron transfer PUT /v1/secret", "cron transfer PUT /V1/%2573ecret;x/", "cron transfer PUT /v1\\.secret.", "cron transfer PUT /v1/secrets",
	} {
		r := request(seed)
		f.Add(r.Caller, r.Upstream, r.Method, r.Path)
	}
	tasks := byHand("tasks", "GET", "/v1/tasks/*")
	all := RuleConfig{Name: "all", Callers: []string{"cron"}, Upstreams: []string{"transfer"}, Methods: methods, Paths: []string{"/**"}, Credential: "c"}
	no := RuleConfig{Name: "no", Callers: []string{"cron"}, Upstreams: []string{"transfer"}, Methods: []string{"PUT"}, Paths: []string{"/v1/secret"}, Deny: true}
	p := newPolicy(f, tasks, no, all)
	again := newPolicy(f, tasks, no, all)
	f.Fuzz(func(t *testing.T, caller, upstream, method, path string) {
		req := ask(caller, upstream, method, path)
		got := p.Decide(req)
		if second, third := p.Decide(req), again.Decide(req); got != second || got != third {
			t.Fatalf("Decide(%+v) = %+v, then %+v and %+v", req, got, second, third)
		}
		if want := expected(req); got != want {
			t.Errorf("Decide(%+v) = %+v, want %+v", req, got, want)
		}
		_ = p.Suggest(req)
	})
}

var escape = regexp.MustCompile(`%[0-9a-fA-F]{2}`)

// leniently reads a path as the worst of servers.
func leniently(path string) []string {
	for range 8 {
		path = escape.ReplaceAllStringFunc(path, func(text string) string {
			decoded, _ := url.PathUnescape(text)
			return decoded
		})
	}
	list := strings.Split(strings.ReplaceAll(path, `\`, "/"), "/")
	for i, text := range list {
		list[i] = strings.Trim(strings.Split(text, ";")[0], " \t.")
	}
	return slices.DeleteFunc(list, func(text string) bool { return text == "" })
}

// isOneSegment reports whether every server takes a decoded segment for one.
func isOneSegment(text string) bool {
	again, err := url.PathUnescape(text)
	if err != nil {
		again = Unescape(text)
	}
	name, _, _ := strings.Cut(again, ";")
	return strings.TrimLeft(name, " .\t") != "" && !strings.ContainsAny(again, `/\`)
}

// expected is what FuzzDecide's policy must say, reckoned without its code.
func expected(req Request) Decision {
	path, ok := strings.CutPrefix(req.Path, "/")
	segments := strings.Split(path, "/")
	for i := range segments {
		text, err := url.PathUnescape(segments[i])
		ok = ok && err == nil
		segments[i] = text
	}
	lenient := leniently(req.Path)
	below := func(never ...string) bool {
		return slices.ContainsFunc([][]string{segments, lenient}, func(list []string) bool {
			return len(list) >= len(never) && slices.EqualFunc(list[:len(never)], never, func(a, b string) bool {
				return b == "" || strings.EqualFold(a, b)
			})
		})
	}
	switch {
	case !ok:
		return Decision{}
	case req.Upstream == "transfer" && (below("v2", "oauth2", "token") || below("p") || below("v2", "api", "clients", "", "credentials")):
		return Decision{Never: true}
	case req.Upstream == "transfer" && req.Caller == "cron" && req.Method == "PUT" && slices.EqualFunc(lenient, []string{"v1", "secret"}, strings.EqualFold):
		return Decision{Rule: "no"}
	case req.Upstream == "transfer" && req.Caller == "cron" && slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, req.Method):
		return Decision{Allowed: true, Rule: "all", Credential: "c"}
	case req.Upstream == "example" && req.Caller == Local && (req.Method == "GET" || req.Method == "HEAD") &&
		len(segments) == 3 && segments[0] == "v1" && segments[1] == "tasks" && isOneSegment(segments[2]):
		return Decision{Allowed: true, Rule: "tasks"}
	}
	return Decision{}
}
