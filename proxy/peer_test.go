package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"testing"

	"bearerd/policy"
	"bearerd/test/harness"
)

// TestPeerSANs_AreTheVerifiedCertificatesOwnNames over real connections.
func TestPeerSANs_AreTheVerifiedCertificatesOwnNames(t *testing.T) {
	authority, foreign := harness.NewAuthority(t), harness.NewAuthority(t)
	id := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	named := x509.Certificate{
		Subject: pkix.Name{CommonName: "cn.example.org"}, URIs: []*url.URL{id("spiffe://example.org/ns/sim/sa/runner")},
		DNSNames: []string{"CI.example.org", "*.example.org"}, EmailAddresses: []string{"cron@example.org"},
	}
	for _, tt := range []struct {
		name   string
		by     *harness.Authority
		names  x509.Certificate
		verify tls.ClientAuthType
		want   []policy.SAN
	}{
		{"every kind of name", authority, named, tls.RequireAndVerifyClientCert, []policy.SAN{
			{Kind: "uri", Value: "spiffe://example.org/ns/sim/sa/runner"}, {Kind: "dns", Value: "CI.example.org"},
			{Kind: "dns", Value: "*.example.org"}, {Kind: "email", Value: "cron@example.org"}}},
		{"a common name alone is none", authority, x509.Certificate{Subject: pkix.Name{CommonName: "ci.example.org"}}, tls.RequireAndVerifyClientCert, nil},
		{"one that nobody verified has none", foreign, named, tls.RequireAnyClientCert, nil},
	} {
		var got []policy.SAN
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = peerSANs(r) }))
		server.TLS = &tls.Config{ClientAuth: tt.verify, ClientCAs: authority.Pool()}
		server.StartTLS()
		client := server.Client()
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{tt.by.Pair(tt.names)}
		resp, err := client.Get(server.URL)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		_ = resp.Body.Close()
		server.Close()
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := peerSANs(&http.Request{}); got != nil {
		t.Errorf("without TLS: %v", got)
	}
}

// TestPeerUser_IsKnownThroughTLS where a user's system has it at all.
func TestPeerUser_IsKnownThroughTLS(t *testing.T) {
	var got string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if user := peerUser(r.Context()); user != nil {
			got = fmt.Sprint(user.Self)
		}
	}))
	server.Config.ConnContext = ConnContext
	server.StartTLS()
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got != "true" && runtime.GOOS == "linux" {
		t.Errorf("our own process is taken for ourselves: %q, want true", got)
	}
}
