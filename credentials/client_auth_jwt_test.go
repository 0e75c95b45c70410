package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// inFile is a reference to a file of mode 0600 that holds text.
func inFile(t *testing.T, text string) Reference {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Reference("file:" + path)
}

func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// keys are an RSA and a P-256 key in each form that may be written.
func privateKeys(t *testing.T) (rsaKey *rsa.PrivateKey, ecKey *ecdsa.PrivateKey, forms map[string]string) {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if ecKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf(t, "PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	jwk, _ := json.Marshal(jose.JSONWebKey{Key: ecKey, KeyID: "from-jwk"})
	return rsaKey, ecKey, map[string]string{
		"rsa pkcs8": pkcs8(rsaKey), "rsa pkcs1": pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil),
		"ec pkcs8": pkcs8(ecKey), "ec sec1": pemOf(t, "EC PRIVATE KEY", sec1, err), "ec jwk": string(jwk),
	}
}

func TestJWTAuth_SignsANewAssertionForEachRequest(t *testing.T) {
	rsaKey, ecKey, forms := privateKeys(t)
	for _, tt := range []struct{ form, algorithm, keyID, want, wantKeyID string }{
		{"rsa pkcs8", "", "", "RS256", ""},
		{"rsa pkcs1", "PS256", "k1", "PS256", "k1"},
		{"ec pkcs8", "", "", "ES256", ""},
		{"ec sec1", "ES256", "", "ES256", ""},
		{"ec jwk", "", "", "ES256", "from-jwk"},
		{"ec jwk", "", "by-hand", "ES256", "by-hand"},
	} {
		t.Run(tt.form+" "+tt.algorithm+tt.keyID, func(t *testing.T) {
			auth := jwtAuth{id: "client", key: inFile(t, forms[tt.form]), keyID: tt.keyID, algorithm: tt.algorithm}
			seen := map[string]bool{}
			for range 3 {
				form := url.Values{}
				if err := auth.Prove(t.Context(), tokenURL, http.Header{}, form); err != nil {
					t.Fatal(err)
				}
				if form.Get("client_id") != "client" || form.Get("client_assertion_type") != assertionType {
					t.Errorf("form %v", form)
				}
				signed, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(tt.want)})
				if err != nil {
					t.Fatalf("the assertion is not signed with %s: %v", tt.want, err)
				}
				var public any = &rsaKey.PublicKey
				if strings.HasPrefix(tt.form, "ec") {
					public = &ecKey.PublicKey
				}
				var claims jwt.Claims
				if err := signed.Claims(public, &claims); err != nil {
					t.Fatal(err)
				}
				expected := jwt.Expected{Issuer: "client", Subject: "client", AnyAudience: jwt.Audience{tokenURL}, Time: time.Now()}
				if err := claims.ValidateWithLeeway(expected, 0); err != nil {
					t.Error(err)
				}
				if life := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); life != assertionLife || len(claims.Audience) != 1 {
					t.Errorf("an assertion for %v that lives %v", claims.Audience, life)
				}
				if got := signed.Headers[0].KeyID; got != tt.wantKeyID {
					t.Errorf("kid %q, want %q", got, tt.wantKeyID)
				}
				if claims.ID == "" || seen[claims.ID] {
					t.Error("a jti is used twice, or missing")
				}
				seen[claims.ID] = true
			}
		})
	}
}

