package provider

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"bearerd/credentials"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// granted is a row of `bearerd token --json --reveal`.
type granted struct {
	Token     string   `json:"access_token"`
	ExpiresIn int64    `json:"expires_in"`
	Scopes    []string `json:"scopes_granted"`
	Warning   string   `json:"warning"`
}

// ask has bearerd ask the provider as a client, and returns what came and what was said.
func ask(t *testing.T, p *Provider, client, scopes string, files map[string]string) ([]granted, string) {
	t.Helper()
	dir := t.TempDir()
	files["config.yaml"] = fmt.Sprintf(`proxy:
  upstreams: {example: {url: "https://api.example.org"}}
credentials:
  clients: {corp: {private: true, %s, tls: {ca: "file:%s/ca.pem"%s}}}
  tokens: {example: {scopes: [%s]}}
policy:
  rules: [{name: read, callers: [local], upstreams: [example], methods: [GET], paths: [/**]}]
`, client, p.Dir, files["more tls"], scopes)
	delete(files, "more tls")
	for name, text := range files {
		p.check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	command := exec.Command(harness.Binary(t), "token", "--json", "--reveal")
	command.Dir = dir
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	_ = command.Run() // its outcome is what it says
	var rows []granted
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatalf("bearerd said %s", errs.String())
	}
	return rows, errs.String()
}

func TestProvider_TakesEveryProof(t *testing.T) {
	p := Start(t)
	assertion := func() string { return p.assertion(t, "es256", p.Issuer+"/token") }
	certificate := fmt.Sprintf(`, certificate: "file:%s/client.pem", key: "file:%s/client.key"`, p.Dir, p.Dir)
	for _, tt := range []struct{ name, client, config, moreTLS string }{
		{"client_secret_basic", "basic", `token_url: ISSUER/token, client_id: basic, client_secret: file:secret`, ""},
		{"client_secret_post", "post", `token_url: ISSUER/token, client_id: post, auth: client_secret_post, client_secret: file:secret`, ""},
		{"discovery", "basic", `issuer: ISSUER, client_id: basic, client_secret: file:secret`, ""},
		{"private_key_jwt RS256", "rs256", `issuer: ISSUER, client_id: rs256, auth: private_key_jwt, private_key: "file:DIR/rsa.key"`, ""},
		{"private_key_jwt PS256", "ps256", `issuer: ISSUER, client_id: ps256, auth: private_key_jwt, private_key: "file:DIR/rsa.key", algorithm: PS256, key_id: by-hand, audience: issuer`, ""},
		{"private_key_jwt ES256", "es256", `token_url: ISSUER/token, client_id: es256, auth: private_key_jwt, private_key: "file:DIR/ec.jwk"`, ""},
		{"tls_client_auth", "mtls", `issuer: ISSUER, client_id: mtls, auth: tls_client_auth`, certificate},
		{"federated", "es256", `issuer: ISSUER, client_id: es256, auth: federated, assertion: file:assertion`, ""},
		{"the second secret", "rotated", `token_url: ISSUER/token, client_id: rotated, client_secret: [file:secret, file:next]`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := p.Seen().Grants[tt.client]
			config := strings.NewReplacer("ISSUER", `"`+p.Issuer+`"`, "DIR", p.Dir).Replace(strings.ReplaceAll(tt.config, "ISSUER/token", `"`+p.Issuer+`/token"`))
			rows, errs := ask(t, p, config, "read", map[string]string{"secret": Secret, "next": AnotherSecret, "assertion": assertion(), "more tls": tt.moreTLS})
			if len(rows) != 1 || rows[0].Token == "" || rows[0].ExpiresIn < 590 || strings.Join(rows[0].Scopes, " ") != "read" {
				t.Fatalf("%d rows, and bearerd said %s", len(rows), errs)
			}
			if got := p.Seen().Grants[tt.client] - before; got != 1 {
				t.Errorf("the provider counts %d grants, want 1", got)
			}
		})
	}
	seen := p.Seen()
	if alias, _ := url.Parse(p.Alias); seen.Hosts[alias.Host] != 1 {
		t.Errorf("token requests by host %v, want that of the client with a certificate at mtls_endpoint_aliases", seen.Hosts)
	}
	t.Logf("oidc-provider took every proof: grants by client %v", seen.Grants)
}

// assertion is one that another signs for a client, as a platform does.
func (p *Provider) assertion(t *testing.T, client, audience string) string {
	t.Helper()
	var key jose.JSONWebKey
	p.check(json.Unmarshal(p.read("ec.jwk"), &key))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	p.check(err)
	now := time.Now()
	text, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: client, Subject: client, Audience: jwt.Audience{audience}, ID: fmt.Sprint(now.UnixNano()),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
	p.check(err)
	return text
}

