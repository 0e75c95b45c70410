package daemon

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"bearerd/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// withPreset is a configuration of one upstream with a preset.
func withPreset(name, more string) string {
	return "proxy: {upstreams: {x: {preset: " + name + more + "}}}\n" +
		"credentials: {clients: {globus: {preset: globus, client_id: me, client_secret: env:BEARERD_TEST_SECRET}}}\n" +
		"policy: {rules: [{name: read, callers: [local], upstreams: [x], allow: [read]}]}\n"
}

const someID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"

// TestPresets_AreGlobussServices holds every preset to what Globus's SDKs know.
func TestPresets_AreGlobussServices(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	own := ", url: https://g-1.data.example.org"
	for _, tt := range []struct{ name, more, url, resourceServer, scope string }{
		{"auth", "", "https://auth.globus.org", "auth.globus.org", "openid"},
		{"transfer", "", "https://transfer.api.globus.org", "transfer.api.globus.org", "urn:globus:auth:scope:transfer.api.globus.org:all"},
		{"groups", "", "https://groups.api.globus.org", "groups.api.globus.org", "urn:globus:auth:scope:groups.api.globus.org:view_my_groups_and_memberships"},
		{"search", "", "https://search.api.globus.org", "search.api.globus.org", "urn:globus:auth:scope:search.api.globus.org:search"},
		{"flows", "", "https://flows.automate.globus.org", "flows.globus.org", "https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/all"},
		{"timers", "", "https://timer.automate.globus.org", "524230d7-ea86-4a52-8312-86065a9e0417", "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer"},
		{"compute", "", "https://compute.api.globus.org", "funcx_service", "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"},
		{"nexus", "", "https://nexus.api.globusonline.org", "nexus.api.globus.org", "urn:globus:auth:scope:nexus.api.globus.org:groups"},
		{"collection", own + ", collection: " + someID, "https://g-1.data.example.org", someID, "https://auth.globus.org/scopes/" + someID + "/https"},
		{"gcs", own + "/api/, endpoint: " + someID, "https://g-1.data.example.org/api/", someID, "urn:globus:auth:scope:" + someID + ":manage_collections"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parse("config.yaml", []byte(withPreset(tt.name, tt.more)), Overrides{})
			if err != nil {
				t.Fatal(err)
			}
			upstream, token, client := cfg.Proxy.Upstreams["x"], cfg.Credentials.Tokens["x"], cfg.Credentials.Clients["globus"]
			if upstream.URL != tt.url || token.ResourceServer != tt.resourceServer || token.Scopes[0] != tt.scope || token.Client != "globus" {
				t.Errorf("url %s, token %+v", upstream.URL, token)
			}
			if wantPath := map[bool]string{true: "files", false: "strict"}[tt.name == "collection"]; upstream.Path != wantPath {
				t.Errorf("path is %s, want %s", upstream.Path, wantPath)
			}
			if client.TokenURL != "https://auth.globus.org/v2/oauth2/token" || client.Auth != "globus_basic" {
				t.Errorf("client %s %s", client.TokenURL, client.Auth)
			}
		})
	}
}

func TestPresets_DataAccessIsAskedForInsideTheScope(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	const otherID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	one, other := "*https://auth.globus.org/scopes/"+someID+"/data_access", "*https://auth.globus.org/scopes/"+otherID+"/data_access"
	timer := "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer"
	for _, tt := range []struct{ name, preset, more, scope, fallback string }{
		{"one", "transfer", ", data_access: [" + someID + "]", transferScope + "[" + one + "]", transferScope},
		{"two, in any case", "transfer", ", data_access: [" + strings.ToUpper(someID) + ", " + otherID + "]", transferScope + "[" + one + " " + other + "]", transferScope},
		{"of Timers", "timers", ", data_access: [" + someID + "]", timer + "[" + transferScope + "[" + one + "]]", timer},
		{"none", "timers", ", data_access: []", timer, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parse("config.yaml", []byte(withPreset(tt.preset, tt.more)), Overrides{})
			if err != nil {
				t.Fatal(err)
			}
			token := cfg.Credentials.Tokens["x"]
			if len(token.Scopes) != 1 || token.Scopes[0] != tt.scope || strings.Join(token.Fallback, " ") != tt.fallback {
				t.Errorf("asked for %q, or else %q", token.Scopes, token.Fallback)
			}
		})
	}
}

