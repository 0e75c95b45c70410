package policy

import (
	"strings"
	"testing"
)

func TestPolicy_Decide(t *testing.T) {
	everything := RuleConfig{
		Name: "everything", Callers: []string{Local}, Upstreams: []string{"example", "transfer"},
		Methods: []string{"GET", "POST", "DELETE"}, Paths: []string{"/**"},
	}
	p := newPolicy(t,
		byHand("tasks", "GET DELETE", "/v1/tasks/*", "/v1/tasks"),
		byHand("only-head", "HEAD", "/v1/head"),
		byHand("files", "PUT", "/files/**", "/a%20b", "/star/%2A"),
		RuleConfig{
			Name: "cron", Callers: []string{"cron"}, Upstreams: []string{"example", "transfer"},
			Allow: nil, Methods: []string{"POST"}, Paths: []string{"/v1/tasks"}, Credential: "nightly",
		},
		named("submitting", "submit"),
		RuleConfig{Name: "both", Callers: []string{"cron"}, Upstreams: []string{"transfer"}, Allow: []string{"cancel"}, Methods: []string{"GET"}, Paths: []string{"/v0.10/task/*"}},
	)
	all := newPolicy(t, everything)
	for _, tt := range []struct {
		name    string
		policy  *Policy
		request string // caller upstream method path
		rule    string // "" if denied
	}{
		{"no rules at all", newPolicy(t), "local example GET /", ""},
		{"no rule for the path", p, "local example GET /v1/other", ""},
		{"a path of the rule", p, "local example GET /v1/tasks/7", "tasks"},
		{"another path of the rule", p, "local example DELETE /v1/tasks", "tasks"},
		{"HEAD with GET", p, "local example HEAD /v1/tasks/7", "tasks"},
		{"GET is not with HEAD", p, "local example GET /v1/head", ""},
		{"HEAD by itself", p, "local example HEAD /v1/head", "only-head"},
		{"a method the rule does not name", p, "local example POST /v1/tasks/7", ""},
		{"a method in another case", p, "local example get /v1/tasks/7", ""},
		{"OPTIONS is not with GET", p, "local example OPTIONS /v1/tasks/7", ""},
		{"no method", p, "local example  /v1/tasks/7", ""},
		{"another caller", p, "cron example GET /v1/tasks/7", ""},
		{"an unknown caller", all, "stranger example GET /v1", ""},
		{"nobody", all, " example GET /v1", ""},
		{"a caller in another case", all, "Local example GET /v1", ""},
		{"another upstream", p, "local other GET /v1/tasks/7", ""},
		{"an unknown upstream", all, "local nowhere GET /v1", ""},
		{"no upstream", all, "local  GET /v1", ""},
		{"* is one segment", p, "local example GET /v1/tasks/7/cancel", ""},
		{"* is not empty", p, "local example GET /v1/tasks/", ""},
		{"a segment encoded without need", p, "local example GET /v1/%74asks/7", "tasks"},
		{"a segment in another case", p, "local example GET /v1/Tasks/7", ""},
		{"a slash inside a segment parts nothing", p, "local example GET /v1%2Ftasks/7", ""},
		{"a slash inside what * would match", p, "local example GET /v1/tasks/7%2Fcancel", ""},
		{"a slash decoded twice", p, "local example GET /v1/tasks/7%252Fcancel", ""},
		{"what a servlet container takes for nothing", p, "local example GET /v1/tasks/;x", ""},
		{"spaces alone", p, "local example GET /v1/tasks/%20", ""},
		{"a parameter behind something", p, "local example GET /v1/tasks/7;x", "tasks"},
		{"** is all the rest", p, "local example PUT /files/a/b/c/", "files"},
		{"** is also nothing", p, "local example PUT /files", "files"},
		{"** begins at a segment", p, "local example PUT /filesystem", ""},
		{"an encoded space", p, "local example PUT /a%20b", "files"},
		{"a plus is no space", p, "local example PUT /a+b", ""},
		{"%2A is the character", p, "local example PUT /star/*", "files"},
		{"%2A is no wildcard", p, "local example PUT /star/x", ""},
		{"an operation's path", p, "local transfer POST /v0.10/transfer", "submitting"},
		{"an operation's other access", p, "local transfer GET /v0.10/submission_id", "submitting"},
		{"accesses do not mix", p, "local transfer GET /v0.10/transfer", ""},
		{"operations and paths together: the operation", p, "cron transfer POST /v0.10/task/7/cancel", "both"},
		{"operations and paths together: the path", p, "cron transfer GET /v0.10/task/7", "both"},
		{"operations and paths together: nothing else", p, "cron transfer POST /v0.10/task/7", ""},
		{"an escape that is none", all, "local example GET /%zz", ""},
		{"an escape that ends early", all, "local example GET /a%2", ""},
		{"no path", all, "local example GET ", ""},
		{"a path without its slash", all, "local example GET v1", ""},
		{"an asterisk for a path", all, "local example OPTIONS *", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.policy.Decide(request(tt.request))
			if got.Allowed != (tt.rule != "") || got.Rule != tt.rule || got.Never {
				t.Errorf("Decide(%q) = %+v, want rule %q", tt.request, got, tt.rule)
			}
		})
	}
}

