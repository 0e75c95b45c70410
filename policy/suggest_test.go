package policy

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestPolicy_SuggestsTheSmallestRule(t *testing.T) {
	p := newPolicy(t)
	for _, tt := range []struct{ name, request, want string }{
		{"the narrowest operation that covers it", "cron transfer POST /v0.10/task/7/cancel", "allow: [cancel]"},
		{"an operation's second access", "cron transfer GET /v0.10/submission_id", "allow: [submit]"},
		{"HEAD by an operation with GET", "cron transfer HEAD /v0.10/task/7", "allow: [read]"},
		{"no operation covers it", "cron transfer DELETE /v0.10/task/7", `methods: [DELETE], paths: ["/v0.10/task/7"]`},
		{"an upstream without operations", "cron example GET /v1/a%20b", `methods: [GET], paths: ["/v1/a%20b"]`},
		{"characters that mean something in a pattern or in YAML", `cron example PUT /*/**/"\[]{}:,`, `methods: [PUT], paths: ["/%2A/%2A%2A/%22%5C[]{}:,"]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := request(tt.request)
			want := fmt.Sprintf("- {name: %s-%s, callers: [%s], upstreams: [%s], %s}", req.Caller, req.Upstream, req.Caller, req.Upstream, tt.want)
			if got := p.Suggest(req); got != want {
				t.Errorf("Suggest(%q) = %s, want %s", tt.request, got, want)
			}
		})
	}
}

// parseSuggestion reads a suggestion as YAML would, as far as it uses YAML.
func parseSuggestion(t *testing.T, text string) RuleConfig {
	t.Helper()
	inner, found := strings.CutPrefix(text, "- {name: ")
	inner, closed := strings.CutSuffix(inner, "}")
	if !found || !closed {
		t.Fatalf("suggestion %q is no list item with a mapping", text)
	}
	var rule RuleConfig
	rule.Name, inner, _ = strings.Cut(inner, ", ")
	for inner != "" {
		key, rest, _ := strings.Cut(inner, ": [")
		var value string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			value, rest, ok = strings.Cut(quoted, `"]`)
			if !ok || strings.ContainsAny(value, `"\`) {
				t.Fatalf("suggestion %q has a value that YAML reads otherwise", text)
			}
		} else if value, rest, ok = strings.Cut(rest, "]"); !ok {
			t.Fatalf("suggestion %q has a list without an end", text)
		}
		switch key {
		case "callers":
			rule.Callers = []string{value}
		case "upstreams":
			rule.Upstreams = []string{value}
		case "allow":
			rule.Allow = []string{value}
		case "methods":
			rule.Methods = []string{value}
		case "paths":
			rule.Paths = []string{value}
		default:
			t.Fatalf("suggestion %q has key %q", text, key)
		}
		inner = strings.TrimPrefix(rest, ", ")
	}
	return rule
}

// generatedPath is a path that passes bearerd's guard for files, the loosest.
func generatedPath(r *rand.Rand) string {
	pieces := []string{
		"a", "B", "7", "v0.10", "task", "*", "**", "%2A", "%2a", "%41", "%20", "%25", "%2F", "%22", "%5C", "%5B",
		`"`, `\`, "[", "]", "{", "}", ",", ":", ";", "'", "&", "!", "=", "+", "-", "~", "...", "%C3%A9", "é", "|", ">", "`", "@",
	}
	var b strings.Builder
	for range 1 + r.IntN(4) {
		b.WriteByte('/')
		for range 1 + r.IntN(4) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
	}
	if r.IntN(4) == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

// means is what a path says: its segments, decoded.
func means(path string) string {
	var decoded []string
	for segment := range strings.SplitSeq(path, "/") {
		text, _ := url.PathUnescape(segment)
		decoded = append(decoded, url.PathEscape(text))
	}
	return strings.Join(decoded, "/")
}

func TestPolicy_SuggestionAllowsExactlyTheRequest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		caller := []string{Local, "cron"}[r.IntN(2)]
		req := ask(caller, []string{"example", "other"}[r.IntN(2)], methods[r.IntN(len(methods))], generatedPath(r))
		rule := parseSuggestion(t, newPolicy(t).Suggest(req))
		p := newPolicy(t, rule)
		if got := p.Decide(req); !got.Allowed || got.Rule != rule.Name {
			t.Fatalf("Decide(%+v) = %+v with the rule that was suggested for it: %+v", req, got, rule)
		}
		for _, path := range []string{req.Path + "/x", req.Path + "x", "/x" + req.Path, generatedPath(r), generatedPath(r), "/a", "/"} {
			other := ask(req.Caller, req.Upstream, req.Method, path)
			if want := means(path) == means(req.Path); p.Decide(other).Allowed != want {
				t.Fatalf("the rule suggested for %q allows %q: %v, want %v", req.Path, path, !want, want)
			}
		}
		for _, method := range methods {
			want := method == req.Method || method == "HEAD" && req.Method == "GET"
			if got := p.Decide(ask(req.Caller, req.Upstream, method, req.Path)).Allowed; got != want {
				t.Fatalf("the rule suggested for %s allows %s: %v, want %v", req.Method, method, got, want)
			}
		}
		if p.Decide(ask("cron"+caller, req.Upstream, req.Method, req.Path)).Allowed ||
			p.Decide(ask(caller, "transfer", req.Method, req.Path)).Allowed {
			t.Fatalf("the rule suggested for %+v allows another caller or upstream", req)
		}
	}
}

func TestPolicy_SuggestedOperationAllowsTheRequest(t *testing.T) {
	for _, text := range []string{
		"cron transfer POST /v0.10/task/7/cancel", "local transfer GET /v0.10/submission_id", "cron transfer HEAD /anything/at/all/",
	} {
		req := request(text)
		rule := parseSuggestion(t, newPolicy(t).Suggest(req))
		if len(rule.Allow) != 1 || !newPolicy(t, rule).Decide(req).Allowed {
			t.Errorf("the rule suggested for %q does not allow it: %+v", text, rule)
		}
	}
}

func TestPolicy_SuggestsNamesThatRulesMayHave(t *testing.T) {
	for _, base := range []string{"local-up", strings.Repeat("a", 59) + "-up", strings.Repeat("a.-_", 20), strings.Repeat("b", 200)} {
		p := &Policy{}
		for range 3 {
			name := p.freeName(base)
			if !ValidName(name) || slices.ContainsFunc(p.rules, func(r *rule) bool { return r.name == name }) {
				t.Errorf("freeName(%.20q…) = %q, which no further rule may have", base, name)
			}
			p.rules = append(p.rules, &rule{name: name})
		}
	}
}