func TestConfig_NotesWhatAnAuthLacksAndWhatBelongsToAnother(t *testing.T) {
	_, _, forms := privateKeys(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), nil)
	for _, tt := range []struct {
		name   string
		client ClientConfig
		want   string // "": nothing
	}{
		{"a key in PEM", ClientConfig{Auth: "private_key_jwt", PrivateKey: inFile(t, forms["rsa pkcs8"])}, ""},
		{"no private_key", ClientConfig{Auth: "private_key_jwt"}, "clients.c.private_key: missing, and auth private_key_jwt needs it"},
		{"a key that is none", ClientConfig{Auth: "private_key_jwt", PrivateKey: inFile(t, canary)}, "holds no private key that can sign"},
		{"a weak key", ClientConfig{Auth: "private_key_jwt", PrivateKey: inFile(t, weak)}, "holds no private key that can sign"},
		{"an algorithm for another key", ClientConfig{Auth: "private_key_jwt", PrivateKey: inFile(t, forms["ec jwk"]), Algorithm: "PS256"}, "does not fit algorithm PS256; write ES256"},
		{"an unknown algorithm", ClientConfig{Auth: "private_key_jwt", PrivateKey: inFile(t, forms["ec jwk"]), Algorithm: "none"}, `clients.c.algorithm: no algorithm "none"`},
		{"the issuer for audience, and none", ClientConfig{Auth: "private_key_jwt", PrivateKey: inFile(t, forms["ec jwk"]), Audience: "issuer"}, "clients.c.audience: there is no issuer"},
		{"a key for a secret", ClientConfig{PrivateKey: inFile(t, forms["ec jwk"]), ClientSecret: References{inFile(t, "s")}}, "clients.c.private_key: means nothing to auth client_secret_basic; leave it out, or write auth: private_key_jwt"},
		{"a secret for a key", ClientConfig{Auth: "private_key_jwt", PrivateKey: inFile(t, forms["ec jwk"]), ClientSecret: References{inFile(t, "s")}}, "clients.c.client_secret: means nothing to auth private_key_jwt"},
		{"no assertion", ClientConfig{Auth: "federated"}, "clients.c.assertion: missing"},
		{"an assertion that is not there", ClientConfig{Auth: "federated", Assertion: "file:/nowhere/at/all"}, "clients.c.assertion: file /nowhere/at/all cannot be opened"},
		{"an assertion", ClientConfig{Auth: "federated", Assertion: inFile(t, "a.b.c")}, ""},
		{"no certificate", ClientConfig{Auth: "tls_client_auth"}, "clients.c.tls: certificate and key are missing"},
		{"half a certificate", ClientConfig{Auth: "tls_client_auth", TLS: TLSConfig{Certificate: inFile(t, "x")}}, "clients.c.tls: certificate and key go together"},
		{"a certificate that is none", ClientConfig{Auth: "tls_client_auth", TLS: TLSConfig{Certificate: inFile(t, canary), Key: inFile(t, canary)}}, "clients.c.tls.certificate: "},
		{"authorities that are none", ClientConfig{ClientSecret: References{inFile(t, "s")}, TLS: TLSConfig{CA: inFile(t, canary)}}, "clients.c.tls.ca: "},
		{"a proxy that is none", ClientConfig{ClientSecret: References{inFile(t, "s")}, ProxyURL: "proxy:3128"}, "clients.c.proxy_url: not the URL of a forward proxy"},
		{"a proxy with a password", ClientConfig{ClientSecret: References{inFile(t, "s")}, ProxyURL: "http://u:" + "hidden@proxy:1"}, "clients.c.proxy_url: holds a password"},
		{"a long timeout", ClientConfig{ClientSecret: References{inFile(t, "s")}, Timeout: time.Hour}, "clients.c.timeout: 1h0m0s is not between"},
		{"the second of two secrets", ClientConfig{ClientSecret: References{inFile(t, "s"), "file:/nowhere"}}, "clients.c.client_secret[1]: file /nowhere cannot be opened"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.client.TokenURL, tt.client.ClientID = tokenURL, "id"
			cfg := Config{Clients: map[string]ClientConfig{"c": tt.client}}
			var mistakes noted
			cfg.Resolve(&mistakes)
			if got := strings.Join(mistakes.lines, "\n"); !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") || len(mistakes.lines) > 1 {
				t.Errorf("Resolve noted %q, want %q alone", got, tt.want)
			} else {
				wantNothingOf(t, "the mistake", got, canary)
				wantNothingOf(t, "the mistake", got, "hidden")
			}
		})
	}
}

func TestConfig_NotesIssuerAndTokenURLTogether(t *testing.T) {
	for _, tt := range []struct {
		client ClientConfig
		want   string
	}{
		{ClientConfig{Issuer: "https://auth.example.org"}, ""},
		{ClientConfig{Issuer: "https://auth.example.org", TokenURL: tokenURL}, "clients.c.issuer: there is a token_url too"},
		{ClientConfig{Issuer: "http://auth.example.org"}, "clients.c.issuer: \"http://auth.example.org\" would send"},
		{ClientConfig{Issuer: "auth"}, "clients.c.issuer: not a URL; write one such as https://auth.example.org"},
	} {
		tt.client.ClientID, tt.client.ClientSecret = "id", References{inFile(t, "s")}
		cfg := Config{Clients: map[string]ClientConfig{"c": tt.client}}
		var mistakes noted
		cfg.Resolve(&mistakes)
		if got := strings.Join(mistakes.lines, "\n"); !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("Resolve noted %q, want %q", got, tt.want)
		}
	}
}
