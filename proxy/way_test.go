package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bearerd/credentials"
	"bearerd/proxy"
	"bearerd/test/harness"
)

// failing is an upstream that answers 502 while it is told to.
func newFailing(t *testing.T) (url string, fails *atomic.Bool) {
	fails = new(atomic.Bool)
	fails.Store(true)
	return upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		if fails.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}), fails
}

// twenty requests that fail are enough to open a breaker.
func (r *rig) twenty(path string) {
	for range 20 {
		r.do("GET", path, "")
	}
}

func TestBreaker_IsOneForEachAuthority(t *testing.T) {
	url, _ := newFailing(t)
	other, _ := newFailing(t)
	s := to(t, url)
	s.upstreams["twin"] = proxy.UpstreamConfig{URL: url + "/v2", Credential: "up", InsecureHTTP: true, Private: true}
	s.upstreams["other"] = proxy.UpstreamConfig{URL: other, Credential: "none", InsecureHTTP: true, Private: true}
	s.upstreams["never"] = proxy.UpstreamConfig{URL: url + "/v3", Credential: "up", InsecureHTTP: true, Private: true, Breaker: proxy.BreakerConfig{Enabled: new(bool)}}
	s.rules = anything("up", "twin", "other", "never")
	r := newRig(t, s)
	r.twenty("/up/a")
	if got := r.Breakers(); !maps.Equal(got, map[string]string{"up": "open", "twin": "open", "other": "closed"}) {
		t.Errorf("breakers %v, want those of one host open, another's closed, and none that is not enabled", got)
	}
	for path, want := range map[string]string{"/up/a": "breaker_open", "/twin/a": "breaker_open", "/other/a": "", "/never/a": ""} {
		if got := r.do("GET", path, ""); got.code() != want {
			t.Errorf("%s: answered %d %s, want %q", path, got.status, got.code(), want)
		}
	}
	r.seen()
	r.do("GET", "/never/a", "")
	if x := r.seen()[0]; x.Attempts != 1 || x.Breaker != "" || x.UpstreamTime == 0 {
		t.Errorf("past the breaker: %d attempts, breaker %q, %v", x.Attempts, x.Breaker, x.UpstreamTime)
	}
}

func TestReload_BreakerOutlivesWhatChangesAroundIt(t *testing.T) {
	url, fails := newFailing(t)
	s := to(t, url)
	r := newRig(t, s)
	r.twenty("/up/a")
	fails.Store(false)
	up := s.upstreams["up"]
	up.Tuning.Idle, up.Limits.Concurrency, up.URL = time.Second, 7, url+"/v2"
	s.upstreams = map[string]proxy.UpstreamConfig{"up": up}
	r.Reload(r.parts(s))
	if got := r.do("GET", "/up/a", ""); got.code() != "breaker_open" {
		t.Errorf("after other settings changed: answered %d %s, want breaker_open", got.status, got.code())
	}
	up.Breaker.Enabled = new(bool)
	s.upstreams["up"] = up
	r.Reload(r.parts(s))
	if got := r.do("GET", "/up/a", ""); got.status != 200 {
		t.Errorf("with enabled: false: answered %d %s, want 200", got.status, got.code())
	}
}

func TestForward_AddressesBehindNamesAreLookedAt(t *testing.T) {
	var served atomic.Int32
	url := upstream(t, func(http.ResponseWriter, *http.Request) { served.Add(1) })
	port := url[strings.LastIndex(url, ":"):]
	s := to(t, "http://metadata.example.org"+port)
	s.resolver = proxy.Resolving(t, "127.0.0.1")
	s.upstreams["up"] = proxy.UpstreamConfig{URL: "http://metadata.example.org" + port, InsecureHTTP: true}
	r := newRig(t, s)
	for range 40 { // more than the breaker takes of what is the upstream's fault
		got := r.do("POST", "/up/a", "x")
		if got.status != 502 || got.code() != "address_refused" || !strings.Contains(got.body, "private: true") {
			t.Fatalf("answered %d %s %s, want 502 address_refused with what to write", got.status, got.code(), got.body)
		}
	}
	if served.Load() != 0 || r.Breakers()["up"] != "closed" {
		t.Errorf("%d requests arrived, breaker %s; want none, closed", served.Load(), r.Breakers()["up"])
	}
	s.upstreams["up"] = proxy.UpstreamConfig{URL: "http://metadata.example.org" + port, InsecureHTTP: true, Private: true}
	r.Reload(r.parts(s))
	if got := r.do("POST", "/up/a", "x"); got.status != 200 || served.Load() != 1 {
		t.Errorf("with private: answered %d %s", got.status, got.code())
	}
}