func TestProvider_RefusalsHaveTheirClass(t *testing.T) {
	p := Start(t)
	used := p.assertion(t, "es256", p.Issuer+"/token")
	base := `token_url: "` + p.Issuer + `/token", `
	basic := base + `client_id: basic, client_secret: file:secret`
	federated := base + `client_id: es256, auth: federated, assertion: file:assertion`
	if rows, errs := ask(t, p, federated, "read", map[string]string{"assertion": used}); len(rows) != 1 || rows[0].Token == "" {
		t.Fatalf("a fresh assertion: %s", errs)
	}
	for _, tt := range []struct{ name, config, scopes, secret, want string }{
		{"wrong secret", basic, "read", "not-the-secret", "(client, 401 invalid_client)"},
		{"a client that is not there", base + `client_id: nobody, client_secret: file:secret`, "read", Secret, "(client, 401 invalid_client)"},
		{"a scope that is not for it", basic, "admin", Secret, "(scope, 400 invalid_scope)"},
		{"two resources, of which it gives one", basic + `, parameters: {resource: [https://a.example.org, https://b.example.org]}`, "read", Secret, "(scope, 400 invalid_target)"},
		{"an assertion used before", federated, "read", Secret, "(client, 401 invalid_client)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("the provider saw %+v", p.Seen())
				}
			}()
			rows, errs := ask(t, p, tt.config, tt.scopes, map[string]string{"secret": tt.secret, "assertion": used})
			if len(rows) != 1 || rows[0].Token != "" || !strings.Contains(errs, tt.want) {
				t.Errorf("bearerd said %q, want %q", errs, tt.want)
			}
			if strings.Contains(errs, tt.secret) {
				t.Error("the secret is in what bearerd said")
			}
		})
	}
}

// A scope that nobody knows is left out by this provider without a word.
func TestProvider_AScopeThatIsMissingFromTheAnswerIsToldOf(t *testing.T) {
	p := Start(t)
	rows, errs := ask(t, p, `issuer: "`+p.Issuer+`", client_id: basic, client_secret: file:secret`, "read, nobody-knows", map[string]string{"secret": Secret})
	if len(rows) != 1 || rows[0].Token == "" || rows[0].Warning != "not granted: nobody-knows" {
		t.Errorf("rows %d, said %s; want a token and a warning", len(rows), errs)
	}
}

func TestProvider_AResourceBecomesTheTokensAudience(t *testing.T) {
	p := Start(t)
	rows, errs := ask(t, p, `issuer: "`+p.Issuer+`", client_id: basic, client_secret: file:secret, parameters: {resource: https://api.example.org/a}`,
		"read", map[string]string{"secret": Secret})
	if len(rows) != 1 || rows[0].Token == "" {
		t.Fatalf("bearerd said %s", errs)
	}
	parts := strings.Split(rows[0].Token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	var claims struct {
		Audience string `json:"aud"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Audience != "https://api.example.org/a" {
		t.Errorf("the token is for %q, %v; want the resource", claims.Audience, err)
	}
}

// Its first request finds the issuer down; nothing is restarted.
func TestProvider_ThatIsDownAtFirstDelays(t *testing.T) {
	p := Start(t)
	p.check(p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	secret := filepath.Join(t.TempDir(), "secret")
	p.check(os.WriteFile(secret, []byte(Secret), 0o600))
	cfg := credentials.Config{
		Clients: map[string]credentials.ClientConfig{"c": {
			Issuer: p.Issuer, Private: true, ClientID: "basic", ClientSecret: credentials.References{credentials.Reference("file:" + secret)},
		}},
		Tokens: map[string]credentials.TokenConfig{"a": {Scopes: []string{"read"}}},
	}
	cfg.Resolve(mistakes{t})
	set, err := credentials.NewSet(cfg, credentials.Deps{Transport: &http.Transport{}}, nil)
	p.check(err)
	authorizer, _ := set.Authorizer("a")
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://api.example.org", nil)
	if _, err := authorizer.Authorize(req); err == nil || !strings.Contains(err.Error(), "(network)") {
		t.Errorf("Authorize() = %v, want class network", err)
	}
}

type mistakes struct{ *testing.T }

func (m mistakes) Add(path []any, format string, args ...any) {
	m.Errorf("%v: "+format, append([]any{path}, args...)...)
}
func (m mistakes) Unknown(path []any, kind, name string, _ []string) {
	m.Add(path, "no %s %q", kind, name)
}
