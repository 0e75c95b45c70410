package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"bearerd/policy"
	"bearerd/proxy"
	"bearerd/test/emulator"
)

const (
	shimPath     = "/auth/v2/oauth2/token"
	formType     = "application/x-www-form-urlencoded"
	flowsScope   = "https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/all"
	callerKey    = "the/key+of=cron"
	foreignID    = "11111111-2222-3333-4444-555555555555"
	transferName = "transfer.api.globus.org"
)

// shimmed is the emulator's settings with a token shim and the preset's never list.
func shimmed(t *testing.T, g globus) settings {
	t.Helper()
	s := g.settings(t)
	on := true
	auth := s.upstreams["auth"]
	auth.TokenShim = &on
	s.upstreams["auth"] = auth
	never, err := policy.ParsePattern("/v2/oauth2/token")
	if err != nil {
		t.Fatal(err)
	}
	s.known = map[string]policy.Upstream{"auth": {Never: []policy.Pattern{never}}, "transfer": {}}
	s.scopes = map[string]string{"openid": "auth.globus.org", "profile": "auth.globus.org", "email": "auth.globus.org", flowsScope: "flows.globus.org"}
	return s
}

// cron is a caller that is known by its key, with a rule.
func (s *settings) cron() {
	s.callers = []policy.CallerConfig{{Name: "cron", Key: "file:keys", Keys: []policy.KeyHash{policy.HashKey(callerKey)}}}
	rule := s.rules[0]
	rule.Name, rule.Callers = "cron", []string{"cron"}
	s.rules = append(s.rules, rule)
}

type granted struct {
	AccessToken    string     `json:"access_token"`
	Scope          string     `json:"scope"`
	ExpiresIn      int64      `json:"expires_in"`
	TokenType      string     `json:"token_type"`
	ResourceServer string     `json:"resource_server"`
	IDToken        *string    `json:"id_token"`
	RefreshToken   *string    `json:"refresh_token"`
	OtherTokens    *[]granted `json:"other_tokens"`
}

// ask makes a token request and reads its answer.
func (r *rig) ask(scope string, header ...string) granted {
	r.t.Helper()
	got := r.form(shimPath, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}, header...)
	var answer granted
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || got.status != 200 || got.header.Get("Cache-Control") != "no-store" {
		r.t.Fatalf("answered %d %s: %v", got.status, got.body, err)
	}
	return answer
}

func (r *rig) form(path string, form url.Values, header ...string) answer {
	r.t.Helper()
	if !slices.Contains(header, "Authorization") {
		header = append(header, "Authorization", "Basic eDp5")
	}
	return r.do("POST", path, form.Encode(), append(header, "Content-Type", formType)...)
}

func TestShim_AnswersWithAPlaceholderForEachResourceServer(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	r := newRig(t, shimmed(t, g))
	const collection = "https://auth.globus.org/scopes/5fac2e64-c734-4e6b-90ea-ff12ddbf9653/https"
	one := r.ask(emulator.TransferScope + "[*https://auth.globus.org/scopes/5fac2e64-c734-4e6b-90ea-ff12ddbf9653/data_access]")
	if one.AccessToken != "bearerd-placeholder.transfer.api.globus.org" || one.Scope != emulator.TransferScope || one.ExpiresIn != 172800 ||
		one.TokenType != "Bearer" || one.ResourceServer != transferName || one.OtherTokens == nil || len(*one.OtherTokens) != 0 {
		t.Errorf("got %+v", one)
	}
	if again := r.ask(emulator.TransferScope); again.AccessToken != one.AccessToken {
		t.Errorf("got %q and then %q, want a constant", one.AccessToken, again.AccessToken)
	}
	all := r.ask("openid " + emulator.TransferScope + " email " + flowsScope + " " + collection)
	var found []string
	for _, token := range append([]granted{all}, *all.OtherTokens...) {
		found = append(found, token.ResourceServer+": "+token.Scope)
		if token.AccessToken != "bearerd-placeholder."+token.ResourceServer || token.IDToken != nil || token.RefreshToken != nil || token.TokenType != "Bearer" {
			t.Errorf("got %+v", token)
		}
	}
	want := []string{"auth.globus.org: openid email", transferName + ": " + emulator.TransferScope, "flows.globus.org: " + flowsScope, "5fac2e64-c734-4e6b-90ea-ff12ddbf9653: " + collection}
	if !slices.Equal(found, want) {
		t.Errorf("got %q, want %q", found, want)
	}
	if n := len(g.Records()); n != 0 {
		t.Errorf("Globus received %d requests, want none", n)
	}
	for _, x := range r.seen() {
		if x.Decision != "allow" || x.Status != 200 || x.Sent() != 0 || x.Attempts != 0 || x.Warning == "" {
			t.Errorf("the Exchange says %+v", x)
		}
	}
}

