package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/harness"
)

// A reload keeps the connections to an upstream whose URL is written in another way, see
// makings.
func TestHTTP1_AnotherSpellingIsTheSamePlace(t *testing.T) {
	one, other := "http://up.example", "http://UP.example:80"
	cfg := UpstreamConfig{URL: one, Private: true}
	before := newWays(Config{}, Deps{}, nil).to("up", cfg)
	cfg.URL = other
	after := newWays(Config{}, Deps{}, &table{upstreams: map[string]*Upstream{"up": {way: before}}, circuits: map[string]*circuit{}}).to("up", cfg)
	if before.wire != after.wire {
		t.Fatal("the wire is another: nothing is shown")
	}
	connectBy(after.wire, func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() { _ = conversed(there, noContent) }()
		return here, nil
	})
	defer after.wire.retire()
	for _, target := range []string{one, other} {
		if _, err := post(t, after.wire, target); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// alerting is a connection on which a certificate is refused in the place of the second
// answer.
type alerting struct {
	net.Conn
	asked *atomic.Int32
}

func (a alerting) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if errors.Is(err, io.EOF) && a.asked.Load() == 2 {
		return n, &net.OpError{Op: "remote error", Err: errors.New("tls: expired certificate")}
	}
	return n, err
}

// What was answered once over a connection had the handshake behind it: the request was
// read, whatever is said of certificates then.
func TestHTTP1_ACertificateRefusedLaterIsNoReasonToSendAgain(t *testing.T) {
	var asked atomic.Int32
	address, _ := serving(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if asked.Add(1) == 2 {
				return
			}
			_, _ = io.WriteString(c, noContent(nil))
		}
	})
	w := newHTTP1(filled(TransportConfig{Private: true}))
	defer w.retire()
	w.connect = func(*url.URL) (*socket, net.Conn, *url.URL, error) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return nil, nil, nil, err
		}
		s := newSocket(&outbound{Conn: c, patience: time.Second})
		return s, alerting{s, &asked}, nil, nil
	}
	if _, err := post(t, w, "http://"+address); err != nil {
		t.Fatal(err)
	}
	_, err := post(t, w, "http://"+address)
	if asked.Load() != 2 || err == nil || isUnsent(err) {
		t.Errorf("the upstream read %d requests, want 2; %v, unsent %v", asked.Load(), err, isUnsent(err))
	}
}

func filled(cfg TransportConfig) TransportConfig {
	cfg.fill()
	return cfg
}

func TestHTTP1_NothingIsSentForWhoLeftBefore(t *testing.T) {
	var asked atomic.Int32
	address, accepted := serving(t, answerTo(func(r *http.Request) string {
		asked.Add(1)
		return noContent(r)
	}))
	w := made(t, TransportConfig{Private: true})
	if _, err := post(t, w, "http://"+address); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := w.RoundTrip(asking(t, "POST", "http://"+address, strings.NewReader("a body")).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that the caller left", err)
	}
	if _, err := post(t, w, "http://"+address); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 2 || accepted.Load() != 1 {
		t.Errorf("%d requests on %d connections, want 2 on 1", asked.Load(), accepted.Load())
	}
}

func TestHTTP1_AnAnswerThatIsNoneIsToldAsThatToWhoAsksFirst(t *testing.T) {
	address, _ := serving(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "SSH-2.0-x\r\n\r\n")
	})
	w := made(t, TransportConfig{Private: true})
	const tries = 2000
	invalid := 0
	for range tries {
		req := asking(t, "POST", "http://"+address, io.MultiReader(strings.NewReader("a body")))
		req.Header.Set("Expect", "100-continue")
		req.Close = true
		_, err := w.RoundTrip(req)
		if err != nil && faultOf(err) == faultInvalid {
			invalid++
		}
	}
	if invalid != tries {
		t.Errorf("%d of %d answers that are none are told as that", invalid, tries)
	}
}

func TestHTTP1_ARefusedCertificateIsToldDuringAnUpload(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	address, _ := serving(t, func(c net.Conn) {
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert}).Handshake()
		_, _ = io.Copy(io.Discard, c) // or the alert might be lost
	})
	other := 0
	for range 100 {
		w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}})
		req := asking(t, "POST", "https://"+address, io.MultiReader(strings.NewReader(strings.Repeat("a", 4<<20))))
		if _, err := w.RoundTrip(req); !isRefusedCertificate(err) {
			other++
			t.Log(err)
		}
	}
	if other > 0 {
		t.Errorf("%d of 100 times it was told as something else", other)
	}
}

