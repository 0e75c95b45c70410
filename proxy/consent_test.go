package proxy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bearerd/credentials"
	"bearerd/proxy"
	"bearerd/test/emulator"
)

const (
	tokenPath  = "/v2/oauth2/token"
	someID     = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
	timersID   = "524230d7-ea86-4a52-8312-86065a9e0417"
	timerScope = "https://auth.globus.org/scopes/" + timersID + "/timer"
)

// wanting is a ConsentRequired for the data_access of collections below a scope.
func wanting(root string, collections ...string) string {
	var inner []string
	for _, id := range collections {
		inner = append(inner, "*https://auth.globus.org/scopes/"+id+"/data_access")
	}
	return root + "[" + strings.Join(inner, " ") + "]"
}

// consenting is a proxy that grants consent, in front of an emulator.
func consenting(t *testing.T, consent string) (globus, *rig) {
	t.Helper()
	g := newGlobus(t, emulator.Config{})
	s := g.settings(t)
	u := s.upstreams["transfer"]
	u.Consent = consent
	s.upstreams["transfer"] = u
	return g, newRig(t, s)
}

func (g globus) ls(collection string) string {
	return "/transfer/v0.10/operation/endpoint/" + collection + "/ls"
}

// grants returns the scopes that Auth was asked for.
func (g globus) grants() []string {
	var asked []string
	for _, r := range g.Records() {
		if r.Service == "auth" && r.Target == tokenPath {
			asked = append(asked, string(r.Body))
		}
	}
	return asked
}

func TestConsent_IsGrantedAndTheRequestSentAgain(t *testing.T) {
	g, r := consenting(t, "auto")
	got := r.do("GET", g.ls(g.MappedCollection()), "")
	if got.status != 200 || !strings.Contains(got.body, "größe.csv") {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	if n := len(g.grants()); n != 2 {
		t.Errorf("%d token requests, want one for the token and one for the consent", n)
	}
	x := r.seen()[0]
	if x.Consent != g.MappedCollection() || x.Attempts != 2 || x.Warning != "" {
		t.Errorf("consent %q after %d attempts, warning %q", x.Consent, x.Attempts, x.Warning)
	}
	var used []string
	for _, record := range g.Records() {
		if record.Service == "transfer" {
			used = append(used, record.Authorization)
		}
	}
	if len(used) != 2 || used[0] != used[1] {
		t.Errorf("the token changed: %v", used)
	}
	if again := r.do("GET", g.ls(g.MappedCollection()), ""); again.status != 200 || r.seen()[0].Consent != "" {
		t.Errorf("once consented: got %d", again.status)
	}
}

func TestConsent_SmallBodiesAreSentAgainAndLargeOnesPassTheRefusalOn(t *testing.T) {
	for _, tt := range []struct {
		name string
		pad  int
		want int
	}{{"small", 0, 202}, {"large", 100 << 10, 403}} {
		t.Run(tt.name, func(t *testing.T) {
			g, r := consenting(t, "auto")
			id := r.do("GET", "/transfer/v0.10/submission_id", "").body
			_, id, _ = strings.Cut(id, `"value":"`)
			id, _, _ = strings.Cut(id, `"`)
			ends := g.EndpointIDs()
			body := fmt.Sprintf(`{"DATA_TYPE":"transfer","submission_id":"%s","source_endpoint":"%s","destination_endpoint":"%s","DATA":[{}],"label":"%s"}`,
				id, ends[0], g.MappedCollection(), strings.Repeat("x", tt.pad))
			if got := r.do("POST", "/transfer/v0.10/transfer", body); got.status != tt.want {
				t.Errorf("got %d %s, want %d", got.status, got.body, tt.want)
			}
			if !g.Consented(g.MappedCollection(), "transfer.api.globus.org") {
				t.Error("no consent was granted")
			}
			if got := r.do("POST", "/transfer/v0.10/transfer", body); got.status/100 != 2 {
				t.Errorf("the next: got %d", got.status)
			}
		})
	}
}

func TestConsent_OneGrantForAHundredRequests(t *testing.T) {
	g, r := consenting(t, "auto")
	r.do("GET", "/transfer/v0.10/task_list", "") // the token is there
	g.Reset()
	g.SetTokenDelay(50 * time.Millisecond) // so that most come while the grant is under way
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			resp, err := client.Get(r.url + g.ls(g.MappedCollection()))
			if err != nil {
				t.Error(err)
				return
			}
			if resp.Body.Close(); resp.StatusCode != 200 {
				t.Errorf("got %d", resp.StatusCode)
			}
		})
	}
	all.Wait()
	if asked := g.grants(); len(asked) != 1 {
		t.Errorf("%d grants, want 1", len(asked))
	}
}