func TestPresets_EachFlowHasACredentialOfItsOwn(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	const otherID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	scope := "https://auth.globus.org/scopes/" + someID + "/flow_3f2504e0_4f89_41d3_9a0c_0305e82c3301_user"
	run, validate := "POST /flows/"+someID+"/run x."+someID, "POST /flows/"+someID+"/validate_run x."+someID
	for _, tt := range []struct {
		name, flows string
		want        []string
	}{
		{"one", strings.ToUpper(someID), []string{run, validate, "POST /runs/*/resume x." + someID}},
		{"two", someID + ", " + otherID, []string{run, validate, strings.ReplaceAll(run, someID, otherID), strings.ReplaceAll(validate, someID, otherID)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parse("config.yaml", []byte(withPreset("flows", ", flows: ["+tt.flows+"]")), Overrides{})
			if err != nil {
				t.Fatal(err)
			}
			if token := cfg.Credentials.Tokens["x."+someID]; token.ResourceServer != someID || len(token.Scopes) != 1 || token.Scopes[0] != scope || token.Client != "globus" {
				t.Errorf("the flow's token is %+v", token)
			}
			var got []string
			for _, route := range cfg.Proxy.Upstreams["x"].Routes {
				got = append(got, route.Method+" "+route.Path+" "+route.Credential)
				if cfg.bindings[route.Credential] != "x" {
					t.Errorf("%s is bound to %q", route.Credential, cfg.bindings[route.Credential])
				}
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			users, err := cfg.credentialUsers(nil)
			if err != nil || users["x."+someID] == nil || users["x"] == nil {
				t.Errorf("bearerd token knows %v (%v)", users, err)
			}
		})
	}
}

func TestPresets_ConsentIsAutomaticUnlessOff(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	for more, want := range map[string]string{"": "auto", ", consent: auto": "auto", ", consent: off": "off"} {
		cfg, err := parse("config.yaml", []byte(withPreset("transfer", more)), Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Proxy.Upstreams["x"].Consent; got != want {
			t.Errorf("with %q it is %s, want %s", more, got, want)
		}
	}
}

// TestPresets_PatternsParse because one that does not would be left out, which
// for a never list would be a hole.
func TestPresets_PatternsParse(t *testing.T) {
	for name, p := range presets {
		texts := p.never
		for _, op := range p.operations {
			for _, a := range op.access {
				texts = append(texts, a.paths...)
			}
		}
		for _, text := range texts {
			if _, err := policy.ParsePattern(text); err != nil {
				t.Errorf("%s: %q %v", name, text, err)
			}
		}
		if known := p.policy(); len(patterns(p.never)) != len(p.never) || len(known.Operations) != len(p.operations) {
			t.Errorf("%s: %d of %d never, %d of %d operations", name, len(patterns(p.never)), len(p.never), len(known.Operations), len(p.operations))
		}
	}
}

func TestPresets_OperationsAllowWhatTheyName(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	for _, tt := range []struct {
		preset, operation, method, path string
		want                            bool
	}{
		{"transfer", "read", "GET", "/v0.10/task_list", true},
		{"transfer", "read", "HEAD", "/v0.10/task_list", true},
		{"transfer", "read", "POST", "/v0.10/transfer", false},
		{"transfer", "read", "DELETE", "/v0.10/endpoint/x", false},
		{"transfer", "submit", "GET", "/v0.10/submission_id", true},
		{"transfer", "submit", "POST", "/v0.10/transfer", true},
		{"transfer", "submit", "POST", "/v0.10/transfer/", false},
		{"transfer", "submit", "POST", "/v0.10/delete", false},
		{"transfer", "submit", "GET", "/v0.10/task_list", false},
		{"transfer", "delete", "POST", "/v0.10/delete", true},
		{"transfer", "delete", "POST", "/v0.10/transfer", false},
		{"transfer", "cancel", "POST", "/v0.10/task/x/cancel", true},
		{"transfer", "cancel", "POST", "/v0.10/task/cancel", false},
		{"transfer", "acl", "PUT", "/v0.10/endpoint/x/access/y", true},
		{"transfer", "manage", "POST", "/v0.10/operation/endpoint/x/mkdir", true},
		{"transfer", "manage", "PUT", "/v0.10/endpoint/x/access/y", false},
		{"search", "read", "POST", "/v1/index/x/search", true},
		{"search", "read", "POST", "/v1/index/x/ingest", false},
		{"flows", "run", "POST", "/flows/x/run", true},
		{"flows", "read", "POST", "/flows/x/run", false},
		{"timers", "create", "POST", "/jobs/", true},
		{"timers", "create", "POST", "/v2/timer", true},
		{"auth", "read", "GET", "/v2/oauth2/userinfo", true},
		{"auth", "read", "GET", "/v2/oauth2/token", false},
		{"auth", "read", "GET", "/V2/OAuth2/Token/introspect", false},
		{"auth", "read", "GET", "/v2/api/clients/x/credentials", false},
		{"auth", "read", "GET", "/v2/api/clients/x/credentials/y", false},
		{"auth", "read", "GET", "/v2/api/clients/x", true},
		{"auth", "read", "GET", "/v2/oauth2/%61uthorize", false},
	} {
		text := strings.Replace(withPreset(tt.preset, ""), "allow: [read]", "allow: ["+tt.operation+"]", 1)
		cfg, err := parse("config.yaml", []byte(text), Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		asked := policy.Request{Caller: policy.Local, Upstream: "x", Method: tt.method, Path: tt.path}
		if got := cfg.policy.Decide(asked).Allowed; got != tt.want {
			t.Errorf("%s, allow %s: %s %s allowed %v, want %v", tt.preset, tt.operation, tt.method, tt.path, got, tt.want)
		}
	}
}

// No rule can allow what is on a preset's never list, not even one by hand.
func TestPresets_NeverBeatsRulesByHand(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	text := strings.Replace(withPreset("auth", ""), "allow: [read]", "methods: [GET, POST], paths: [/**, /v2/oauth2/token]", 1)
	cfg, err := parse("config.yaml", []byte(text), Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v2/oauth2/token", "/v2/oauth2/token/", "/v2/oauth2/token/revoke", "/v2/oauth2/%54oken", "/v2/oauth2/authorize"} {
		decision := cfg.policy.Decide(policy.Request{Caller: policy.Local, Upstream: "x", Method: "POST", Path: path})
		if decision.Allowed || !decision.Never {
			t.Errorf("%s: %+v, want never", path, decision)
		}
	}
}

func TestClosest(t *testing.T) {
	known := []string{"transfer", "auth", "url", "preset"}
	for name, want := range map[string]string{
		"trasnfer": "transfer", "Transfer": "transfer", "auht": "auth", "ulr": "url", "prest": "preset", "presets": "preset",
		"timer": "", "x": "", "": "", "transferring": "transfer",
	} {
		if got := closest(name, known); got != want {
			t.Errorf("closest(%q) = %q, want %q", name, got, want)
		}
	}
}

// goWords are what only the program's author could understand.
var goWords = regexp.MustCompile(`[A-Z][a-z]+Config|time\.|map\[|\[\]|struct ?\{|!!|yaml:|interface|%!`)

// FuzzLoad_NeverPanicsAndSpeaksPlainly feeds the loader what is no configuration.
func FuzzLoad_NeverPanicsAndSpeaksPlainly(f *testing.F) {
	shipped, err := os.ReadFile("../../config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(shipped))
	for _, text := range []string{
		"", "proxy:", "proxy: {upstreams: }", "proxy: {upstreams: {x: }}", "policy: {rules: [~]}", "policy: {rules: [1, {}, []]}",
		"credentials: {clients: {x: }, tokens: {y: }}", "a: &a [*a]", "proxy: &p {upstreams: *p}", "<<: {proxy: {}}", "proxy: {<<: {drain: {delay: 1s}}}",
		"1: 2", "? [a]\n: b", "- a", "proxy: !!binary x", "proxy: !x y", "\ufeffproxy: {}", "proxy:\r\n  upstreams: {}\r\n", "--- \n...\n---\n", "log: {access: ~}",
		"proxy: {listeners: [{address: 1}, {address: }]}", "proxy: {upstreams: {1: {url: 2}}}", withPreset("collection", ""), withPreset("transfer", ", url: http://[::1"),
		withPreset("flows", ", flows: [x, ~, \"a b]\"]"), withPreset("timers", ", data_access: [\"]\", []]"), "proxy: {upstreams: {x: {flows: [a], data_access: [b], consent: c}}}",
		"credentials: {clients: {globus: {client_secret: {a: b}, client_id: [c]}}}", "proxy: {proxy_url: [a]}", "credentials: {margin: 1e99s}", "<<: {{}}", "{{}: 1}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file:") { // it would be read
			return
		}
		_, err := parse("config.yaml", []byte(text), Overrides{})
		var mistakes Mistakes
		if err != nil && !errors.As(err, &mistakes) {
			t.Fatalf("not a Mistakes: %v", err)
		}
		for _, line := range mistakes {
			if !strings.HasPrefix(line, "config.yaml:") || strings.Contains(line, "\n") {
				t.Errorf("a mistake without a place, or on two lines: %q", line)
			}
			said := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(strings.TrimPrefix(line, "config.yaml:"), "") // without what it quotes
			if goWords.MatchString(said) && !goWords.MatchString(text) {
				t.Errorf("a mistake in Go's words: %q", line)
			}
		}
	})
}

// TestPresets_NeverHoldsHoweverThePathIsReached: the list is about the place, not
// the name or the spelling it is reached by.
func TestPresets_NeverHoldsHoweverThePathIsReached(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	const rest = "credentials: {clients: {globus: {preset: globus, client_id: me, client_secret: env:BEARERD_TEST_SECRET}}}\n" +
		"policy: {rules: [{name: all, callers: [local], upstreams: [x], methods: [POST], paths: [/**]}]}\n"
	for _, tt := range []struct{ upstreams, path string }{
		{"x: {preset: auth, url: https://auth.globus.org/v2/}", "/oauth2/token"},
		{"x: {preset: auth, url: https://auth.example.org/v2/}", "/oauth2/token"},
		{"auth: {preset: auth}, x: {url: https://auth.globus.org, credential: auth}", "/v2/oauth2/token"},
		{"x: {url: https://auth.globus.org, credential: none}", "/v2/oauth2/token"},
		{"x: {preset: auth, path: files}", "/v2/oauth2%2Ftoken"},
		{"x: {preset: auth, path: files}", "/v2/oauth2/%2574oken"},
		{"x: {preset: auth, path: files}", "/v2%5Coauth2%5Ctoken"},
		{"x: {preset: auth}", "/v2/oauth2/token;x=1"},
		{"x: {preset: auth}", "/v2;/oauth2/token"},
		{"x: {preset: auth}", "/v2/oauth2/token%20"},
		{"x: {preset: auth}", "/v2/oauth2/token."},
	} {
		cfg, err := parse("config.yaml", []byte("proxy: {upstreams: {"+tt.upstreams+"}}\n"+rest), Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		if decision := cfg.policy.Decide(policy.Request{Caller: policy.Local, Upstream: "x", Method: "POST", Path: tt.path}); !decision.Never {
			t.Errorf("%s: POST %s decided %+v, want never", tt.upstreams, tt.path, decision)
		}
	}
}

func TestPresets_OfThePreviewAreWhereTheSDKHasThem(t *testing.T) {
	for preset, want := range map[string]string{
		"auth": "https://auth.preview.globus.org", "transfer": "https://transfer.api.preview.globus.org",
		"groups": "https://groups.api.preview.globus.org", "search": "https://search.api.preview.globus.org",
		"flows": "https://preview.flows.automate.globus.org", "timers": "https://preview.timer.automate.globus.org",
		"compute": "https://compute.api.preview.globus.org", "nexus": "https://nexus.api.preview.globus.org",
	} {
		if got := previewURL(presets[preset].url); got != want {
			t.Errorf("%s is at %s, want %s", preset, got, want)
		}
	}
}

// TestLoad_ANullIsAValueWhereAnyMayStand, and nothing said where it is not written.
func TestLoad_ANullIsAValueWhereAnyMayStand(t *testing.T) {
	t.Setenv("BEARERD_TEST_SECRET", "c2VjcmV0=")
	for _, tt := range []struct{ list, want string }{
		{"[false, null]", ""},
		{"[false, ~]", "an empty item"},
		{"[null, \"\"]", ""},
	} {
		rule := "{name: submit, callers: [local], upstreams: [x], methods: [POST], paths: [/a], body: {/x: {absent_or: " + tt.list + "}}}"
		config := strings.Replace(withPreset("transfer", ""), "rules: [", "rules: ["+rule+", ", 1)
		_, err := parse("config.yaml", []byte(config), Overrides{})
		if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && !strings.Contains(got, tt.want) {
			t.Errorf("absent_or: %s: %v, want %q", tt.list, err, tt.want)
		}
	}
}