func TestShim_GivesTheLifetimeOfTheRealToken(t *testing.T) {
	g := newGlobus(t, emulator.Config{Lifetime: 3600e9})
	r := newRig(t, shimmed(t, g))
	if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 200 {
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	if got := r.ask(emulator.TransferScope).ExpiresIn; got > 3600 || got < 3500 {
		t.Errorf("expires_in is %d, want that of the token held, 3600", got)
	}
	if got := r.ask("openid").ExpiresIn; got != 172800 {
		t.Errorf("expires_in is %d where no token is held, want Globus's 172800", got)
	}
}

func TestShim_LeavesTheRestOfItsPathsOnTheNeverList(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	r := newRig(t, shimmed(t, g))
	grant := url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}
	for name, got := range map[string]answer{
		"GET":                     r.do("GET", shimPath, ""),
		"PUT":                     r.do("PUT", shimPath, grant.Encode(), "Content-Type", formType),
		"dependent tokens":        r.form(shimPath, url.Values{"grant_type": {"urn:globus:auth:grant_type:dependent_token"}, "token": {"x"}}),
		"refresh":                 r.form(shimPath, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}),
		"a code":                  r.form(shimPath, url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}),
		"no grant_type":           r.form(shimPath, url.Values{"scope": {"openid"}}),
		"a slash behind it":       r.form(shimPath+"/", grant),
		"another spelling":        r.form("/auth/v2/oauth2/%74oken", grant),
		"upper case":              r.form("/auth/v2/oauth2/TOKEN", grant),
		"something below":         r.form(shimPath+"/other", grant),
		"introspect a real token": r.form(shimPath+"/introspect", url.Values{"token": {"AgReal"}}),
		"revoke a real token":     r.form(shimPath+"/revoke", url.Values{"token": {"AgReal"}}),
		"validate no token":       r.form(shimPath+"/validate", url.Values{"client_id": {"x"}}),
	} {
		if got.status != 403 || got.code() != "denied" || !strings.Contains(got.body, "never forwarded") {
			t.Errorf("%s: answered %d %s %q, want the never list's 403", name, got.status, got.code(), got.body)
		}
	}
	if n := len(g.Records()); n != 0 {
		t.Errorf("Globus received %d requests, want none", n)
	}
}

