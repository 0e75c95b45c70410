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
	names := func(own tls.Certificate, verify tls.ClientAuthType, http2 bool) (got []policy.SAN) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got = peerSANs(r); r.ProtoAtLeast(2, 0) != http2 {
				t.Errorf("it is spoken %s to", r.Proto)
			}
		}))
		server.TLS, server.EnableHTTP2 = &tls.Config{ClientAuth: verify, ClientCAs: authority.Pool()}, http2
		server.StartTLS()
		defer server.Close()
		client := server.Client()
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{own}
		resp, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return got
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
		for _, http2 := range []bool{false, true} {
			if got := names(tt.by.Pair(tt.names), tt.verify, http2); !slices.Equal(got, tt.want) {
				t.Errorf("%s, in HTTP/2 %v: %v, want %v", tt.name, http2, got, tt.want)
			}
		}
	}
	if got := peerSANs(&http.Request{}); got != nil {
		t.Errorf("without TLS: %v", got)
	}
}

// TestPeerUser_IsKnownThroughTLS where a user's system has it at all.
func TestPeerUser_IsKnownThroughTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var got string
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if user := peerUser(r.Context()); user != nil {
				got = fmt.Sprint(user.Self)
			}
		}))
		server.Config.ConnContext, server.EnableHTTP2 = ConnContext, http2
		server.StartTLS()
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		server.Close()
		if got != "true" && runtime.GOOS == "linux" {
			t.Errorf("our own process is taken for ourselves: %q, want true; in HTTP/2: %v", got, http2)
		}
	}
}
