package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noted is a Mistakes that keeps lines such as "rules[0].name: what is wrong".
type noted struct{ lines []string }

func (n *noted) Add(path []any, format string, args ...any) {
	var b strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	n.lines = append(n.lines, b.String()+": "+fmt.Sprintf(format, args...))
}

func (n *noted) Unknown(path []any, kind, name string, known []string) {
	n.Add(path, "no %s %q among %s", kind, name, strings.Join(known, ", "))
}

// pattern is ParsePattern for patterns that are known to be good.
func pattern(text string) Pattern {
	p, err := ParsePattern(text)
	if err != nil {
		panic(fmt.Sprintf("pattern %q %v", text, err))
	}
	return p
}

func patterns(texts ...string) []Pattern {
	var list []Pattern
	for _, text := range texts {
		list = append(list, pattern(text))
	}
	return list
}

// upstreams are one with operations and paths that are never allowed, and two
// that are made by hand.
func upstreams() map[string]Upstream {
	return map[string]Upstream{
		"transfer": {
			Operations: []Operation{
				{"cancel", []Access{{[]string{"POST"}, patterns("/v0.10/task/*/cancel")}}},
				{"submit", []Access{{[]string{"POST"}, patterns("/v0.10/transfer")}, {[]string{"GET"}, patterns("/v0.10/submission_id")}}},
				{"read", []Access{{[]string{"GET"}, patterns("/**")}}},
			},
			Never: patterns("/v2/oauth2/token", "/v2/api/clients/*/credentials", "/p"),
		},
		"example": {Files: true},
		"other":   {Files: true},
	}
}

// newPolicy makes a Policy of rules, with a caller named cron, and fails the test at a mistake.
func newPolicy(t testing.TB, rules ...RuleConfig) *Policy {
	t.Helper()
	var mistakes noted
	cfg := Config{Callers: []CallerConfig{{Name: "cron", Address: []string{"10.0.0.0/8"}}}, Rules: rules}
	p := New(cfg, upstreams(), &mistakes)
	if len(mistakes.lines) > 0 {
		t.Fatalf("New noted %q", mistakes.lines)
	}
	return p
}

// request is "caller upstream method path".
func request(text string) Request {
	f := strings.Split(text, " ")
	return Request{Caller: f[0], Upstream: f[1], Method: f[2], Path: strings.Join(f[3:], " ")}
}

// ask is a request without query and body.
func ask(caller, upstream, method, path string) Request {
	return Request{Caller: caller, Upstream: upstream, Method: method, Path: path, Body: &Body{Whole: true}}
}

// byHand is a rule for local at example.
func byHand(name, methods string, paths ...string) RuleConfig {
	return RuleConfig{Name: name, Callers: []string{Local}, Upstreams: []string{"example"}, Methods: strings.Fields(methods), Paths: paths}
}

// named is a rule for local at transfer.
func named(name string, allow ...string) RuleConfig {
	return RuleConfig{Name: name, Callers: []string{Local}, Upstreams: []string{"transfer"}, Allow: allow}
}

// wantLines checks that exactly these mistakes were noted, by their beginnings.
func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("mistakes %q, want %q", got, want)
	}
}