func TestShim_RefusesWhatIsNoTokenRequest(t *testing.T) {
	r := newRig(t, shimmed(t, newGlobus(t, emulator.Config{})))
	grant := "grant_type=client_credentials&scope="
	for _, tt := range []struct{ name, kind, body, oauth string }{
		{"no form", "application/json", `{"grant_type":"client_credentials"}`, "invalid_request"},
		{"no type", "", grant + "openid", "invalid_request"},
		{"no body", formType, "", "invalid_request"},
		{"a parameter twice", formType, grant + "openid&scope=email", "invalid_request"},
		{"an escape that is none", formType, grant + "%zz", "invalid_request"},
		{"too long", formType, grant + strings.Repeat("a", 70<<10), "invalid_request"},
		{"no scope", formType, "grant_type=client_credentials", "invalid_scope"},
		{"an empty scope", formType, grant + "+", "invalid_scope"},
		{"a scope of nobody", formType, grant + "openid+read", "invalid_scope"},
		{"brackets that do not close", formType, grant + "openid%5Ba", "invalid_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := r.do("POST", shimPath, tt.body, "Content-Type", tt.kind)
			var problem struct{ Error, Code, Message string }
			if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.status != 400 {
				t.Fatalf("answered %d %q: %v", got.status, got.body, err)
			}
			if problem.Error != tt.oauth || problem.Code != "token_request_invalid" || got.code() != problem.Code || problem.Message == "" {
				t.Errorf("answered %+v with Bearerd-Error %s, want %s", problem, got.code(), tt.oauth)
			}
		})
	}
}

func TestShim_ServesOnlyCallersThatSomeRuleNames(t *testing.T) {
	s := shimmed(t, newGlobus(t, emulator.Config{}))
	s.cron()
	s.rules = s.rules[1:] // cron's alone
	r := newRig(t, s)
	got := r.form(shimPath, url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}})
	if got.status != 403 || got.code() != "denied" || !strings.Contains(got.body, "caller local") {
		t.Errorf("local was answered %d %s, want 403", got.status, got.body)
	}
	if x := r.seen()[0]; x.Decision != "deny" {
		t.Errorf("the decision is %q", x.Decision)
	}
}

func TestShim_IsOffUnlessTheUpstreamHasIt(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	s := shimmed(t, g)
	off := false
	auth := s.upstreams["auth"]
	auth.TokenShim = &off
	s.upstreams["auth"] = auth
	r := newRig(t, s)
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}
	for _, path := range []string{shimPath, shimPath + "/introspect"} {
		if got := r.form(path, form); got.status != 403 {
			t.Errorf("%s: answered %d %s, want 403", path, got.status, got.body)
		}
	}
	if got := r.form("/transfer/v2/oauth2/token", form); got.status != 404 {
		t.Errorf("another upstream's path of that name answered %d, want what the upstream says", got.status)
	}
}

func TestShim_AnswersForItsOwnPlaceholders(t *testing.T) {
	r := newRig(t, shimmed(t, newGlobus(t, emulator.Config{})))
	token := url.Values{"token": {r.ask(emulator.TransferScope).AccessToken}}
	var about map[string]any
	if got := r.form(shimPath+"/introspect", token); json.Unmarshal([]byte(got.body), &about) != nil || got.status != 200 {
		t.Fatalf("introspect answered %d %s", got.status, got.body)
	}
	for name, want := range map[string]any{
		"active": true, "scope": emulator.TransferScope, "client_id": emulator.DemoClientID, "sub": emulator.DemoClientID,
		"username": emulator.DemoClientID + "@clients.auth.globus.org", "token_type": "Bearer",
	} {
		if about[name] != want {
			t.Errorf("introspect says %s is %v, want %v", name, about[name], want)
		}
	}
	if got := r.form(shimPath+"/validate", token); got.status != 200 || strings.TrimSpace(got.body) != `{"active":true}` {
		t.Errorf("validate answered %d %s", got.status, got.body)
	}
	if got := r.form(shimPath+"/revoke", token); got.status != 200 || strings.TrimSpace(got.body) != `{"active":false}` {
		t.Errorf("revoke answered %d %s", got.status, got.body)
	}
}