func TestConsent_LeavesEveryOtherDemandAlone(t *testing.T) {
	one := wanting(emulator.TransferScope, someID)
	failure := func(body string) emulator.Failure {
		return emulator.Failure{Status: 403, Body: body}
	}
	for _, tt := range []struct {
		name    string
		consent string
		answer  emulator.Failure
		warning string
	}{
		{"two collections in one scope", "auto", emulator.ConsentRequired(wanting(emulator.TransferScope, someID, timersID)), ""},
		{"two scopes", "auto", emulator.ConsentRequired(one, wanting(emulator.TransferScope, timersID)), ""},
		{"no scope", "auto", emulator.ConsentRequired(), ""},
		{"a scope of another service", "auto", emulator.ConsentRequired(wanting("urn:globus:auth:scope:groups.api.globus.org:all", someID)), ""},
		{"a broader scope of its own", "auto", emulator.ConsentRequired(wanting(emulator.TransferScope+"_and_more", someID)), ""},
		{"the scope alone", "auto", emulator.ConsentRequired(emulator.TransferScope), ""},
		{"another dependent scope", "auto", emulator.ConsentRequired(emulator.TransferScope + "[https://auth.globus.org/scopes/" + someID + "/https]"), ""},
		{"another code", "auto", failure(strings.Replace(emulator.ConsentRequired(one).Body, `"ConsentRequired"`, `"PermissionDenied"`, 1)), ""},
		{"lists that disagree", "auto", failure(`{"code":"ConsentRequired","required_scopes":["` + one + `"],"authorization_parameters":{"required_scopes":["` + wanting(emulator.TransferScope, timersID) + `"]}}`), ""},
		{"a session", "auto", emulator.SessionRequired("someone@example.org"), "the upstream demands a session of a person, which a service account cannot have"},
		{"a session beside consent", "auto", failure(`{"code":"ConsentRequired","required_scopes":["` + one + `"],"authorization_parameters":{"session_required_mfa":true}}`), "the upstream demands a session of a person, which a service account cannot have"},
		{"no JSON", "auto", emulator.Failure{Status: 403, Body: "no", ContentType: "text/html"}, ""},
		{"JSON that ends early", "auto", failure(`{"code":"ConsentRequired"`), ""},
		{"more than is read", "auto", failure(`{"code":"ConsentRequired","required_scopes":["` + one + `"],"message":"` + strings.Repeat("x", 70<<10) + `"}`), ""},
		{"another status", "auto", emulator.Failure{Status: 409, Body: emulator.ConsentRequired(one).Body}, ""},
		{"consent: off", "off", emulator.ConsentRequired(one), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, r := consenting(t, tt.consent)
			g.FailRequests(1, tt.answer)
			got := r.do("GET", "/transfer/v0.10/task_list", "")
			if got.status != tt.answer.Status || got.body != tt.answer.Body {
				t.Errorf("got %d and %d bytes, want %d and %d", got.status, len(got.body), tt.answer.Status, len(tt.answer.Body))
			}
			if n := len(g.grants()); n != 1 {
				t.Errorf("%d token requests, want that for the token", n)
			}
			if x := r.seen()[0]; x.Consent != "" || x.Warning != tt.warning || x.Attempts != 1 {
				t.Errorf("consent %q, warning %q, %d attempts", x.Consent, x.Warning, x.Attempts)
			}
		})
	}
}

func TestConsent_OfACollectionWithoutDataAccessIsAskedForOnce(t *testing.T) {
	g, r := consenting(t, "auto")
	guest := emulator.ConsentRequired(wanting(emulator.TransferScope, g.EndpointIDs()[0]))
	g.FailRequests(20, guest)
	for range 20 {
		if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 403 || got.body != guest.Body {
			t.Fatalf("got %d", got.status)
		}
	}
	if n := len(g.grants()); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	for _, x := range r.seen() {
		if x.Consent != "" || x.Warning == "" || x.Err == nil || x.Attempts != 1 || !strings.Contains(x.Err.Error(), "UNKNOWN_SCOPE_ERROR") {
			t.Errorf("consent %q, warning %q, error %v after %d attempts", x.Consent, x.Warning, x.Err, x.Attempts)
		}
	}
	if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 200 {
		t.Errorf("the token is spoilt: got %d", got.status)
	}
}

