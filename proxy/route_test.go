package proxy_test

import (
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
)

func TestRoute_FindsUpstreamByPrefixAndHost(t *testing.T) {
	one, two := newWire(t), newWire(t)
	token := staticToken(t)
	r := newRig(t, settings{
		upstreams: map[string]proxy.UpstreamConfig{
			"one": {URL: one.url, InsecureHTTP: true, Private: true, Host: "One.localhost"},
			"two": {URL: two.url + "/v1", InsecureHTTP: true, Private: true, Prefix: "/one/deeper"},
		},
		rules:       anything("one", "two"),
		authorizers: map[string]credentials.Authorizer{"one": token, "two": token},
	})
	for _, tt := range []struct {
		host, path string
		one, two   string // what each received, "" for nothing
	}{
		{"localhost", "/one/a", "/a", ""},
		{"localhost", "/one", "/", ""},
		{"localhost", "/one/", "/", ""},
		{"localhost", "/one?q=1", "/?q=1", ""},
		{"localhost", "/one/deep", "/deep", ""},
		{"localhost", "/one/deeper/a", "", "/v1/a"},
		{"localhost", "/oneX/a", "", ""},
		{"localhost", "/one@evil.example/x", "", ""},
		{"localhost", "/%6fne/a", "", ""},
		{"localhost", "/ONE/a", "", ""},
		{"localhost", "/two/a", "", ""},
		{"localhost", "/", "", ""},
		{"one.localhost", "/a/b", "/a/b", ""},
		{"ONE.localhost:99", "/one/a", "/one/a", ""},
		{"one.localhost", "/one/deeper/a", "/one/deeper/a", ""},
	} {
		got := r.raw("GET " + tt.path + " HTTP/1.1\r\nHost: " + tt.host + "\r\nConnection: close\r\n\r\n")
		if first(one.received()) != tt.one {
			t.Errorf("%s%s: one received another path than %q", tt.host, tt.path, tt.one)
		}
		if first(two.received()) != tt.two {
			t.Errorf("%s%s: two received another path than %q", tt.host, tt.path, tt.two)
		}
		if tt.one+tt.two == "" && (got.status != 404 || got.code() != "no_upstream") {
			t.Errorf("%s%s: answered %d %s, want 404 no_upstream", tt.host, tt.path, got.status, got.code())
		}
	}
}

func first(heads []string) string {
	if len(heads) == 0 {
		return ""
	}
	return target(heads[0])
}

func TestRoute_ListenerOfOneUpstreamHasNoPrefix(t *testing.T) {
	one, two := newWire(t), newWire(t)
	s := to(t, one.url)
	s.upstreams["two"] = proxy.UpstreamConfig{URL: two.url, InsecureHTTP: true, Private: true}
	s.authorizers["two"] = staticToken(t)
	s.rules = anything("up", "two")
	s.listener.Upstream = "up"
	r := newRig(t, s)
	for _, path := range []string{"/v0.10/task_list", "/up/a", "/two/a", "/"} {
		r.do("GET", path, "")
		if got := first(one.received()); got != path {
			t.Errorf("%s: the listener's upstream received %q", path, got)
		}
		if got := two.received(); len(got) > 0 {
			t.Errorf("%s: another upstream received %q", path, got)
		}
	}
}

func TestGuard_HostMustBeKnown(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.listener.Hosts = []string{"Bearerd.example.svc"}
	r := newRig(t, s)
	for _, tt := range []struct {
		host string
		want int
	}{
		{"localhost", 204}, {"localhost:8080", 204}, {"LOCALHOST", 204}, {"127.0.0.1", 204}, {"127.0.0.1:1", 204},
		{"bearerd.example.svc", 204}, {"bearerd.example.svc:80", 204},
		{"evil.example", 421}, {"localhost.evil.example", 421}, {"localhost.", 421}, {"0.0.0.0", 421}, {"127.0.0.2", 421},
		{"127.0.0.1.nip.io", 421}, {"[::1]", 421}, {"", 421}, {":8080", 421}, {"localhost,evil", 421},
	} {
		got := r.raw("GET /up/a HTTP/1.1\r\nHost: " + tt.host + "\r\nConnection: close\r\n\r\n")
		if got.status != tt.want {
			t.Errorf("Host %q: answered %d, want %d", tt.host, got.status, tt.want)
		}
		if heads := w.received(); len(heads) > 0 != (tt.want == 204) {
			t.Errorf("Host %q: the upstream received %q", tt.host, heads)
		}
	}
	if got := r.raw("GET /up/a HTTP/1.0\r\n\r\n"); got.status != 204 {
		t.Errorf("HTTP/1.0 without Host: answered %d, want 204", got.status)
	}
}