func TestShim_WarnsOfAnotherClientsID(t *testing.T) {
	r := newRig(t, shimmed(t, newGlobus(t, emulator.Config{})))
	basic := func(id string) []string {
		return []string{"Authorization", "Basic " + basicOf(id, "any")}
	}
	const grant = "grant_type=client_credentials&scope=openid"
	for _, tt := range []struct {
		name, form string
		header     []string
		warning    string
	}{
		{"ours", grant, basic(emulator.DemoClientID), ""},
		{"ours in upper case", grant, basic(strings.ToUpper(emulator.DemoClientID)), ""},
		{"ours in the form", grant + "&client_id=" + emulator.DemoClientID, nil, ""},
		{"none", grant, nil, ""},
		{"another", grant, basic(foreignID), "a tool asked for a token as client " + foreignID + "; it will act as client " + emulator.DemoClientID + ", which is bearerd's"},
		{"another in the form", grant + "&client_id=" + foreignID, nil, "as client " + foreignID + ";"},
		{"what may be a secret", grant, basic(emulator.DemoClientSecret), "as client of another form than Globus's;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := r.do("POST", shimPath, tt.form, append([]string{"Content-Type", formType}, tt.header...)...)
			if got.status != 200 {
				t.Fatalf("answered %d %s, want that it is served", got.status, got.body)
			}
			warning := r.seen()[0].Warning
			if (warning == "") != (tt.warning == "") || !strings.Contains(warning, tt.warning) || strings.Contains(warning, emulator.DemoClientSecret) {
				t.Errorf("the warning is %q, want %q", warning, tt.warning)
			}
		})
	}
}

func TestShim_TheClientSecretIsTheCallersKey(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	s := shimmed(t, g)
	s.cron()
	s.rules = s.rules[1:] // so that local may do nothing
	r := newRig(t, s)
	made := r.ask(emulator.TransferScope, "Authorization", "Basic "+basicOf(foreignID, callerKey))
	if !strings.HasPrefix(made.AccessToken, "bearerd-placeholder.transfer.api.globus.org~cron~") || strings.Contains(made.AccessToken, callerKey) {
		t.Fatalf("got %q", made.AccessToken)
	}
	if again := r.ask(emulator.TransferScope, "Authorization", "Basic "+basicOf(foreignID, callerKey)); again.AccessToken != made.AccessToken {
		t.Error("the placeholder is not constant")
	}
	if again := r.ask(emulator.TransferScope, "Authorization", "Bearer "+made.AccessToken); again.AccessToken != made.AccessToken {
		t.Error("a placeholder does not get another")
	}
	r.seen()
	const list = "/transfer/v0.10/task_list"
	for _, tt := range []struct {
		name   string
		header []string
		status int
		caller string
	}{
		{"the placeholder", []string{"Authorization", "Bearer " + made.AccessToken}, 200, "cron"},
		{"the scheme in another case", []string{"Authorization", "bearer " + made.AccessToken}, 200, "cron"},
		{"the key as bearer", []string{"Authorization", "Bearer " + callerKey}, 200, "cron"},
		{"the key as password", []string{"Authorization", "Basic " + basicOf("x", callerKey)}, 200, "cron"},
		{"the key form-encoded", []string{"Authorization", "Basic " + basicOf("x", url.QueryEscape(callerKey))}, 200, "cron"},
		{"the key form-encoded as bearer", []string{"Authorization", "Bearer " + url.QueryEscape(callerKey)}, 403, "local"},
		{"the key in its own header", []string{"X-Api-Key", callerKey}, 200, "cron"},
		{"the key beside a stale token", []string{"X-Api-Key", callerKey, "Authorization", "Bearer stale"}, 200, "cron"},
		{"nothing", nil, 403, "local"},
		{"a stale token", []string{"Authorization", "Bearer stale"}, 403, "local"},
		{"a wrong password", []string{"Authorization", "Basic eDp5"}, 403, "local"},
		{"an empty password", []string{"Authorization", "Basic " + basicOf("x", "")}, 403, "local"},
		{"a placeholder of nobody", []string{"Authorization", "Bearer bearerd-placeholder.transfer.api.globus.org"}, 403, "local"},
		{"a forged placeholder", []string{"Authorization", "Bearer " + made.AccessToken[:len(made.AccessToken)-4] + "AAAA"}, 401, ""},
		{"a placeholder as password", []string{"Authorization", "Basic " + basicOf("x", made.AccessToken)}, 403, "local"},
		{"a wrong key", []string{"X-Api-Key", "wrong"}, 401, ""},
		{"an empty key", []string{"X-Api-Key", ""}, 401, ""},
		{"a key twice", []string{"X-Api-Key", callerKey, "X-Api-Key", callerKey}, 401, ""},
		{"a good key beside a forged placeholder", []string{"X-Api-Key", callerKey, "Authorization", "Bearer bearerd-placeholder.a~cron~x"}, 401, ""},
		{"two Authorizations", []string{"Authorization", "Bearer " + callerKey, "Authorization", "Bearer " + callerKey}, 401, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.Reset()
			got := r.do("GET", list, "", tt.header...)
			x := r.seen()[0]
			if got.status != tt.status || x.Caller != tt.caller {
				t.Fatalf("answered %d to caller %q: %s, want %d to %q", got.status, x.Caller, got.body, tt.status, tt.caller)
			}
			if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
				t.Errorf("answered %d with WWW-Authenticate %q", got.status, challenge)
			}
			if strings.Contains(got.body, callerKey) || strings.Contains(fmt.Sprintf("%+v", x), callerKey) {
				t.Error("the key is in an output")
			}
			for _, record := range g.Records() {
				if text := fmt.Sprint(record.Header); record.Authorizations > 1 || strings.Contains(text, callerKey) || strings.Contains(text, "X-Api-Key") {
					t.Errorf("the upstream received %s", text)
				}
			}
		})
	}
	if got := r.form(shimPath, url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}); got.status != 403 {
		t.Errorf("a token request of nobody known answered %d", got.status)
	}
}

