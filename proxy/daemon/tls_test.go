package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/credentials"
	"bearerd/proxy"
	"bearerd/test/harness"
)

// tlsFiles are a listener's files, in a directory that is swapped as a whole, as
// Kubernetes does.
type tlsFiles struct {
	t    *testing.T
	dir  string
	next int
}

func newTLSFiles(t *testing.T) *tlsFiles { return &tlsFiles{t: t, dir: t.TempDir()} }

// put writes certificate, key and authorities and makes them current, all at once.
func (f *tlsFiles) put(certificate, key, authorities string) {
	f.t.Helper()
	f.next++
	version := fmt.Sprintf("..%d", f.next)
	at := func(name string) string { return filepath.Join(f.dir, name) }
	err := os.Mkdir(at(version), 0o755)
	for name, text := range map[string]string{"tls.crt": certificate, "tls.key": key, "ca.crt": authorities} {
		err = errors.Join(err, os.WriteFile(filepath.Join(at(version), name), []byte(text), 0o600))
		if f.next == 1 {
			err = errors.Join(err, os.Symlink(filepath.Join("..data", name), at(name)))
		}
	}
	if err = errors.Join(err, os.Symlink(version, at("..next")), os.Rename(at("..next"), at("..data"))); err != nil {
		f.t.Fatal(err)
	}
}

func (f *tlsFiles) config(withClients bool) proxy.ListenerTLS {
	ref := func(name string) credentials.Reference {
		return credentials.Reference("file:" + filepath.Join(f.dir, name))
	}
	c := proxy.ListenerTLS{Certificate: ref("tls.crt"), Key: ref("tls.key")}
	if withClients {
		c.ClientCA = ref("ca.crt")
	}
	return c
}

// serveTLS serves as d.listen does, and says who the client's certificate names.
func serveTLS(t *testing.T, c *certificates) (address string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, shown := range r.TLS.PeerCertificates {
			_, _ = io.WriteString(w, strings.Join(shown.DNSNames, " "))
		}
	}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(tls.NewListener(l, c.config())) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// ask makes one request on a connection of its own.
func ask(address string, settings *tls.Config) (body string, state tls.ConnectionState, err error) {
	conn, err := tls.Dial("tcp4", address, settings)
	if err != nil {
		return "", state, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // a hang is a failure, not a wait
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return "", state, err
	}
	answer, err := io.ReadAll(conn)
	_, body, _ = strings.Cut(string(answer), "\r\n\r\n")
	return body, conn.ConnectionState(), err
}

func client(server *harness.Authority, own ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: server.Pool(), ServerName: "localhost", Certificates: own, NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

func TestTLS_ServesWithACertificateOnly(t *testing.T) {
	authority := harness.NewAuthority(t)
	files := newTLSFiles(t)
	files.put(twice(authority.IssueServer())(""))
	c, err := newCertificates(files.config(false), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, c)
	settings := client(authority)
	for range 2 {
		_, state, err := ask(address, settings)
		if err != nil || state.DidResume || state.NegotiatedProtocol != "http/1.1" || state.Version != tls.VersionTLS13 {
			t.Errorf("%v, resumed %v, speaks %s over %s; want a handshake of its own and http/1.1", err, state.DidResume, state.NegotiatedProtocol, tls.VersionName(state.Version))
		}
	}
	old := client(authority)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, _, err := ask(address, old); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
}

// twice is a pair, to be followed by a third.
func twice(certificate, key string) func(authorities string) (string, string, string) {
	return func(authorities string) (string, string, string) { return certificate, key, authorities }
}

func TestTLS_WantsAClientsCertificate(t *testing.T) {
	server, clients, foreign := harness.NewAuthority(t), harness.NewAuthority(t), harness.NewAuthority(t)
	files := newTLSFiles(t)
	files.put(twice(server.IssueServer())(clients.PEM))
	c, err := newCertificates(files.config(true), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, c)
	named := x509.Certificate{DNSNames: []string{"ci.example.org"}, Subject: pkix.Name{CommonName: "ci"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "x"}}}
	for _, tt := range []struct {
		name string
		own  []tls.Certificate
		want string // "": refused
	}{
		{"one of theirs", []tls.Certificate{clients.Pair(named)}, "ci.example.org"},
		{"none", nil, ""},
		{"another authority's", []tls.Certificate{foreign.Pair(named)}, ""},
		{"the server's authority's", []tls.Certificate{server.Pair(named)}, ""},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			settings := client(server, tt.own...)
			settings.MinVersion, settings.MaxVersion = version, version
			settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // whomever the server names
				if len(tt.own) == 0 {
					return &tls.Certificate{}, nil
				}
				return &tt.own[0], nil
			}
			body, _, err := ask(address, settings)
			if (err != nil) != (tt.want == "") || body != tt.want {
				t.Errorf("%s over %s: %q (%v), want %q", tt.name, tls.VersionName(version), body, err, tt.want)
			}
		}
	}
	if body, _, err := ask(address, client(server, clients.Pair(named))); err != nil || body != "ci.example.org" {
		t.Errorf("after handshakes that failed: %q (%v)", body, err)
	}
}