func TestGuard_RefusesBrowsersAndTricks(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	for _, tt := range []struct {
		header string
		code   string // "" for forwarded
	}{
		{"Accept: */*", ""},
		{"Sec-Fetch-Mode: cors", ""}, // Node's fetch sends it alone
		{"Connection: keep-alive, TE", ""},
		{"Origin: https://evil.example", "browser_refused"},
		{"Origin: null", "browser_refused"},
		{"Sec-Fetch-Site: same-origin", "browser_refused"},
		{"Sec-Fetch-Site: none", "browser_refused"},
		{"X-HTTP-Method-Override: DELETE", "request_ambiguous"},
		{"x-method-override: DELETE", "request_ambiguous"},
		{"Connection: Authorization", "request_ambiguous"},
		{"Connection: close, If-Match", "request_ambiguous"},
	} {
		got := r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\n" + tt.header + "\r\n\r\n")
		if got.code() != tt.code {
			t.Errorf("%s: code %q, want %q", tt.header, got.code(), tt.code)
		}
		if heads := w.received(); len(heads) > 0 != (tt.code == "") {
			t.Errorf("%s: the upstream received %q", tt.header, heads)
		}
	}
}

func TestIdentify_OnlyKnownCallersAreServed(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.callers = []policy.CallerConfig{{Name: "lab", Address: []string{"10.1.0.0/16", "2001:db8::/32"}}}
	s.rules[0].Callers = []string{"lab"}
	r := newRig(t, s)
	for peer, want := range map[string]string{
		"10.1.2.3:5000": "", "[::ffff:10.1.2.3]:5000": "", "[2001:db8::1]:5000": "",
		"10.2.0.1:5000": "caller_unknown", "[2001:db9::1]:5000": "caller_unknown", "": "caller_unknown", "@": "caller_unknown",
		"127.0.0.1:5000": "denied", "[::1]:5000": "denied", // local is known, and no rule names it
	} {
		req := httptest.NewRequest("GET", "/up/a", nil)
		req.RemoteAddr, req.Host = peer, "127.0.0.1"
		req.Header.Set("X-Forwarded-For", "10.1.2.3")
		answered := httptest.NewRecorder()
		r.Listener(0).ServeHTTP(answered, req)
		if got := answered.Header().Get("Bearerd-Error"); got != want || (want != "" && answered.Code != 403) {
			t.Errorf("%s: answered %d %q, want %q", peer, answered.Code, got, want)
		}
		if heads := w.received(); len(heads) > 0 != (want == "") {
			t.Errorf("%s: the upstream received %q", peer, heads)
		}
	}
}

func TestForward_NoCredentialMayGoAnywhere(t *testing.T) {
	one, two := newWire(t), newWire(t)
	r := newRig(t, settings{
		upstreams: map[string]proxy.UpstreamConfig{
			"one": {URL: one.url, InsecureHTTP: true, Private: true, Credential: credentials.NoCredential},
			"two": {URL: two.url, InsecureHTTP: true, Private: true, Credential: credentials.NoCredential},
		},
		rules: anything("one", "two"),
	})
	for path, w := range map[string]*wire{"/one/a": one, "/two/a": two} {
		got := r.do("GET", path, "", "Authorization", "Bearer attacker")
		heads := w.received()
		if got.status != 204 || len(heads) != 1 || strings.Contains(heads[0], "Authorization") {
			t.Errorf("%s: answered %d, the upstream received %q", path, got.status, heads)
		}
	}
}