func TestShim_APlaceholderEndsWithTheKey(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	s := shimmed(t, g)
	s.cron()
	r := newRig(t, s)
	made := r.ask(emulator.TransferScope, "Authorization", "Basic "+basicOf("x", callerKey)).AccessToken
	s.callers[0].Keys = []policy.KeyHash{policy.HashKey("another")}
	r.Reload(r.parts(s))
	if got := r.do("GET", "/transfer/v0.10/task_list", "", "Authorization", "Bearer "+made); got.status != 401 || got.code() != "caller_unknown" {
		t.Errorf("answered %d %s, want 401", got.status, got.body)
	}
	if got := r.form(shimPath+"/introspect", url.Values{"token": {made}}); strings.TrimSpace(got.body) != `{"active":false}` {
		t.Errorf("introspect answered %s", got.body)
	}
}

// All that a caller's entry names has to hold, also where a placeholder stands for
// the key.
func TestShim_APlaceholderIsNoMoreThanTheKey(t *testing.T) {
	s := shimmed(t, newGlobus(t, emulator.Config{}))
	s.cron()
	s.callers[0].Address = []string{"127.0.0.1"}
	r := newRig(t, s)
	made := r.ask(emulator.TransferScope, "Authorization", "Basic "+basicOf("x", callerKey)).AccessToken
	const list = "/transfer/v0.10/task_list"
	if got := r.do("GET", list, "", "Authorization", "Bearer "+made); got.status != 200 {
		t.Errorf("from its network: answered %d %s, want 200", got.status, got.body)
	}
	s.callers[0].Address = []string{"10.0.0.0/8"}
	r.Reload(r.parts(s))
	if got := r.do("GET", list, "", "Authorization", "Bearer "+made); got.status != 401 || got.code() != "caller_unknown" {
		t.Errorf("from another: answered %d %s, want 401", got.status, got.body)
	}
	s.callers[0].Address = nil
	s.callers = append([]policy.CallerConfig{{Name: "lab", Address: []string{"127.0.0.1"}}}, s.callers...)
	s.rules = append(s.rules, policy.RuleConfig{Name: "lab", Callers: []string{"lab"}, Upstreams: []string{"transfer"}, Methods: []string{"GET"}, Paths: []string{"/**"}})
	r.Reload(r.parts(s))
	if got := r.do("GET", list, "", "Authorization", "Bearer "+made); got.status != 401 || got.code() != "caller_unknown" {
		t.Errorf("where another caller is found first: answered %d %s, want 401", got.status, got.body)
	}
}