// patient is a connection that is closed once its client has read all it was
// sent: a refusal of its certificate reaches a client that is still sending
// its request, which a reset would take from it.
type patient struct{ net.Conn }

func (c patient) Close() error {
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.Copy(io.Discard, c.Conn)
	return c.Conn.Close()
}

type patientListener struct{ net.Listener }

func (l patientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return patient{c}, err
}

// secured is an upstream with TLS, up to that version, that says who its client is.
func secured(t *testing.T, authority *harness.Authority, version uint16) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(), MaxVersion: version,
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Listener = patientListener{server.Listener}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func writeTo(t *testing.T, path, text string) credentials.Reference {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return credentials.Reference("file:" + path)
}

func TestForward_UpstreamsHaveAuthoritiesAndCertificatesOfTheirOwn(t *testing.T) {
	authority, stranger := harness.NewAuthority(t), harness.NewAuthority(t)
	server := secured(t, authority, tls.VersionTLS13)
	dir := t.TempDir()
	ca := writeTo(t, filepath.Join(dir, "ca"), authority.PEM)
	issue := func(subject string) credentials.TLSConfig {
		template := x509.Certificate{}
		template.Subject.CommonName = subject
		certificate, key := authority.Issue(template)
		return credentials.TLSConfig{CA: ca, Certificate: writeTo(t, filepath.Join(dir, "crt"), certificate), Key: writeTo(t, filepath.Join(dir, "key"), key)}
	}
	s := to(t, server.URL)
	with := func(settings credentials.TLSConfig) {
		s.upstreams = map[string]proxy.UpstreamConfig{"up": {URL: server.URL, Private: true, TLS: settings}}
	}
	with(issue("bearerd 1"))
	r := newRig(t, s)
	if got := r.do("POST", "/up/a", "x"); got.body != "bearerd 1" {
		t.Errorf("answered %d %s %q, want bearerd 1", got.status, got.code(), got.body)
	}
	// A renewed certificate is used for the next connection, without a reload.
	issue("bearerd 2")
	server.CloseClientConnections()
	if got := r.do("GET", "/up/a", ""); got.body != "bearerd 2" {
		t.Errorf("after the file changed: answered %d %s %q, want bearerd 2", got.status, got.code(), got.body)
	}
	with(credentials.TLSConfig{})
	r.Reload(r.parts(s))
	if got := r.do("POST", "/up/a", "x"); got.status != 502 || got.code() != "upstream_unreachable" || !strings.Contains(got.body, "TLS certificate is not trusted") {
		t.Errorf("answered %d %s %q, want 502 upstream_unreachable: its certificate is not trusted", got.status, got.code(), got.body)
	}
	// Authorities are read at a reload, also where the file's name is the same.
	with(issue("bearerd 3"))
	r.Reload(r.parts(s))
	if got := r.do("GET", "/up/a", ""); got.body != "bearerd 3" {
		t.Errorf("answered %d %s %q, want bearerd 3", got.status, got.code(), got.body)
	}
	writeTo(t, filepath.Join(dir, "ca"), stranger.PEM)
	r.Reload(r.parts(s))
	if got := r.do("GET", "/up/a", ""); got.code() != "upstream_unreachable" {
		t.Errorf("after the authority was replaced: answered %d %s, want upstream_unreachable", got.status, got.code())
	}
}