// Where users tell callers, who has hung up before the kernel is asked whose the
// connection is must not be served as whoever is left: local.
func TestIdentify_WhoCannotBeToldAnyMoreIsNotLocal(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells users")
	}
	w := newWire(t)
	s := to(t, w.url)
	uid := uint32(4711)
	s.callers = []policy.CallerConfig{{Name: "student", User: "4711", UID: &uid}}
	r := newRig(t, s)
	req := httptest.NewRequest("GET", "/up/a", nil) // of no connection at all
	req.RemoteAddr, req.Host = "127.0.0.1:5000", "127.0.0.1"
	answered := httptest.NewRecorder()
	r.Listener(0).ServeHTTP(answered, req)
	if got := answered.Header().Get("Bearerd-Error"); got != "caller_unknown" || len(w.received()) > 0 {
		t.Errorf("answered %d %q, want caller_unknown", answered.Code, got)
	}
}

func TestIdentify_ATrustedProxySpeaksForOthersAndIsNeverLocal(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.listener.TrustedProxies = []string{"127.0.0.1", "10.9.0.0/16"}
	s.callers = []policy.CallerConfig{{Name: "lab", Address: []string{"10.1.0.0/16"}}}
	s.rules = append(anything("up"), policy.RuleConfig{Name: "lab", Callers: []string{"lab"}, Upstreams: []string{"up"}, Methods: []string{"GET"}, Paths: []string{"/**"}})
	r := newRig(t, s)
	for _, tt := range []struct {
		name, forwarded, code string
	}{
		{"for a caller", "X-Forwarded-For: 10.1.2.3\r\n", ""},
		{"for a caller, through another proxy", "X-Forwarded-For: 10.1.2.3, 10.9.1.1\r\n", ""},
		{"for a stranger who says to be a caller", "X-Forwarded-For: 10.1.2.3, 203.0.113.1\r\n", "caller_unknown"},
		{"for a stranger who says to be local", "X-Forwarded-For: 127.0.0.1, 203.0.113.1\r\n", "caller_unknown"},
		{"for somebody local to it", "X-Forwarded-For: 127.0.0.1\r\n", "caller_unknown"},
		{"for nobody", "", "caller_unknown"},
		{"for what is no address", "X-Forwarded-For: unknown\r\n", "request_ambiguous"},
	} {
		got := r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\n" + tt.forwarded + "\r\n")
		heads := w.received()
		if got.code() != tt.code || len(heads) > 0 != (tt.code == "") {
			t.Errorf("%s: answered %d %q, want %q", tt.name, got.status, got.code(), tt.code)
		}
		if len(heads) > 0 && strings.Contains(heads[0], "X-Forwarded") {
			t.Errorf("%s: the upstream received\n%s", tt.name, heads[0])
		}
	}
}

func TestIdentify_AnonymousIsWhoNobodyKnowsWhereTheListenerSaysSo(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.callers = []policy.CallerConfig{{Name: "lab", Address: []string{"10.1.0.0/16"}}}
	s.rules[0].Callers, s.rules[0].Methods = []string{policy.Anonymous}, []string{"GET"}
	r := newRig(t, s)
	for _, anonymous := range []bool{false, true} {
		cfg, deps, bindings := r.parts(s)
		cfg.Listeners[0].Anonymous = anonymous
		r.Reload(cfg, deps, bindings)
		for peer, want := range map[string]string{
			"203.0.113.1:5000": map[bool]string{false: "caller_unknown", true: ""}[anonymous],
			"10.1.2.3:5000":    "denied", // a caller that no rule is for
			"127.0.0.1:5000":   "denied", // local
		} {
			req := httptest.NewRequest("GET", "/up/a", nil)
			req.RemoteAddr, req.Host = peer, "127.0.0.1"
			answered := httptest.NewRecorder()
			r.Listener(0).ServeHTTP(answered, req)
			if got := answered.Header().Get("Bearerd-Error"); got != want || len(w.received()) > 0 != (want == "") {
				t.Errorf("anonymous: %v, %s: answered %d %q, want %q", anonymous, peer, answered.Code, got, want)
			}
		}
	}
}