// TestShim_APlaceholderOfACallerThatIsGoneIsRefused, also where no caller has a
// key any more, and who sends it could be served as local.
func TestShim_APlaceholderOfACallerThatIsGoneIsRefused(t *testing.T) {
	r := newRig(t, shimmed(t, newGlobus(t, emulator.Config{})))
	got := r.do("GET", "/transfer/v0.10/task_list", "", "Authorization", "Bearer bearerd-placeholder.transfer.api.globus.org~cron~seal")
	if got.status != 403 || got.header.Get("Bearerd-Error") != "caller_unknown" {
		t.Errorf("answered %d %s, want 403 caller_unknown", got.status, got.body)
	}
}

func TestInboundAuthorization_RefuseTakesOnlyWhatIsBearerds(t *testing.T) {
	w := newWire(t)
	s := shimmed(t, newGlobus(t, emulator.Config{}))
	s.cron()
	s.upstreams["transfer"] = proxy.UpstreamConfig{URL: w.url, InsecureHTTP: true, Private: true, InboundAuthorization: "refuse"}
	r := newRig(t, s)
	sealed := r.ask(emulator.TransferScope, "Authorization", "Basic "+basicOf("x", callerKey)).AccessToken
	for _, tt := range []struct {
		header []string
		status int
	}{
		{nil, 204},
		{[]string{"Authorization", "Bearer bearerd-placeholder.transfer.api.globus.org"}, 204},
		{[]string{"Authorization", "Bearer " + sealed}, 204},
		{[]string{"Authorization", "Bearer " + callerKey}, 204},
		{[]string{"Authorization", "Basic " + basicOf("x", callerKey)}, 204},
		{[]string{"X-Api-Key", callerKey}, 204},
		{[]string{"Authorization", "Bearer stale"}, 400},
		{[]string{"Authorization", "Basic eDp5"}, 400},
		{[]string{"Authorization", ""}, 400},
		{[]string{"X-Api-Key", callerKey, "Authorization", "Bearer stale"}, 400},
		{[]string{"Authorization", "Bearer bearerd-placeholder.x", "Authorization", "Bearer stale"}, 401},
		{[]string{"Authorization", "bearerd-placeholder.x"}, 400},
	} {
		got := r.do("GET", "/transfer/x", "", tt.header...)
		if got.status != tt.status || tt.status == 400 && got.code() != "request_ambiguous" {
			t.Errorf("%q: answered %d %s, want %d", tt.header, got.status, got.body, tt.status)
		}
	}
	for _, head := range w.received() {
		if strings.Count(strings.ToLower(head), "authorization:") != 1 || strings.Contains(head, "placeholder") || strings.Contains(head, callerKey) {
			t.Errorf("the upstream received %s", head)
		}
	}
}

func TestShim_KnowsItsPathsBehindABasePathAndOnAListenerOfItsOwn(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	s := shimmed(t, g)
	auth := s.upstreams["auth"]
	auth.URL += "/v2"
	s.upstreams["auth"] = auth
	known := s.known["auth"]
	known.Base = "/v2"
	s.known["auth"] = known
	s.listener.Upstream = "auth"
	r := newRig(t, s)
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}
	if got := r.form("/oauth2/token", form); got.status != 200 {
		t.Errorf("answered %d %s", got.status, got.body)
	}
	if got := r.form("/v2/oauth2/token", form); got.status == 200 {
		t.Error("a path that is not Auth's token endpoint is answered as it")
	}
}
