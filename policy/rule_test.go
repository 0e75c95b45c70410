package policy

import (
	"fmt"
	"strings"
	"testing"
)

func TestPolicy_ReadsABodyOnlyForARuleThatNeedsIt(t *testing.T) {
	small, large := withBody(conditions{"/a": in("x")}), withBody(conditions{"/a": in("y")})
	small.Name, small.MaxBody = "small", 100
	large.Name, large.MaxBody = "large", 1000
	filtered := withBody(conditions{"/a": in("q")})
	filtered.Name, filtered.Query = "filtered", conditions{"q": in("1")}
	all := byHand("all", "PUT", "/v1")
	p := newPolicy(t, filtered, all, small, large)
	long := func(value string, n int) string {
		return fmt.Sprintf(`{"a":%q,"pad":"%s"}`, value, strings.Repeat("p", n))
	}
	partly := func(text string, read int) *Body {
		return &Body{ContentType: []string{"application/json"}, Bytes: []byte(text[:read])}
	}
	for _, tt := range []struct {
		name   string
		method string
		path   string
		query  string
		body   *Body
		want   Decision
	}{
		{"not for another path", "POST", "/v2", "", nil, Decision{}},
		{"not for another method", "DELETE", "/v1", "", nil, Decision{}},
		{"not for a rule without conditions", "PUT", "/v1", "", nil, Decision{Allowed: true, Rule: "all"}},
		{"not for a rule whose query does not match", "POST", "/v1", "q=2", nil, Decision{Body: 100}},
		{"as far as the first rule wants", "POST", "/v1", "q=1", nil, Decision{Body: 64 << 10}},
		{"not if it was read", "POST", "/v1", "", jsonBody(`{"a":"x"}`), Decision{Allowed: true, Rule: "small"}},
		{"not if there is none", "POST", "/v1", "", &Body{Whole: true}, Decision{}},
		{"not if it is no JSON anyway", "POST", "/v1", "", &Body{ContentType: []string{"text/plain"}}, Decision{}},
		{"further if it was not read far enough", "POST", "/v1", "", partly(long("x", 200), 50), Decision{Body: 100}},
		{"further for the next rule if it is too long for the first", "POST", "/v1", "", partly(long("x", 2000), 100), Decision{Body: 1000}},
		{"a body that is just short enough", "POST", "/v1", "", jsonBody(long("x", 100-len(long("x", 0)))), Decision{Allowed: true, Rule: "small"}},
		{"a body that is too long for the first rule", "POST", "/v1", "", jsonBody(long("x", 200)), Decision{}},
		{"a body that is too long for the first rule and right for the next", "POST", "/v1", "", jsonBody(long("y", 200)), Decision{Allowed: true, Rule: "large"}},
		{"no further if it is too long for all", "POST", "/v1", "", partly(long("y", 2000), 1000), Decision{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := Request{Caller: Local, Upstream: "example", Method: tt.method, Path: tt.path, Query: tt.query, Body: tt.body}
			if got := p.Decide(req); got != tt.want {
				t.Errorf("Decide() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestPolicy_JudgesEachRuleByItsOwnConditions(t *testing.T) {
	upper, lower := withBody(conditions{"/Name": in("x")}), withBody(conditions{"/name": in("y"), "/list/*/name": in("z")})
	upper.Name, lower.Name = "upper", "lower"
	p := newPolicy(t, upper, lower)
	for body, want := range map[string]string{
		`{"Name":"x"}`: "upper",
		`{"name":"x"}`: "",
		`{"name":"y","list":[{"name":"z"},{"name":"z"}]}`: "lower",
		`{"name":"y","list":[{"name":"z"},{"Name":"z"}]}`: "",
		`{"name":"y"}`:            "",
		`{"Name":"x","name":"y"}`: "",
	} {
		if got := p.Decide(posting(jsonBody(body))); got.Rule != want {
			t.Errorf("Decide(%s) = %+v, want rule %q", body, got, want)
		}
	}
}

func TestRule_ThatDenies(t *testing.T) {
	deny := byHand("no", "GET DELETE", "/v1/secret", "/v1/*/key/", "/v1/vault/**", "/v1/%C3%A9")
	deny.Deny = true
	all := byHand("all", "GET HEAD POST DELETE", "/**")
	p := newPolicy(t, byHand("first", "GET", "/v1/vault/public"), deny, all)
	for path, want := range map[string]string{
		"/v1/secret":       "no",
		"/v1/secret/":      "no",
		"/v1/Secret":       "no",
		"/v1/%73ecret":     "no",
		"/v1/%2573ecret":   "no",
		"/v1/secret;x=1":   "no",
		"/v1/secret.":      "no",
		"/v1/secret%20":    "no",
		"/v1//secret":      "no",
		"/v1%2Fsecret":     "no",
		"/v1%5Csecret":     "no",
		"/v1/%c3%89":       "no",
		"/v1/a/key":        "no",
		"/v1/a/key/":       "no",
		"/v1/vault":        "no",
		"/v1/vault/a/b":    "no",
		"/V1/VAULT/a/b":    "no",
		"/v1/vault/public": "first",
		"/v1/vault/Public": "no",
		"/v1/secrets":      "all",
		"/v1/secret/x":     "all",
		"/secret":          "all",
		"/v1/a/b/key":      "all",
		"/":                "all",
	} {
		got := p.Decide(ask(Local, "example", "GET", path))
		if got != (Decision{Allowed: want != "no", Rule: want}) {
			t.Errorf("Decide(%s) = %+v, want rule %q", path, got, want)
		}
		if got := p.Decide(ask(Local, "example", "POST", path)); !got.Allowed {
			t.Errorf("Decide(%s) by a method that is not denied = %+v", path, got)
		}
	}
	if got := p.Decide(ask(Local, "example", "HEAD", "/v1/secret")); got.Rule != "no" {
		t.Errorf("HEAD where GET is denied: %+v", got)
	}
	if p.MayAnything("cron") || !p.MayAnything(Local) {
		t.Error("MayAnything does not tell whom rules allow something")
	}
	if newPolicy(t, deny).MayAnything(Local) {
		t.Error("a caller whom everything is denied may do something")
	}
}

func TestRule_GivesItsLimits(t *testing.T) {
	r := byHand("slow", "GET", "/v1")
	r.Limits = LimitsConfig{Rate: "30/m", Concurrency: 2}
	got := newPolicy(t, r, byHand("other", "GET", "/v2"))
	if d := got.Decide(ask(Local, "example", "GET", "/v1")); d.Limits == nil || d.Limits.PerSecond != 0.5 || d.Limits.Concurrency != 2 {
		t.Errorf("limits %+v, want half a request a second and 2 at a time", d.Limits)
	}
	if d := got.Decide(ask(Local, "example", "GET", "/v2")); d.Limits != nil {
		t.Errorf("limits %+v, want none", d.Limits)
	}
}

func TestPolicy_NeverReadsAsServersMight(t *testing.T) {
	all := RuleConfig{Name: "all", Callers: []string{Local}, Upstreams: []string{"up"}, Methods: []string{"GET"}, Paths: []string{"/**"}}
	decide := func(base, path string) Decision {
		p := New(Config{Rules: []RuleConfig{all}}, map[string]Upstream{"up": {Never: patterns("/v2/token", "/p/*/q"), Base: base, Files: true}}, &noted{})
		return p.Decide(ask(Local, "up", "GET", path))
	}
	for _, tt := range []struct {
		base, path string
		never      bool
	}{
		{"", "/v2/token", true},
		{"/v2", "/token", true},
		{"/v2", "/v2/token", false},
		{"/v2/", "/token", true},
		{"/V%32", "/token/x", true},
		{"/v2;x", "/token", true},
		{"", "/v2/%74oken", true},
		{"", "/v2/%2574oken", true},
		{"", "/v2/%252574oken/%", false}, // no path
		{"", "/v2/%252574oken/%25", true},
		{"", "/v2/tokens", false},
		{"", "/v2//token", true},
		{"", "//v2/token", true},
		{"", "/v2%2ftoken", true},
		{"", "/v2/token;a=b/c", true},
		{"", "/v2;a/token", true},
		{"", "/v2/.token./", true},
		{"", "/p//q", true},
		{"", "/p/x/q/y", true},
		{"", "/p/x", false},
	} {
		if got := decide(tt.base, tt.path); got.Never != tt.never {
			t.Errorf("base %q, path %q: %+v, want never: %v", tt.base, tt.path, got, tt.never)
		}
	}
}

func TestPolicy_LongPatternsAreComparedToTheirEnd(t *testing.T) {
	long := strings.Repeat("/a", 40)
	p := newPolicy(t, byHand("long", "GET", long), byHand("short", "GET", "/b"))
	deny := byHand("no", "GET", long+"/x")
	deny.Deny = true
	denying := newPolicy(t, deny, byHand("all", "GET", "/**"))
	for path, want := range map[string]string{long: "long", long + "/a": "", strings.Repeat("/a", 39): "", strings.Repeat("/a", 39) + "/b": "", "/b": "short"} {
		if got := p.Decide(ask(Local, "example", "GET", path)); got.Rule != want {
			t.Errorf("Decide(%s) = %+v, want rule %q", path, got, want)
		}
	}
	for path, want := range map[string]string{long + "/x": "no", long + "/X/": "no", long + "/y": "all", long: "all"} {
		if got := denying.Decide(ask(Local, "example", "GET", path)); got.Rule != want {
			t.Errorf("Decide(%s) = %+v, want rule %q", path, got, want)
		}
	}
}
