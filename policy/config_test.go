package policy

import (
	"math"
	"strings"
	"testing"
	"time"
)

func changed(r RuleConfig, change func(*RuleConfig)) RuleConfig {
	change(&r)
	return r
}

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
	one := func(c CallerConfig) Config {
		c.Name = "a"
		return Config{Callers: []CallerConfig{c}, Identity: IdentityConfig{
			Kubernetes: &KubernetesConfig{Audience: "b"}, JWT: map[string]JWTConfig{"gitlab": {Issuer: "https://gitlab.example.org", Audience: "b"}},
		}}
	}
	jwt := func(j JWTConfig) Config {
		return Config{Identity: IdentityConfig{JWT: map[string]JWTConfig{"a": j}}}
	}
	body := func(change func(*RuleConfig)) Config {
		return rule(func(r *RuleConfig) { r.Methods, r.Body = []string{"POST"}, conditions{"/a": in("x")}; change(r) })
	}
	field := func(pointer string, c ConditionConfig) Config {
		return body(func(r *RuleConfig) { r.Body = conditions{pointer: c} })
	}
	condition := func(c ConditionConfig) Config {
		return rule(func(r *RuleConfig) { r.Query = conditions{"q": c} })
	}
	strict := func(path string) Config {
		return rule(func(r *RuleConfig) { r.Upstreams, r.Paths = []string{"transfer"}, []string{path} })
	}
	rules := func(list ...RuleConfig) Config { return Config{Rules: list} }
	denying := func(name, methods string, paths ...string) RuleConfig {
		return changed(byHand(name, methods, paths...), func(r *RuleConfig) { r.Deny = true })
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
		{"a rule for a stranger", rule(func(r *RuleConfig) { r.Callers = []string{Local, "corn"} }), []string{`rules[0].callers[1]: no caller "corn" among local, anonymous`}},
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
		{"a caller named anonymous", caller("anonymous", "10.0.0.1"), []string{`callers[0].name: there is "anonymous" already; choose another name`}},
		{"claims without a jwt", one(CallerConfig{Address: []string{"10.0.0.1"}, Claims: map[string]Texts{"a": {"b"}}}), []string{"callers[0].claims: there is no jwt: that would make them; write jwt: and a name under policy.identity.jwt"}},
		{"an unknown jwt", one(CallerConfig{JWT: "gitlub", Claims: map[string]Texts{"sub": {"me"}}}), []string{`callers[0].jwt: no name under policy.identity.jwt "gitlub" among gitlab`}},
		{"no claims", one(CallerConfig{JWT: "gitlab"}), []string{"callers[0].jwt: there are no claims, so that whoever gets a token of that issuer for the audience would be this caller; write claims: and what the token has to say, such as {sub: ...}"}},
		{"an empty claim", one(CallerConfig{JWT: "gitlab", Claims: map[string]Texts{"a": {}, "b": {""}}}), []string{"callers[0].claims.a: empty; write what the token has to say there", "callers[0].claims.b: empty"}},
		{"two tokens", one(CallerConfig{JWT: "gitlab", Claims: map[string]Texts{"sub": {"me"}}, ServiceAccount: Texts{"a/b"}}), []string{"callers[0].jwt: one token is not of a ServiceAccount and of an issuer's too; write two callers"}},
		{"a ServiceAccount without a namespace", one(CallerConfig{ServiceAccount: Texts{"a/b", "runner"}}), []string{`callers[0].service_account[1]: "runner" is no ServiceAccount; write NAMESPACE/NAME, such as sim/runner`}},
		{"a ServiceAccount that nobody checks", Config{Callers: []CallerConfig{{Name: "a", ServiceAccount: Texts{"a/b"}}}}, []string{"callers[0].service_account: nothing says how its tokens are checked; write kubernetes: {audience: bearerd} under policy.identity"}},
		{"a common name", one(CallerConfig{Certificate: Texts{"CN=cron"}}), []string{`callers[0].certificate[0]: "CN=cron" is no name a certificate identifies by; write a URI, a DNS name or an email address`}},
		{"a wildcard in a certificate", one(CallerConfig{Certificate: Texts{"*.example.org"}}), []string{`callers[0].certificate[0]: "*.example.org" has a space, a wildcard`}},
		{"an address in a certificate", one(CallerConfig{Certificate: Texts{"10.0.0.1"}}), []string{`callers[0].certificate[0]: "10.0.0.1" is an address, which a certificate does not identify by; write it under address:`}},
		{"a URI without a host", one(CallerConfig{Certificate: Texts{"spiffe:///a"}}), []string{`callers[0].certificate[0]: "spiffe:///a" is no URI; write one such as spiffe://example.org/cron`}},
		{"an email address without a name", one(CallerConfig{Certificate: Texts{"@example.org"}}), []string{`callers[0].certificate[0]: "@example.org" is no email address`}},
		{"Kubernetes without an audience", Config{Identity: IdentityConfig{Kubernetes: &KubernetesConfig{URL: "http://x", CA: "/ca", Token: "env:X"}}}, []string{
			"identity.kubernetes.audience: missing; write whom the tokens are made for, such as bearerd", "identity.kubernetes.url: not https",
			"identity.kubernetes.ca: not a file; write file:PATH", "identity.kubernetes.token: not a file",
		}},
		{"an issuer that says nothing", jwt(JWTConfig{}), []string{"identity.jwt.a.issuer: missing; write a URL such as https://gitlab.example.org", "identity.jwt.a.audience: missing"}},
		{"an issuer over http", jwt(JWTConfig{Issuer: "http://a", Audience: "b"}), []string{"identity.jwt.a.issuer: not https, so that anybody on the way can say who callers are"}},
		{"an issuer over http that may be", jwt(JWTConfig{Issuer: "http://a", Audience: "b", JWKS: "http://a/keys", InsecureHTTP: true}), nil},
		{"an issuer that is no URL", jwt(JWTConfig{Issuer: "gitlab.com", Audience: "b"}), []string{"identity.jwt.a.issuer: no URL of https with a host alone and a path"}},
		{"keys that are no URL", jwt(JWTConfig{Issuer: "https://a", Audience: "b", JWKS: "file:x"}), []string{"identity.jwt.a.jwks: no URL of https"}},
		{"algorithms with a secret, or none", jwt(JWTConfig{Issuer: "https://a", Audience: "b", Algorithms: []string{"RS256", "HS256", "none"}}), []string{"identity.jwt.a.algorithms[1]: HS256 would let whoever can check a token make one", "identity.jwt.a.algorithms[2]: none would let"}},
		{"two issuers nothing tells apart", Config{Identity: IdentityConfig{JWT: map[string]JWTConfig{"a": {Issuer: "https://a", Audience: "b"}, "b": {Issuer: "https://a", Audience: "b"}}}}, []string{"identity.jwt.b: nothing tells its tokens from those of a; keep one"}},
		{"an audit without a file", Config{Audit: AuditConfig{Required: true}}, []string{"audit.required: there is no file: to write to"}},

		{"a rate that is none", rule(func(r *RuleConfig) { r.Limits.Rate = "5/d" }), []string{`rules[0].limits.rate: "5/d" is no rate; write a whole number of requests a second, minute or hour, such as 5/s, 100/m or 10/h`}},
		{"a rate of nothing", rule(func(r *RuleConfig) { r.Limits.Rate = "0/s" }), []string{`rules[0].limits.rate: "0/s" is no rate`}},
		{"a rate with a fraction", rule(func(r *RuleConfig) { r.Limits.Rate = "0.5/s" }), []string{`rules[0].limits.rate: "0.5/s" is no rate`}},
		{"a negative concurrency", rule(func(r *RuleConfig) { r.Limits.Concurrency = -1 }), []string{"rules[0].limits.concurrency: -1 is negative; write how many requests"}},
		{"a rule that denies with a credential and limits", rule(func(r *RuleConfig) { r.Deny, r.Credential, r.Limits.Rate = true, "c", "5/s" }), []string{"rules[0].credential: a rule that denies uses none; leave it out", "rules[0].limits: a rule that denies lets nothing through to limit; leave them out"}},
		{"a rule that denies nothing", rule(func(r *RuleConfig) { r.Deny, r.Methods, r.Paths = true, nil, nil }), []string{"rules[0]: denies nothing; write allow: [read], or methods and paths"}},
		{"a max_body that is no size", body(func(r *RuleConfig) { r.MaxBody = ParseSize("8 miles") }), []string{"rules[0].max_body: no size; write one such as 64KiB or 8MiB"}},
		{"a max_body that is too long", body(func(r *RuleConfig) { r.MaxBody = ParseSize("17MiB") }), []string{"rules[0].max_body: 17MiB is too long to keep in memory; write at most 16MiB"}},
		{"the longest max_body", body(func(r *RuleConfig) { r.MaxBody = ParseSize("16MiB") }), nil},
		{"a max_body without conditions", rule(func(r *RuleConfig) { r.MaxBody = 5 }), []string{"rules[0].max_body: means something only with conditions under body:"}},
		{"a body of requests that have none", body(func(r *RuleConfig) { r.Methods = []string{"GET", "HEAD"} }), []string{"rules[0].body: the rule is for GET and HEAD only, which have no body; leave it out, or write other methods"}},
		{"a body of some requests", body(func(r *RuleConfig) { r.Methods = []string{"GET", "PUT"} }), nil},
		{"a condition that says nothing", condition(ConditionConfig{}), []string{"rules[0].query.q: says nothing; write in: and a list of values, under: and a path, or absent_or: and a list of values"}},
		{"a condition that says two things", condition(ConditionConfig{In: []any{"a"}, Under: "/b"}), []string{"rules[0].query.q: in, under and absent_or do not go together; write one of them"}},
		{"a condition that nothing meets", condition(ConditionConfig{In: []any{}}), []string{"rules[0].query.q.in: empty, so that nothing is in it; write at least one value"}},
		{"a condition on absence alone", condition(absentOr()), nil},
		{"a parameter that is null", condition(in("a", nil)), []string{"rules[0].query.q.in[1]: null is nothing a parameter can be; write a text, or absent_or: [] for none at all"}},
		{"a parameter that is a fraction", condition(in(1.5)), []string{"rules[0].query.q.in[0]: a number can be written in several ways; write it in quotes, as the query has it"}},
		{"a parameter with a control character", condition(in("a\n")), []string{"rules[0].query.q.in[0]: a text with characters that keep a request from being judged"}},
		{"a value that is a list", condition(in([]any{"a"})), []string{"rules[0].query.q.in[0]: no single value; write a text, a number, true, false or null, and in quotes what is to be a text"}},
		{"a value that is a time", field("/a", absentOr(time.Now())), []string{"rules[0].body./a.absent_or[0]: no single value"}},
		{"a number that is rounded", field("/a", in(9007199254740991, uint64(9007199254740992))), []string{"rules[0].body./a.in[1]: a number that some readers round; write one of at most 15 digits, in quotes if it is a text"}},
		{"a number that is none", field("/a", in(math.Inf(1), math.NaN())), []string{"rules[0].body./a.in[0]: a number that", "rules[0].body./a.in[1]: a number that"}},
		{"a text that no body has", field("/a", in("\uFFFD")), []string{"rules[0].body./a.in[0]: a text with characters that"}},
		{"under what is no path", condition(under("archive")), []string{`rules[0].query.q.under: "archive" does not start with /; write a path such as /archive/`}},
		{"under a path with a dot segment", condition(under("/a/../b")), []string{`rules[0].query.q.under: "/a/../b" has a dot segment, an empty one, a backslash or a control character`}},
		{"under a path with an escape", condition(under("/a%20b")), []string{`rules[0].query.q.under: "/a%20b" has a %, and paths are compared as they are; write one without`}},
		{"a parameter without a name", rule(func(r *RuleConfig) { r.Query = conditions{"": in("a")} }), []string{"rules[0].query.: no name of a parameter; write it decoded, as in ?name=value"}},
		{"a pointer without its slash", field("a", in("x")), []string{"rules[0].body.a: does not start with /; write the way to a field, such as /source_endpoint or /DATA/*/destination_path"}},
		{"a pointer with a ~ for nothing", field("/a~b", in("x")), []string{"rules[0].body./a~b: has a ~ that stands for nothing; write ~0 for ~ and ~1 for / in a name"}},
		{"a pointer that is too deep", field(strings.Repeat("/a", 65), in("x")), []string{"rules[0].body." + strings.Repeat("/a", 65) + ": is deeper than the 64 levels"}},
		{"a field and one inside it", body(func(r *RuleConfig) { r.Body = conditions{"/a": in("x"), "/a/b": absentOr(1)} }), []string{"rules[0].body./a/b: cannot hold together with the condition on /a, which wants a single value or a list there; leave one of them out"}},
		{"elements and members of one field", body(func(r *RuleConfig) { r.Body = conditions{"/a/*": in("x"), "/a/b": in("x")} }), []string{"rules[0].body./a/b: cannot hold together with the condition on /a/*"}},
		{"two fields that may both be absent", body(func(r *RuleConfig) { r.Body = conditions{"/a": absentOr(), "/a/b": absentOr(1)} }), nil},

		{"a path no request has: an encoded slash", strict("/a%2Fb"), []string{`rules[0].paths[0]: "/a%2Fb" has an encoded /, and requests with one are refused unless paths name files; write another path, or path: files on the upstream`}},
		{"a path no request has: a control character", strict("/a%0A"), []string{`rules[0].paths[0]: "/a%0A" has an encoded control character, and requests with one are refused; write another path`}},
		{"a path no request has: not UTF-8", strict("/%ff"), []string{`rules[0].paths[0]: "/%ff" has an encoded byte that is not UTF-8`}},
		{"an encoded dot is one", strict("/a%2Eb/%3B%20"), nil},
		{"an encoded slash in a file's name", rule(func(r *RuleConfig) { r.Paths = []string{"/a%2Fb%25"} }), nil},
		{"an encoded control character in a file's name", rule(func(r *RuleConfig) { r.Paths = []string{"/a%00"} }), []string{`rules[0].paths[0]: "/a%00" has an encoded control character`}},

		{"a rule behind one that decides all of it", rules(byHand("a", "GET POST", "/v1/**"), byHand("b", "GET", "/v1/x/*", "/v1/y")), []string{`rules[1]: can never match: rule "a" before it decides all of it already; move this one before, or take it out`}},
		{"a rule behind two that decide it together", rules(byHand("a", "GET", "/v1/**"), byHand("b", "POST", "/v1/x"), byHand("c", "POST GET", "/v1/x")), []string{`rules[2]: can never match: rules "a" and "b" before it decide all of it already`}},
		{"a rule behind one that decides some of it", rules(byHand("a", "GET", "/v1/*"), byHand("b", "GET", "/v1/**")), nil},
		{"HEAD behind GET", rules(byHand("a", "GET", "/v1"), byHand("b", "HEAD", "/v1")), []string{`rules[1]: can never match`}},
		{"GET behind HEAD", rules(byHand("a", "HEAD", "/v1"), byHand("b", "GET", "/v1")), nil},
		{"a rule behind one with conditions", rules(withBody(conditions{"/a": in("x")}), byHand("b", "POST", "/v1")), nil},
		{"a rule with conditions behind one without", rules(byHand("b", "POST", "/v1"), withBody(conditions{"/a": in("x")})), []string{`rules[1]: can never match: rule "b" before it`}},
		{"a rule behind one that denies", rules(denying("a", "GET", "/v1/**"), byHand("b", "GET", "/v1/x")), []string{`rules[1]: can never match: rule "a" before it`}},
		{"a rule for another caller", rules(byHand("a", "GET", "/v1"), changed(byHand("b", "GET", "/v1"), func(r *RuleConfig) { r.Callers = []string{Anonymous, Local} })), nil},
		{"a rule for another upstream", rules(byHand("a", "GET", "/v1"), changed(byHand("b", "GET", "/v1"), func(r *RuleConfig) { r.Upstreams = []string{"other"} })), nil},
		{"an operation behind all", rules(named("a", "read"), named("b", "submit"), changed(named("c", "submit"), func(r *RuleConfig) { r.Credential = "c" })), []string{`rules[2]: can never match: rules "a" and "b" before it`}},
		{"a path that is never forwarded", rules(changed(byHand("a", "GET", "/v2/oauth2/token/x", "/V2/oauth2/Token", "/p/**"), func(r *RuleConfig) { r.Upstreams = []string{"transfer"} })), []string{"rules[0]: can never match: its paths hand out or take away credentials and are never forwarded, whatever the rules say; take it out"}},
		{"a path that is never forwarded beside others", rules(changed(byHand("a", "GET", "/v2/oauth2/token", "/v2/oauth2/*"), func(r *RuleConfig) { r.Upstreams = []string{"transfer"} })), nil},
		{"a rule with a mistake hides no other", rules(byHand("", "GET", "/**"), byHand("b", "GET", "/v1")), []string{"rules[0].name: missing"}},

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