// TestTLS_RotationLosesNoHandshake: certificate, key and authorities change under
// load, as a whole, and every handshake of who trusts both succeeds.
func TestTLS_RotationLosesNoHandshake(t *testing.T) {
	before, after := harness.NewAuthority(t), harness.NewAuthority(t)
	files := newTLSFiles(t)
	files.put(twice(before.IssueServer())(before.PEM + after.PEM))
	c, err := newCertificates(files.config(true), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, c)
	settings := client(before, before.Pair(x509.Certificate{DNSNames: []string{"ci.example.org"}}))
	both := before.Pool()
	both.AppendCertsFromPEM([]byte(after.PEM))
	settings.RootCAs, settings.ClientSessionCache = both, nil
	var failed, made, byNew atomic.Int64
	asked, done := make(chan struct{}), make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				_, state, err := ask(address, settings)
				if made.Add(1); err != nil {
					failed.Add(1)
					t.Log(err)
				} else if after.Signed(state.PeerCertificates[0]) {
					byNew.Add(1)
				}
				select {
				case asked <- struct{}{}:
				case <-done:
					return
				}
			}
		})
	}
	for i := range 50 {
		by := []*harness.Authority{after, before}[i%2]
		files.put(twice(by.IssueServer())(before.PEM + after.PEM))
		c.mu.Lock()
		c.checked = time.Time{} // it is time to look
		c.mu.Unlock()
		for range 8 { // each is used for a while
			<-asked
		}
	}
	close(done)
	asking.Wait()
	t.Logf("TLS rotation: 50 changes under load, %d handshakes, %d with certificates of the second authority, %d failed", made.Load(), byNew.Load(), failed.Load())
	if failed.Load() != 0 || byNew.Load() == 0 || byNew.Load() == made.Load() {
		t.Errorf("%d of %d handshakes failed, %d saw a new certificate", failed.Load(), made.Load(), byNew.Load())
	}
}

// TestTLS_ABadChangeIsToldOnceAndTheOldStays in a bubble, where it costs no time.
func TestTLS_ABadChangeIsToldOnceAndTheOldStays(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	other, otherKey := authority.IssueServer()
	synctest.Test(t, func(t *testing.T) {
		files := newTLSFiles(t)
		files.put(certificate, key, authority.PEM)
		var told []string
		c, err := newCertificates(files.config(true), func(err error) { told = append(told, strings.ReplaceAll(err.Error(), files.dir, "DIR")) })
		if err != nil {
			t.Fatal(err)
		}
		inUse := func() string {
			settings, err := c.forClient(nil)
			if err != nil || settings.ClientCAs == nil || settings.ClientAuth != tls.RequireAndVerifyClientCert {
				t.Fatalf("%+v, %v", settings, err)
			}
			return string(settings.Certificates[0].Certificate[0])
		}
		first := inUse()
		for _, tt := range []struct {
			name                 string
			certificate, key, ca string
			same                 bool
			says                 string
		}{
			{"a key that does not fit", certificate, otherKey, authority.PEM, true, "file DIR/tls.crt and its key do not make a pair; write a certificate and its private key, both in PEM"},
			{"no authorities", certificate, key, "", true, "file DIR/ca.crt holds no certificate; write the authorities' certificates into it, in PEM"},
			{"half a certificate", certificate[:200], key, authority.PEM, true, "file DIR/tls.crt and its key do not make a pair; write a certificate and its private key, both in PEM"},
			{"another pair", other, otherKey, authority.PEM, false, ""},
		} {
			told = nil
			files.put(tt.certificate, tt.key, tt.ca)
			if got := inUse(); got != first {
				t.Errorf("%s: was read before it was time", tt.name)
			}
			for range 3 {
				time.Sleep(recheckTLS)
				if got := inUse(); (got == first) != tt.same {
					t.Errorf("%s: the first is in use: %v, want %v", tt.name, got == first, tt.same)
				}
			}
			if got := strings.Join(told, "\n"); got != tt.says {
				t.Errorf("%s: told %q, want %q once", tt.name, got, tt.says)
			}
		}
	})
}

// TestTLS_AReloadTakesOtherFilesAtOnce, and keeps the old where they are bad.
func TestTLS_AReloadTakesOtherFilesAtOnce(t *testing.T) {
	first, second := harness.NewAuthority(t), harness.NewAuthority(t)
	one, two := newTLSFiles(t), newTLSFiles(t)
	one.put(twice(first.IssueServer())(first.PEM))
	two.put(twice(second.IssueServer())(second.PEM))
	told := 0
	c, err := newCertificates(one.config(true), func(error) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, c)
	own := x509.Certificate{DNSNames: []string{"ci.example.org"}}
	c.use(two.config(true))
	if _, _, err := ask(address, client(second, second.Pair(own))); err != nil {
		t.Errorf("with the second files: %v", err)
	}
	if _, _, err := ask(address, client(second, first.Pair(own))); err == nil {
		t.Error("a client of the first authority was let in")
	}
	c.use(proxy.ListenerTLS{Certificate: "file:/nowhere", Key: "file:/nowhere"})
	if _, _, err := ask(address, client(second, second.Pair(own))); err != nil || told != 1 {
		t.Errorf("with files that are not there: %v, told %d times", err, told)
	}
}

// TestTLS_AHandshakeThatNeverEndsIsCut within the time for a request's head.
func TestTLS_AHandshakeThatNeverEndsIsCut(t *testing.T) {
	if server := newServer(nil); server.ReadHeaderTimeout <= 0 || server.ReadHeaderTimeout > 10*time.Second {
		t.Fatalf("a head may take %v", server.ReadHeaderTimeout)
	}
	authority := harness.NewAuthority(t)
	files := newTLSFiles(t)
	files.put(twice(authority.IssueServer())(""))
	c, err := newCertificates(files.config(false), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(http.NotFoundHandler())
	server.ReadHeaderTimeout = 50 * time.Millisecond
	server.ErrorLog = log.New(io.Discard, "", 0)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(tls.NewListener(l, c.config())) })
	defer serving.Wait()
	defer func() { _ = server.Close() }()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // a hang is a failure, not a wait
	if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}