// TestForward_SaysWhenItsCertificateIsRefused is about a handshake that fails, with TLS
// 1.2, and about an upstream that says so once its client may have begun to send, with 1.3.
func TestForward_SaysWhenItsCertificateIsRefused(t *testing.T) {
	const requests = 50
	authority, stranger := harness.NewAuthority(t), harness.NewAuthority(t)
	dir := t.TempDir()
	certificate, key := stranger.Issue(x509.Certificate{})
	unwanted := credentials.TLSConfig{
		CA:          writeTo(t, filepath.Join(dir, "ca"), authority.PEM),
		Certificate: writeTo(t, filepath.Join(dir, "crt"), certificate), Key: writeTo(t, filepath.Join(dir, "key"), key),
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := to(t, "")
			s.upstreams["up"] = proxy.UpstreamConfig{
				URL: secured(t, authority, version).URL, Private: true,
				Breaker: proxy.BreakerConfig{Enabled: new(false)}, TLS: unwanted,
			}
			r := newRig(t, s)
			for range requests {
				if got := r.do("POST", "/up/a", "x"); got.status != 502 || got.code() != "upstream_unreachable" || !strings.Contains(got.body, "refused bearerd's TLS certificate, or wants one") {
					t.Fatalf("answered %d %s %q, want 502 upstream_unreachable, and that the certificate was refused", got.status, got.code(), got.body)
				}
			}
		})
	}
}

func TestVia_SaysWhereARequestCameThrough(t *testing.T) {
	w := newWire(t)
	second := newRig(t, to(t, w.url))
	first := newRig(t, to(t, second.url+"/up"))
	if got := first.do("GET", "/up/a", "", "Via", "1.0 fred, 1.1 p.example.net (Apache/1.1)"); got.status != 204 {
		t.Fatalf("two bearerds in a row: answered %d %s", got.status, got.code())
	}
	head := w.received()[0]
	var passed []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if value, ok := strings.CutPrefix(line, "Via: "); ok {
			passed = append(passed, strings.Split(value, ", ")...)
		}
	}
	if len(passed) != 4 || passed[0] != "1.0 fred" || passed[1] != "1.1 p.example.net (Apache/1.1)" ||
		!strings.HasPrefix(passed[2], "1.1 bearerd-") || !strings.HasPrefix(passed[3], "1.1 bearerd-") || passed[2] == passed[3] {
		t.Errorf("the upstream was told %q, want what the caller sent and two bearerds", passed)
	}
	second.raw("GET /up/a HTTP/1.0\r\n\r\n")
	if head := w.received()[0]; !strings.Contains(head, "\r\nVia: 1.0 bearerd-") {
		t.Errorf("of a request in HTTP/1.0 the upstream received\n%s", head)
	}
}

func TestVia_ALoopEndsAtTheSecondPass(t *testing.T) {
	s := to(t, "http://127.0.0.1:1")
	r := newRig(t, s)
	up := proxy.UpstreamConfig{URL: r.url + "/up", InsecureHTTP: true, Private: true}
	s.upstreams = map[string]proxy.UpstreamConfig{"up": up}
	r.Reload(r.parts(s))
	got := r.do("POST", "/up/a", "x")
	all := r.seen()
	t.Logf("one request to a bearerd that leads to itself: %d exchanges", len(all))
	if got.status != 508 || len(all) != 2 {
		t.Fatalf("answered %d %s in %d exchanges, want 508 in two", got.status, got.code(), len(all))
	}
	refused := 0
	for _, x := range all {
		if x.Code == "loop_refused" {
			refused++
			if x.Upstream != "" {
				t.Errorf("refused at upstream %s, want before it is looked for", x.Upstream)
			}
		}
	}
	if refused != 1 {
		t.Errorf("%d were refused, want the second", refused)
	}
}
