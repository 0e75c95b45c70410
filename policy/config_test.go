package policy

import (
	"strings"
	"testing"
)

func TestConfig_EachMistakeIsNoted(t *testing.T) {
	long := strings.Repeat("a", 65)
	caller := func(name string, addresses ...string) Config {
		return Config{Callers: []CallerConfig{{Name: name, Address: addresses}}}
	}
	rule := func(change func(*RuleConfig)) Config {
		r := byHand("good", "GET", "/v1/**")
		change(&r)
		return Config{Rules: []RuleConfig{r}}
	}
	allow := func(upstreams []string, operations ...string) Config {
		return rule(func(r *RuleConfig) { r.Upstreams, r.Allow, r.Methods, r.Paths = upstreams, operations, nil, nil })
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want []string // beginnings of lines
	}{
		{"none at all", Config{}, nil},
		{"a caller without a name", caller("", "10.0.0.1"), []string{"callers[0].name: missing; give it a name of lower-case letters, digits and -"}},
		{"a caller with a bad name", caller("Cron Job", "10.0.0.1"), []string{`callers[0].name: "Cron Job" cannot be a name; write lower-case letters, digits, ., _ and -, at most 64`}},
		{"a caller with a long name", caller(long, "10.0.0.1"), []string{`callers[0].name: "` + long + `" cannot be a name`}},
		{"a caller named local", caller("local", "10.0.0.1"), []string{`callers[0].name: there is "local" already; choose another name`}},
		{"two callers of a name", Config{Callers: []CallerConfig{{Name: "a", Address: []string{"10.0.0.1"}}, {Name: "a", Address: []string{"10.0.0.2"}}}}, []string{`callers[1].name: there is "a" already`}},
		{"a caller that nothing tells", caller("a"), []string{"callers[0]: nothing to recognise it by; write address: and a list of addresses or CIDRs"}},
		{"an address that is none", caller("a", "10.0.0.1", "localhost"), []string{`callers[0].address[1]: "localhost" is no address; write one such as 10.1.2.3 or 10.0.0.0/8`}},
		{"a prefix that is too long", caller("a", "10.0.0.0/33"), []string{`callers[0].address[0]: "10.0.0.0/33" is no address`}},
		{"an address with a port", caller("a", "10.0.0.1:80"), []string{`callers[0].address[0]: "10.0.0.1:80" is no address`}},
		{"an empty address", caller("a", ""), []string{`callers[0].address[0]: "" is no address`}},
		{"a rule without a name", rule(func(r *RuleConfig) { r.Name = "" }), []string{"rules[0].name: missing; give it a name"}},
		{"a rule with a bad name", rule(func(r *RuleConfig) { r.Name = "-a" }), []string{`rules[0].name: "-a" cannot be a name`}},
		{"two rules of a name", Config{Rules: []RuleConfig{byHand("a", "GET", "/"), byHand("a", "PUT", "/")}}, []string{`rules[1].name: there is "a" already; choose another name`}},
		{"a rule for nobody", rule(func(r *RuleConfig) { r.Callers = nil }), []string{"rules[0]: callers is missing or empty; name at least one caller"}},
		{"a rule for a stranger", rule(func(r *RuleConfig) { r.Callers = []string{Local, "corn"} }), []string{`rules[0].callers[1]: no caller "corn" among local`}},
		{"a rule for no upstream", rule(func(r *RuleConfig) { r.Upstreams = nil }), []string{"rules[0]: upstreams is missing or empty; name at least one upstream"}},
		{"a rule for an unknown upstream", rule(func(r *RuleConfig) { r.Upstreams = []string{"trasnfer"} }), []string{`rules[0].upstreams[0]: no upstream "trasnfer" among example, other, transfer`}},
		{"a rule that allows nothing", allow([]string{"example"}), []string{"rules[0]: allows nothing; write allow: [read], or methods and paths"}},
		{"methods without paths", rule(func(r *RuleConfig) { r.Paths = nil }), []string{"rules[0]: methods and paths go together; write both, such as methods: [GET], paths: [/v0.10/task/*]"}},
		{"paths without methods", rule(func(r *RuleConfig) { r.Methods = nil }), []string{"rules[0]: methods and paths go together"}},
		{"an unknown method", rule(func(r *RuleConfig) { r.Methods = []string{"GET", "TRACE"} }), []string{`rules[0].methods[1]: no method "TRACE" among GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS`}},
		{"a method in lower case", rule(func(r *RuleConfig) { r.Methods = []string{"get"} }), []string{`rules[0].methods[0]: no method "get" among GET`}},
		{"a bad pattern", rule(func(r *RuleConfig) { r.Paths = []string{"/v1", "v2"} }), []string{`rules[0].paths[1]: "v2" does not start with /; write`}},
		{"an operation of an upstream without any", allow([]string{"example"}, "read"), []string{"rules[0].upstreams[0]: example has no preset, so allow means nothing there; write methods and paths"}},
		{"an unknown operation", allow([]string{"transfer"}, "read", "sumbit"), []string{`rules[0].allow[1]: no operation of transfer "sumbit" among cancel, submit, read`}},
		{"an operation one of the upstreams has", allow([]string{"transfer", "other"}, "read"), []string{"rules[0].upstreams[1]: other has no preset"}},
		{"many, in the order of the file", Config{
			Callers: []CallerConfig{{Name: "A"}},
			Rules:   []RuleConfig{{}, {Name: "a", Callers: []string{"A"}, Upstreams: []string{"x"}, Methods: []string{"X"}, Paths: []string{"x"}}},
		}, []string{
			`callers[0].name: "A" cannot be a name`, "callers[0]: nothing to recognise it by",
			"rules[0].name: missing", "rules[0]: callers is missing", "rules[0]: upstreams is missing", "rules[0]: allows nothing",
			`rules[1].upstreams[0]: no upstream "x"`, `rules[1].methods[0]: no method "X"`, `rules[1].paths[0]: "x" does not start with /`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mistakes noted
			New(tt.cfg, upstreams(), &mistakes)
			wantLines(t, mistakes.lines, tt.want...)
		})
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "7": true, "a.b_c-d": true, "transfer2": true, strings.Repeat("a", 64): true,
		"": false, "A": false, "a ": false, " a": false, ".a": false, "a-": false, "_a": false, "a/b": false, "é": false, "a\n": false, "a:b": false, strings.Repeat("a", 65): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v, want %v", name, got, want)
		}
	}
}
