package test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// withPolicy is the usual configuration with callers in flow style, and a rule that
// lets them read Transfer in place of local.
func withPolicy(g *harness.Globus, policy, callers string) string {
	config := harness.Config(g)
	at := strings.Index(config, "policy:\n")
	return config[:at] + "policy:\n" + policy + "  callers: [" + callers + "]\n  rules: [{name: read, callers: [me], upstreams: [transfer], allow: [read]}]\n"
}

// curlAs asks by curl as another user of the machine, and returns status and code.
func curlAs(t *testing.T, uid uint32, args ...string) string {
	t.Helper()
	command := exec.Command("curl", append([]string{"-sS", "-o", "/dev/null", "-w", "%{http_code} %header{bearerd-error}", "--noproxy", "*", "--max-time", "20"}, args...)...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Sprint(err, " ", string(out))
	}
	return strings.TrimSpace(string(out))
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		harness.Missing(t, "only root can be other users")
	}
}

// As policy has it on a login node: loopback is every user's, and only one is me.
func TestCallers_AnotherUserOfTheMachineIsRefused(t *testing.T) {
	needsRoot(t)
	g := harness.NewGlobus(t, emulator.Config{})
	config := strings.Replace(withPolicy(g, "", "{name: me, user: self}"), `{address: "127.0.0.1:0"}`, `{address: "127.0.0.1:0"}, {address: "[::1]:0"}, {address: "unix:b.sock", mode: "0666"}`, 1)
	b := harness.Start(t, config)
	socket := filepath.Join(b.Dir, "b.sock")
	for dir := b.Dir; dir != "/"; dir = filepath.Dir(dir) { // on the way to it
		if info, err := os.Stat(dir); err == nil && info.Mode()&1 == 0 {
			if err := os.Chmod(dir, info.Mode()|1); err != nil {
				t.Fatal(err)
			}
		}
	}
	lines := b.Lines("listening")
	if len(lines) < 3 {
		b.WaitLog(func(line map[string]any) bool { return line["address"] == "unix:b.sock" })
		lines = b.Lines("listening")
	}
	ways := map[string][]string{
		"IPv4": {b.URL + taskList}, "IPv6": {fmt.Sprintf("http://%v%s", lines[1]["address"], taskList)},
		"unix": {"--unix-socket", socket, "http://localhost" + taskList},
	}
	refused := 0
	for way, args := range ways {
		if got := curlAs(t, 0, args...); got != "200" {
			t.Errorf("%s: I am answered %q, want 200", way, got)
		}
		want := "403 denied" // they are local, and no rule is for that
		if way == "unix" {
			want = "403 caller_unknown"
		}
		for _, uid := range []uint32{65534, 4711} {
			if got := curlAs(t, uid, args...); got != want {
				t.Errorf("%s: uid %d is answered %q, want %s", way, uid, got, want)
				continue
			}
			refused++
		}
	}
	fmt.Printf("another uid, with user: self: %d of %d requests refused, over %d ways in\n", refused, 2*len(ways), len(ways))
	if n := g.Count("transfer", "/v0.10/task_list"); n != len(ways) {
		t.Errorf("%d requests reached the upstream, want %d", n, len(ways))
	}
}

func TestExec_ServesItsOwnUserAlone(t *testing.T) {
	needsRoot(t)
	j := newJob(t, harness.Config(harness.NewGlobus(t, emulator.Config{})), nil, "sh", "-c", `echo "$BEARERD_URL"; echo ready; read line`)
	before := j.ready(t)
	at := before[len(before)-1] + taskList
	if got := curlAs(t, 0, at); got != "200" {
		t.Errorf("its user is answered %q, want 200", got)
	}
	if got := curlAs(t, 65534, at); got != "403 caller_unknown" {
		t.Errorf("another user is answered %q, want 403 caller_unknown", got)
	}
	_ = j.stdin.Close()
	if code := j.end(t); code != 1 { // read's, at the end of its input
		t.Errorf("exit %d", code)
	}
}

func TestCallers_ByCertificate(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	a := harness.NewAuthority(t)
	certificate, key := a.IssueServer()
	config := strings.Replace(withPolicy(g, "", `{name: me, certificate: "spiffe://lab.example.org/cron"}, {name: host, certificate: cron.lab.example.org}`),
		`{address: "127.0.0.1:0"}`, `{address: "127.0.0.1:0", tls: {certificate: "file:server.pem", key: "file:server.key", client_ca: "file:ca.pem"}}`, 1)
	b := harness.Start(t, config, harness.File("server.pem", certificate), harness.File("server.key", key), harness.File("ca.pem", a.PEM))
	spiffe := func(path string) *url.URL { return &url.URL{Scheme: "spiffe", Host: "lab.example.org", Path: path} }
	for _, tt := range []struct {
		name     string
		template x509.Certificate
		status   int
	}{
		{"its URI", x509.Certificate{URIs: []*url.URL{spiffe("/cron")}}, 200},
		{"its URI beside a name that no caller has", x509.Certificate{URIs: []*url.URL{spiffe("/cron")}, DNSNames: []string{"other.example.org"}}, 200},
		{"another caller's name", x509.Certificate{DNSNames: []string{"cron.lab.example.org"}}, 403},
		{"two callers' names", x509.Certificate{URIs: []*url.URL{spiffe("/cron")}, DNSNames: []string{"cron.lab.example.org"}}, 403},
		{"another URI", x509.Certificate{URIs: []*url.URL{spiffe("/cron/x")}}, 403},
		{"the URI as a DNS name", x509.Certificate{DNSNames: []string{"spiffe://lab.example.org/cron"}}, 403},
		{"a wildcard", x509.Certificate{DNSNames: []string{"*.lab.example.org"}}, 403},
	} {
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			RootCAs: a.Pool(), Certificates: []tls.Certificate{a.Pair(tt.template)},
		}}}
		if status, body := get(t, client, strings.Replace(b.URL, "http:", "https:", 1)+taskList); status != tt.status {
			t.Errorf("%s: answered %d %s, want %d", tt.name, status, body, tt.status)
		}
	}
}

