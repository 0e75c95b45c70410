package provider

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"bearerd/policy"
	"bearerd/policy/identity"
)

const (
	ours   = "https://bearerd.example.org"
	theirs = "https://other.example.org"
)

// issue has the provider make a JWT for an audience (RFC 8707, RFC 9068).
func (p *Provider) issue(client *http.Client, audience string) string {
	p.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}, "resource": {audience}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, p.Issuer+"/token", strings.NewReader(form.Encode()))
	p.check(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("basic", url.QueryEscape(Secret))
	resp, err := client.Do(req)
	p.check(err)
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Token string `json:"access_token"`
	}
	p.check(json.NewDecoder(resp.Body).Decode(&answer))
	if strings.Count(answer.Token, ".") != 2 {
		p.t.Fatalf("the provider answered with %d and no JWT", resp.StatusCode)
	}
	return answer.Token
}

// counted counts requests by path.
type counted struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *counted) RoundTrip(req *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(req)
}

func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func decoded(t *testing.T, part string) (object map[string]any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// with returns a copy with one change; nil takes the name out.
func with(object map[string]any, name string, value any) map[string]any {
	made := map[string]any{}
	for key, old := range object {
		made[key] = old
	}
	if made[name] = value; value == nil {
		delete(made, name)
	}
	return made
}

// signed signs with the provider's own key, as it never would.
func (p *Provider) signed(header, claims map[string]any) string {
	options := &jose.SignerOptions{}
	for name, value := range header {
		if name != "alg" {
			options.WithHeader(jose.HeaderKey(name), value)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: p.signing}, options)
	p.check(err)
	data, err := json.Marshal(claims)
	p.check(err)
	made, err := signer.Sign(data)
	p.check(err)
	text, err := made.CompactSerialize()
	p.check(err)
	return text
}

func TestProvider_ItsJWTsIdentifyCallers(t *testing.T) {
	p := Start(t)
	client := p.client()
	way := &counted{RoundTripper: client.Transport}
	token, foreign := p.issue(client, ours), p.issue(client, theirs)
	newVerifier := func(change func(*policy.JWTConfig)) policy.Verifier {
		cfg := policy.JWTConfig{Issuer: p.Issuer, Audience: ours}
		if change != nil {
			change(&cfg)
		}
		return identity.NewJWT("corp", cfg, way)
	}
	v := newVerifier(nil)
	for range 20 {
		proof, err := v.Verify(context.Background(), token)
		if !v.Claims(token) || err != nil {
			t.Fatalf("Verify() = %v", err)
		}
		if proof.Issuer != "corp" || proof.Claims["client_id"] != "basic" || proof.Claims["aud"] != ours || proof.Claims["scope"] != "read" {
			t.Fatalf("proof = %+v", proof)
		}
	}
	if n := way.n.Load(); n != 2 {
		t.Errorf("20 uses of a token caused %d requests, want the metadata and the keys", n)
	}

	parts := strings.Split(token, ".")
	header, claims := decoded(t, parts[0]), decoded(t, parts[1])
	resp, err := client.Get(p.Issuer + "/jwks")
	p.check(err)
	shown, err := io.ReadAll(resp.Body)
	p.check(err)
	_ = resp.Body.Close()
	hs256 := encoded(with(header, "alg", "HS256")) + "." + parts[1]
	mac := hmac.New(sha256.New, bytes.TrimSpace(shown))
	mac.Write([]byte(hs256))
	now := time.Now().Unix()
	control := p.signed(header, claims)
	if _, err := v.Verify(context.Background(), control); err != nil {
		t.Fatalf("signed with the provider's key: %v", err) // or the rows below would prove nothing
	}

	refused := 0
	for _, tt := range []struct{ name, token string }{
		{"for another", foreign},
		{"alg none", encoded(with(header, "alg", "none")) + "." + parts[1] + "."},
		{"alg none and the signature", encoded(with(header, "alg", "none")) + "." + parts[1] + "." + parts[2]},
		{"HS256 with the public keys as the secret", hs256 + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))},
		{"PS256 of the same signature", encoded(with(header, "alg", "PS256")) + "." + parts[1] + "." + parts[2]},
		{"another client's name", parts[0] + "." + encoded(with(claims, "client_id", "admin")) + "." + parts[2]},
		{"a longer life", parts[0] + "." + encoded(with(claims, "exp", now+86400)) + "." + parts[2]},
		{"our audience in another's token", strings.Split(foreign, ".")[0] + "." + parts[1] + "." + strings.Split(foreign, ".")[2]},
		{"no signature", parts[0] + "." + parts[1] + "."},
		{"a signature cut short", token[:len(token)-4]},
		{"an unknown key", encoded(with(header, "kid", "unknown")) + "." + parts[1] + "." + parts[2]},
		{"a key that is a URL", encoded(with(header, "kid", p.Issuer+"/jwks")) + "." + parts[1] + "." + parts[2]},
		{"keys elsewhere", encoded(with(header, "jku", "https://127.0.0.1:1/keys")) + "." + parts[1] + "." + parts[2]},
		{"expired, signed by the provider", p.signed(header, with(claims, "exp", now-1))},
		{"without an end, signed by the provider", p.signed(header, with(claims, "exp", nil))},
		{"not good yet, signed by the provider", p.signed(header, with(claims, "nbf", now+3600))},
		{"without an audience, signed by the provider", p.signed(header, with(claims, "aud", nil))},
		{"another issuer, signed by the provider", p.signed(header, with(claims, "iss", p.Issuer+"/"))},
		{"an unknown key's id, signed by the provider", p.signed(with(header, "kid", "t"), claims)},
		{"crit, signed by the provider", p.signed(with(header, "crit", []string{"exp"}), claims)},
		{"huge, signed by the provider", p.signed(header, with(claims, "filler", strings.Repeat("x", 8<<10)))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proof, err := v.Verify(context.Background(), tt.token)
			if proof != nil || !errors.Is(err, policy.ErrNotGood) {
				t.Fatalf("Verify() = %v, %v; want one that is not good", proof, err)
			}
			if strings.Contains(err.Error(), parts[1][:20]) || strings.Contains(err.Error(), parts[2][:20]) {
				t.Errorf("the error %q holds some of the token", err)
			}
			refused++
		})
	}
	if n := way.n.Load(); n != 2 {
		t.Errorf("the forged tokens caused %d requests", n-2)
	}
	for name, change := range map[string]func(*policy.JWTConfig){
		"another audience":   func(cfg *policy.JWTConfig) { cfg.Audience = theirs },
		"another algorithm":  func(cfg *policy.JWTConfig) { cfg.Algorithms = []string{"ES256"} },
		"a slash at the end": func(cfg *policy.JWTConfig) { cfg.Issuer += "/" },
	} {
		if _, err := newVerifier(change).Verify(context.Background(), token); !errors.Is(err, policy.ErrNotGood) {
			t.Errorf("configured with %s: %v", name, err)
		}
	}
	if _, err := newVerifier(func(cfg *policy.JWTConfig) { cfg.JWKS = p.Issuer + "/jwks" }).Verify(context.Background(), token); err != nil {
		t.Errorf("configured with the place of the keys: %v", err)
	}
	p.check(p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	if _, err := v.Verify(context.Background(), token); err != nil {
		t.Errorf("the provider is gone, the keys are known: %v", err)
	}
	if _, err := newVerifier(nil).Verify(context.Background(), token); !errors.Is(err, policy.ErrCannotTell) {
		t.Errorf("the provider is gone before its keys were had: %v", err)
	}
	t.Logf("oidc-provider: its JWT taken 20 times after 2 requests; %d forged or foreign ones, 0 taken, 0 requests", refused)
}