func TestPolicy_FirstRuleThatMatchesDecidesAndChoosesTheCredential(t *testing.T) {
	special, general := byHand("special", "GET", "/v1/data/*"), byHand("general", "GET", "/v1/**")
	special.Credential = "narrow"
	elsewhere := special // but not all of it
	elsewhere.Paths = []string{"/v1/data/*", "/v2/*"}
	for _, tt := range []struct {
		name  string
		rules []RuleConfig
		path  string
		want  Decision
	}{
		{"the special one is first", []RuleConfig{special, general}, "/v1/data/x", Decision{Allowed: true, Rule: "special", Credential: "narrow"}},
		{"the special one does not match", []RuleConfig{special, general}, "/v1/x", Decision{Allowed: true, Rule: "general"}},
		{"the special one is second", []RuleConfig{general, elsewhere}, "/v1/data/x", Decision{Allowed: true, Rule: "general"}},
		{"none matches", []RuleConfig{special, general}, "/v2", Decision{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := newPolicy(t, tt.rules...).Decide(ask(Local, "example", "GET", tt.path)); got != tt.want {
				t.Errorf("Decide() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestPolicy_NoRuleAllowsWhatIsNeverForwarded(t *testing.T) {
	rule := RuleConfig{
		Name: "all", Callers: []string{Local, "cron"}, Upstreams: []string{"transfer", "example"}, Methods: methods,
		Paths: []string{"/**", "/v2/oauth2/token", "/v2/oauth2/token/introspect", "/V2/OAUTH2/TOKEN", "/p"},
	}
	p := newPolicy(t, rule)
	for path, never := range map[string]bool{
		"/v2/oauth2/token":                              true,
		"/v2/oauth2/token/":                             true,
		"/v2/oauth2/token/introspect":                   true,
		"/v2/oauth2/token/revoke/and/below":             true,
		"/V2/OAuth2/TOKEN":                              true,
		"/v2/oauth2/%74oken":                            true,
		"/%76%32/oauth2/token":                          true,
		"/v2/oauth2/%54OKEN/introspect":                 true,
		"/v2/oauth2/to\u212aen":                         true, // the Kelvin sign is a k of another case
		"/v2/api/clients/one/credentials":               true,
		"/v2/api/clients//credentials":                  true,
		"/v2/api/clients/%2A/CREDENTIALS/x":             true,
		"/v2/api/clients/one%2Ftwo/credentials":         true,
		"/p":                                            true,
		"/P/whoami":                                     true,
		"/v2/oauth2":                                    false,
		"/v2/oauth2/tokens":                             false,
		"/v2/oauth2/userinfo":                           false,
		"/v2/api/clients/one/two/credentials":           false,
		"/v2/api/clients/one":                           false,
		"/v0.10/v2/oauth2/token":                        false,
		"/public":                                       false,
		"/" + strings.Repeat("a/", 50) + "oauth2/token": false,
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT"} {
			want := Decision{Allowed: true, Rule: "all"}
			if never {
				want = Decision{Never: true}
			}
			if got := p.Decide(ask("cron", "transfer", method, path)); got != want {
				t.Errorf("Decide(%s %s) = %+v, want %+v", method, path, got, want)
			}
			if got := p.Decide(ask(Local, "example", method, path)); !got.Allowed {
				t.Errorf("Decide(%s %s) at another upstream = %+v, want it allowed", method, path, got)
			}
		}
	}
	if got := newPolicy(t).Decide(request("stranger transfer GET /p")); got != (Decision{Never: true}) {
		t.Errorf("without any rule: %+v, want it to say never", got)
	}
}

func TestPolicy_NeverOfEverythingIsEverything(t *testing.T) {
	var mistakes noted
	rule := byHand("all", "GET", "/**")
	p := New(Config{Rules: []RuleConfig{rule}}, map[string]Upstream{"example": {Never: patterns("/**")}}, &mistakes)
	wantLines(t, mistakes.lines, "rules[0]: can never match: its paths hand out or take away credentials and are never forwarded")
	for _, path := range []string{"/", "/a", "/a/b", "/a//b", "/%61", "/a;b"} {
		if got := p.Decide(ask(Local, "example", "GET", path)); !got.Never || got.Allowed {
			t.Errorf("Decide(%s) = %+v, want never", path, got)
		}
	}
}

// A rule that denies takes for its * also what some server reads as no segment or as
// several, and a rule that allows never does, whatever other rules spell out.
func TestPolicy_OddSegmentsAreDeniedAndNotAllowed(t *testing.T) {
	deny := byHand("no", "GET", "/secret/*", "/v1/*/keys/**")
	deny.Deny = true
	star, spelt := byHand("star", "GET", "/x/*"), byHand("spelt", "GET", "/y/a%2Fb")
	p := newPolicy(t, deny, star, spelt, byHand("all", "GET", "/secret/**", "/v1/**"))
	for path, want := range map[string]string{
		"/secret/a": "no", "/secret/;x": "no", "/secret/a%2Fb": "no", "/secret/a%252Fb": "no", "/secret/a%5Cb": "no", "/secret/%20": "no", "/secret/...": "no",
		"/v1/;a/keys/1": "no", "/v1/%20/keys/1": "no", "/v1/a": "all",
		"/x/a": "star", "/x/a%2Fb": "", "/x/a%2Fc": "", "/x/;x": "", "/y/a%2Fb": "spelt",
	} {
		if got := p.Decide(request("local example GET " + path)); got.Rule != want {
			t.Errorf("Decide(%s) = %+v, want rule %q", path, got, want)
		}
	}
}