func TestHTTP1_TheEndOfAnAnswerStaysTheEnd(t *testing.T) {
	address, _ := serving(t, answerTo(func(*http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" }))
	for name, w := range map[string]http.RoundTripper{"ours": made(t, TransportConfig{Private: true}), "net/http": NewTransport(TransportConfig{Private: true})} {
		resp, err := w.RoundTrip(asking(t, "GET", "http://"+address, nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the end %v, want the end", name, err)
		}
		if c, ok := w.(*http.Transport); ok {
			c.CloseIdleConnections()
		}
	}
}

// Who comes after somebody left is not told what that one's dial failed of.
func TestHTTP1_ADialThatFailsIsTheirsWhoseItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(TransportConfig{Private: true}).(*http1)
		var dials atomic.Int32
		connectBy(w, func(context.Context, string, string) (net.Conn, error) {
			if dials.Add(1) == 1 {
				time.Sleep(dialTimeout)
				return nil, os.ErrDeadlineExceeded
			}
			here, there := net.Pipe()
			go func() { _ = conversed(there, noContent) }()
			return here, nil
		})
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		_, _ = w.RoundTrip(asking(t, "GET", "http://up.example", nil).WithContext(ctx))
		if _, err := w.RoundTrip(asking(t, "GET", "http://up.example", nil)); err != nil {
			t.Errorf("the next: %v, want an answer", err)
		}
		w.retire()
		time.Sleep(dialTimeout)
	})
}

func TestHTTP1_SendsNoHeaderThatIsNone(t *testing.T) {
	var heard sync.Map
	address, _ := serving(t, func(c net.Conn) {
		all := make([]byte, 4096)
		n, _ := c.Read(all)
		heard.Store(string(all[:n]), true)
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	w := made(t, TransportConfig{Private: true})
	for name, spoil := range map[string]func(*http.Request){
		"value, line":    func(r *http.Request) { r.Header["X-Some"] = []string{"a\r\nX-Other: b"} },
		"value, control": func(r *http.Request) { r.Header["X-Some"] = []string{"a\x00b"} },
		"name":           func(r *http.Request) { r.Header["X Some"] = []string{"a"} },
		"method":         func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX-Other: b\r\n\r\nGET" },
		"method, space":  func(r *http.Request) { r.Method = "GET /a" },
	} {
		req := asking(t, "GET", "http://"+address, nil)
		spoil(req)
		if _, _, err := told(w, req); err == nil {
			t.Errorf("%s: it was sent", name)
		}
	}
	heard.Range(func(k, _ any) bool { t.Errorf("the upstream was told %q", k); return true })
}

func TestHTTP1_NamesThatAreNotASCII(t *testing.T) {
	address, _ := serving(t, answerTo(noContent))
	_, port, _ := net.SplitHostPort(address)
	cfg := TransportConfig{Private: true, Resolver: Resolving(t, "127.0.0.1")}
	theirs := NewTransport(cfg)
	defer theirs.CloseIdleConnections()
	for name, w := range map[string]http.RoundTripper{"ours": made(t, cfg), "net/http": theirs} {
		resp, err := w.RoundTrip(asking(t, "GET", "http://bücher.example:"+port, nil))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = resp.Body.Close()
	}
}

// splitting lets the first bytes of the third write, and of all later ones, leave at
// once, and the rest when it is told.
type splitting struct {
	net.Conn
	splits bool
	rest   []byte
}

func (s *splitting) Write(p []byte) (int, error) {
	if !s.splits {
		return s.Conn.Write(p)
	}
	s.rest = append([]byte(nil), p[7:]...)
	_, err := s.Conn.Write(p[:7])
	return len(p), err
}

// Half a record is something that came unasked, too.
func TestHTTP1_HalfARecordIsNotQuiet(t *testing.T) {
	spoke := make(chan bool, 9)
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	address, _ := serving(t, func(c net.Conn) {
		s := &splitting{Conn: c}
		secured := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{certificate}})
		in := bufio.NewReader(secured)
		for n := 0; ; n++ {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			if n == 0 {
				_, _ = io.WriteString(secured, noContent(nil))
				s.splits = true
				_, _ = io.WriteString(secured, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nunasked!")
				s.splits = false
				spoke <- true
				continue
			}
			if s.rest != nil {
				_, _ = c.Write(s.rest)
				s.rest = nil
			}
			_, _ = io.WriteString(secured, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
		}
	})
	w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}})
	if _, _, err := told(w, asking(t, "GET", "https://"+address, nil)); err != nil {
		t.Fatal(err)
	}
	<-spoke
	_, said, err := told(w, asking(t, "GET", "https://"+address, nil))
	if err != nil || said == "unasked!" {
		t.Errorf("%q, %v", said, err)
	}
}

// The last words of TLS are nothing of the request.
func TestHTTP1_ItsOwnLeaveTakingIsNoRequest(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	goes, asked := make(chan bool), new(atomic.Int32)
	address, _ := serving(t, func(c net.Conn) {
		secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
		in := bufio.NewReader(secured)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(secured, noContent(nil))
			if asked.Add(1) == 1 {
				<-goes
				_ = secured.CloseWrite()
				_, _ = io.Copy(io.Discard, c)
				return
			}
		}
	})
	w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}})
	if _, err := post(t, w, "https://"+address); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	hold := make(chan bool)
	defer close(hold)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaderField: func(string, []string) {
		held := false
		once.Do(func() { held = true })
		if held { // nothing of the request was written yet; the upstream closes just now
			close(goes)
			<-hold
		}
	}})
	req := asking(t, "POST", "https://"+address, io.MultiReader(strings.NewReader("a body"))).WithContext(ctx)
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a body")), nil }
	if _, _, err := told(w, req); err != nil {
		t.Errorf("%v, unsent %v; want it on another connection, as nothing of it was sent", err, isUnsent(err))
	}
}

func TestHTTP1_AnEarlyAnswerIsNotHeldBack(t *testing.T) {
	address, _ := serving(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, c)
	})
	for name, w := range map[string]http.RoundTripper{"ours": made(t, TransportConfig{Private: true}), "net/http": NewTransport(TransportConfig{Private: true})} {
		read, write := io.Pipe()
		start := time.Now()
		resp, err := w.RoundTrip(asking(t, "POST", "http://"+address, read))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		if took := time.Since(start); took > uploadEnd {
			t.Errorf("%s: after %v", name, took)
		}
		_ = write.Close()
	}
}