func TestConsent_ThatDoesNotHelpIsNotGrantedAgain(t *testing.T) {
	g, r := consenting(t, "auto")
	wanted := emulator.ConsentRequired(wanting(emulator.TransferScope, g.MappedCollection()))
	g.FailRequests(100, wanted)
	for range 5 {
		if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 403 || got.body != wanted.Body {
			t.Fatalf("got %d", got.status)
		}
	}
	if n := len(g.grants()); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	for i, x := range r.seen() {
		if wantAttempts := map[bool]int{true: 2, false: 1}[i == 0]; x.Attempts != wantAttempts {
			t.Errorf("request %d: %d attempts, want %d", i, x.Attempts, wantAttempts)
		}
	}
}

// consented is an Authorizer whose consents were granted at some time before.
type consented struct {
	credentials.Authorizer
	at func() time.Time
}

func (c consented) Consent(context.Context, string, map[string]string) error {
	return &credentials.ConsentedError{At: c.at()}
}

func TestConsent_GrantedWhileTheRequestWasOnItsWayIsWorthAnother(t *testing.T) {
	refusal := emulator.ConsentRequired(wanting(emulator.TransferScope, someID))
	start := time.Now()
	for _, tt := range []struct {
		name         string
		at           func() time.Time
		wantAttempts int
		wantWarning  string
	}{
		{"meanwhile", time.Now, 2, ""},
		{"before", func() time.Time { return start }, 1, "the upstream demands consent that was granted before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(refusal.Status)
				_, _ = w.Write([]byte(refusal.Body))
			}))
			t.Cleanup(up.Close)
			s := newGlobus(t, emulator.Config{}).settings(t)
			s.upstreams = map[string]proxy.UpstreamConfig{"transfer": {URL: up.URL, InsecureHTTP: true, Private: true, Consent: "auto"}}
			s.rules = anything("transfer")
			s.authorizers = map[string]credentials.Authorizer{"transfer": consented{staticToken(t), tt.at}}
			r := newRig(t, s)
			if got := r.do("GET", "/transfer/", ""); got.status != 403 || got.body != refusal.Body {
				t.Errorf("got %d", got.status)
			}
			if x := r.seen()[0]; x.Attempts != tt.wantAttempts || x.Warning != tt.wantWarning || x.Consent != "" {
				t.Errorf("%d attempts, warning %q, consent %q", x.Attempts, x.Warning, x.Consent)
			}
		})
	}
}

func TestConsent_IsNotGrantedForWhatIsDenied(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	s := g.settings(t)
	u := s.upstreams["transfer"]
	u.Consent = "auto"
	s.upstreams["transfer"] = u
	s.rules = anything("auth")
	r := newRig(t, s)
	if got := r.do("GET", g.ls(g.MappedCollection()), ""); got.status != 403 || got.code() != "denied" {
		t.Errorf("got %d %s", got.status, got.code())
	}
	if len(g.Records()) != 0 || g.Consented(g.MappedCollection(), "transfer.api.globus.org") {
		t.Errorf("Globus was asked %d times", len(g.Records()))
	}
}

func TestConsent_OfTimersIsForTimers(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	nested := timerScope + "[" + wanting(emulator.TransferScope, g.MappedCollection()) + "]"
	refusal := emulator.ConsentRequired(nested)
	timers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if g.Consented(g.MappedCollection(), timersID) {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(refusal.Status)
		_, _ = w.Write([]byte(refusal.Body))
	}))
	t.Cleanup(timers.Close)
	s := g.settings(t)
	s.upstreams["timers"] = proxy.UpstreamConfig{URL: timers.URL, InsecureHTTP: true, Private: true, Consent: "auto"}
	s.credentials.Tokens["timers"] = credentials.TokenConfig{ResourceServer: timersID, Scopes: []string{timerScope}}
	s.rules = anything("timers")
	r := newRig(t, s)
	if got := r.do("POST", "/timers/v2/timer", "{}"); got.status != 200 {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if g.Consented(g.MappedCollection(), "transfer.api.globus.org") {
		t.Error("Transfer was consented to as well")
	}
}

// TestConsent_ReadsGzippedDemands because clients that accept gzip get it.
func TestConsent_ReadsGzippedDemands(t *testing.T) {
	g, r := consenting(t, "auto")
	zip := func(f emulator.Failure) emulator.Failure {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(f.Body))
		_ = w.Close()
		f.Body, f.Header = b.String(), http.Header{"Content-Encoding": {"gzip"}}
		return f
	}
	g.FailRequests(1, zip(emulator.ConsentRequired(wanting(emulator.TransferScope, g.MappedCollection()))))
	if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
	other := zip(emulator.ConsentRequired("openid"))
	g.FailRequests(1, other)
	if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 403 || got.body != other.Body {
		t.Errorf("got %d and another body", got.status)
	}
}
