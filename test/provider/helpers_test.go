// Package provider starts a real OpenID provider, oidc-provider on Node, for tests.
package provider

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"bearerd/test/harness"
)

// Secret is that of the clients basic and post. Form-encoding changes every
// special character in it.
const Secret = "of-the-provider+and/more==%&:"

// AnotherSecret is that of the client rotated.
const AnotherSecret = "the-next-secret-of-a-client-that-had-another"

// Provider is a running one. Its clients are basic, post, rs256, ps256, es256, mtls
// and rotated; scopes read and write (admin is nobody's); any resource (RFC 8707), one at a time.
type Provider struct {
	Issuer string // https://127.0.0.1:PORT
	Alias  string // the token endpoint for clients with certificates, on another host name
	Dir    string // ca.pem, client.pem and client.key of mtls, rsa.key (PEM) and ec.jwk

	t       testing.TB
	cmd     *exec.Cmd
	signing *rsa.PrivateKey // signs its tokens by RS256, under the id s
}

// Seen is what a provider was asked.
type Seen struct {
	Grants map[string]int // by client
	Errors []string       // OAuth's codes
	Hosts  map[string]int // token requests by the Host they were sent to
}

// Start starts one; it ends with the test.
func Start(t testing.TB) *Provider {
	t.Helper()
	modules, err := filepath.Abs("../../.cache/provider")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "installed")); err != nil {
		harness.Missing(t, "oidc-provider is not installed; run make provider")
	}
	if _, err := exec.LookPath("node"); err != nil {
		harness.Missing(t, "node is not installed")
	}
	port := harness.FreePort(t)
	p := &Provider{
		Issuer: fmt.Sprintf("https://127.0.0.1:%d", port), Alias: fmt.Sprintf("https://localhost:%d/token", port),
		Dir: t.TempDir(), t: t,
	}
	p.configure(port)
	script, err := os.ReadFile("javascript/server.mjs")
	if err != nil {
		t.Fatal(err)
	}
	// Node finds modules beside the script.
	here := filepath.Join(p.Dir, "server.mjs")
	p.check(os.WriteFile(here, script, 0o600))
	p.check(os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(p.Dir, "node_modules")))
	p.cmd = exec.Command("node", here, filepath.Join(p.Dir, "settings.json"))
	p.cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1")
	out, err := p.cmd.StdoutPipe()
	p.check(err)
	p.cmd.Stderr = p.cmd.Stdout
	p.check(p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "listening" {
			return p
		}
		said.WriteString(lines.Text() + "\n")
	}
	t.Fatalf("the provider did not start: %s", said.String())
	return nil
}

func (p *Provider) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// Seen asks the provider.
func (p *Provider) Seen() Seen {
	p.t.Helper()
	resp, err := p.client().Get(p.Issuer + "/_seen")
	p.check(err)
	defer func() { _ = resp.Body.Close() }()
	var seen Seen
	p.check(json.NewDecoder(resp.Body).Decode(&seen))
	return seen
}

// client trusts the provider, and keeps no connection.
func (p *Provider) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.read("ca.pem"))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
}

func (p *Provider) read(name string) []byte {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.Dir, name))
	p.check(err)
	return data
}

// configure makes keys and certificates, and writes the provider's settings.
func (p *Provider) configure(port int) {
	p.t.Helper()
	caKey, caCert := p.certificate("ca", nil, nil)
	p.certificate("server", caKey, caCert)
	p.certificate("client", caKey, caCert)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	p.check(err)
	p.writeKey("rsa.key", rsaKey)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.check(err)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: ecKey, KeyID: "ec-1", Algorithm: "ES256", Use: "sig"})
	p.check(err)
	p.check(os.WriteFile(filepath.Join(p.Dir, "ec.jwk"), jwk, 0o600))
	p.signing, err = rsa.GenerateKey(rand.Reader, 2048)
	p.check(err)

	type object = map[string]any
	client := func(id, auth string, more object) object {
		made := object{
			"client_id": id, "token_endpoint_auth_method": auth, "grant_types": []string{"client_credentials"},
			"redirect_uris": []string{}, "response_types": []string{}, "scope": "read write",
		}
		for key, value := range more {
			made[key] = value
		}
		return made
	}
	signer := func(id, algorithm string, key any, keyID string) object {
		set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: keyID, Use: "sig"}}}
		return client(id, "private_key_jwt", object{"token_endpoint_auth_signing_alg": algorithm, "jwks": set})
	}
	settings, err := json.Marshal(object{
		"issuer": p.Issuer, "alias": p.Alias, "port": port,
		"certificate": filepath.Join(p.Dir, "server.pem"), "key": filepath.Join(p.Dir, "server.key"), "ca": filepath.Join(p.Dir, "ca.pem"),
		"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.signing, KeyID: "s", Algorithm: "RS256", Use: "sig"}}},
		"clients": []object{
			client("basic", "client_secret_basic", object{"client_secret": Secret}),
			client("post", "client_secret_post", object{"client_secret": Secret}),
			client("rotated", "client_secret_basic", object{"client_secret": AnotherSecret}),
			signer("rs256", "RS256", &rsaKey.PublicKey, ""),
			signer("ps256", "PS256", &rsaKey.PublicKey, "by-hand"),
			signer("es256", "ES256", &ecKey.PublicKey, "ec-1"),
			client("mtls", "tls_client_auth", object{"tls_client_auth_san_dns": "client.example.org"}),
		},
	})
	p.check(err)
	p.check(os.WriteFile(filepath.Join(p.Dir, "settings.json"), settings, 0o600))
}

// certificate makes NAME.pem and NAME.key, signed by the authority, or by itself.
func (p *Provider) certificate(name string, caKey *ecdsa.PrivateKey, ca *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	switch name {
	case "ca":
		template.IsCA, template.KeyUsage, ca, caKey = true, x509.KeyUsageCertSign, template, key
	case "server":
		template.IPAddresses, template.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	case "client":
		template.DNSNames = []string{"client.example.org"}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	p.check(err)
	p.check(os.WriteFile(filepath.Join(p.Dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	p.writeKey(name+".key", key)
	made, err := x509.ParseCertificate(der)
	p.check(err)
	return key, made
}

func (p *Provider) writeKey(name string, key any) {
	p.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	p.check(err)
	p.check(os.WriteFile(filepath.Join(p.Dir, name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}