// issuer is an OpenID provider as far as tokens are verified by it.
type issuer struct {
	*httptest.Server
	key  crypto.Signer
	down atomic.Bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if i.down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "1"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": i.URL, "aud": "bearerd", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// askWith asks with a bearer token, and returns the status and bearerd's code.
func askWith(t *testing.T, at, token string) string {
	t.Helper()
	req, err := http.NewRequest("GET", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Bearerd-Error")))
}

func TestCallers_ByJWT(t *testing.T) {
	g, i, dead := harness.NewGlobus(t, emulator.Config{}), newIssuer(t), newIssuer(t)
	dead.down.Store(true)
	one := `{issuer: "%s", audience: bearerd, insecure_http: true, private: true}`
	identity := fmt.Sprintf("  identity: {jwt: {gitlab: "+one+", dead: "+one+"}}\n", i.URL, dead.URL)
	b := harness.Start(t, withPolicy(g, identity, "{name: me, jwt: gitlab, claims: {project_path: lab/data}}, {name: other, jwt: dead, claims: {sub: x}}"))
	at := b.URL + taskList
	mine := i.sign(t, map[string]any{"project_path": "lab/data"})
	for name, tt := range map[string]struct{ token, want string }{
		"another project":          {i.sign(t, map[string]any{"project_path": "lab/other"}), "401 caller_unknown"},
		"another audience":         {i.sign(t, map[string]any{"project_path": "lab/data", "aud": "other"}), "401 caller_unknown"},
		"an end in the past":       {i.sign(t, map[string]any{"project_path": "lab/data", "exp": time.Now().Add(-time.Hour).Unix()}), "401 caller_unknown"},
		"another signature":        {mine[:len(mine)-4] + "AAAA", "401 caller_unknown"},
		"no signature":             {mine[:strings.LastIndex(mine, ".")+1], "401 caller_unknown"},
		"a token of the tool's":    {"AgOpaque", "403 denied"}, // not presented: local, which no rule is for
		"its own":                  {mine, "200"},
		"one whose issuer is down": {dead.sign(t, map[string]any{"sub": "x"}), "503 identity_unavailable"},
	} {
		if got := askWith(t, at, tt.token); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	if strings.Contains(string(b.Output()), mine[strings.LastIndex(mine, "."):]) {
		t.Error("a caller's token is in the log")
	}
}

func TestCallers_ByServiceAccount(t *testing.T) {
	g, i := harness.NewGlobus(t, emulator.Config{}), newIssuer(t)
	a := harness.NewAuthority(t)
	var down atomic.Bool
	var reviews atomic.Int32
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Spec       struct {
				Token     string   `json:"token"`
				Audiences []string `json:"audiences"`
			} `json:"spec"`
		}
		if down.Load() || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || r.Header.Get("Authorization") != "Bearer own-token" || json.NewDecoder(r.Body).Decode(&review) != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		reviews.Add(1)
		parsed, err := jwt.ParseSigned(review.Spec.Token, []jose.SignatureAlgorithm{jose.ES256})
		claims := jwt.Claims{}
		status := map[string]any{"error": "invalid bearer token"}
		if err == nil && parsed.Claims(i.key.Public(), &claims) == nil && claims.Audience.Contains(review.Spec.Audiences[0]) {
			status = map[string]any{"authenticated": true, "audiences": review.Spec.Audiences, "user": map[string]any{"username": claims.Subject}}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": review.APIVersion, "kind": review.Kind, "status": status})
	}))
	pair := a.Pair(x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	api.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	api.StartTLS()
	t.Cleanup(api.Close)
	identity := fmt.Sprintf("  identity: {kubernetes: {audience: bearerd, url: \"%s\", ca: \"file:ca.pem\", token: \"file:own\"}}\n", api.URL)
	b := harness.Start(t, withPolicy(g, identity, "{name: me, service_account: [sim/runner]}"), harness.File("ca.pem", a.PEM), harness.File("own", "own-token\n"))
	at := b.URL + taskList
	for name, tt := range map[string]struct {
		claims map[string]any
		want   string
	}{
		"its own":           {map[string]any{"sub": "system:serviceaccount:sim:runner"}, "200"},
		"another account":   {map[string]any{"sub": "system:serviceaccount:sim:other"}, "401 caller_unknown"},
		"another namespace": {map[string]any{"sub": "system:serviceaccount:simulation:runner"}, "401 caller_unknown"},
		"another audience":  {map[string]any{"sub": "system:serviceaccount:sim:runner", "aud": "https://kubernetes.default.svc"}, "401 caller_unknown"},
	} {
		token := i.sign(t, tt.claims)
		for range 2 {
			if got := askWith(t, at, token); got != tt.want {
				t.Errorf("%s: %s, want %s", name, got, tt.want)
			}
		}
	}
	if n := reviews.Load(); n > 4 {
		t.Errorf("%d reviews of four tokens, want one each at most", n)
	}
	down.Store(true)
	if got := askWith(t, at, i.sign(t, map[string]any{"sub": "system:serviceaccount:sim:runner", "jti": "2"})); got != "503 identity_unavailable" {
		t.Errorf("while the API server is down: %s, want 503 identity_unavailable", got)
	}
}
