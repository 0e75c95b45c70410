package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/credentials"
	"bearerd/test/harness"
)

// Resolving is a resolver that finds every name at one address, by asking a DNS
// server that says so.
func Resolving(t *testing.T, address string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		query := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(dnsAnswer(query[:n], netip.MustParseAddr(address)), from)
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", server.LocalAddr().String())
	}}
}

// dnsAnswer is the answer to a query of one question: the address if it asks for
// such a one, else none (RFC 1035 §4.1).
func dnsAnswer(query []byte, address netip.Addr) []byte {
	end := 12 // of the question's name
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	question := query[12 : end+5]
	kind := binary.BigEndian.Uint16(query[end+1:])
	found := kind == 1 && address.Is4() || kind == 28 && address.Is6()
	answer := append([]byte{}, query[:2]...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
	answer = append(answer, question...)
	if found {
		answer[7] = 1
		answer = append(answer, 0xc0, 12)
		answer = append(answer, question[len(question)-4:]...)
		answer = append(answer, 0, 0, 0, 60, 0, byte(len(address.AsSlice())))
		answer = append(answer, address.AsSlice()...)
	}
	return answer
}

// serving accepts connections, counts them, and hands each to serve.
func serving(t *testing.T, serve func(net.Conn)) (address string, accepted *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int32)
	var running sync.WaitGroup
	var open sync.Map
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			open.Store(c, true)
			running.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return l.Addr().String(), accepted
}

// answerTo answers each request of a connection, the nth of all with what say returns.
func answerTo(say func(*http.Request) string) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if _, err := io.WriteString(c, say(req)); err != nil {
				return
			}
		}
	}
}

func noContent(*http.Request) string { return "HTTP/1.1 204 No Content\r\n\r\n" }

// post sends a request by a wire and lets go of the answer.
func post(t *testing.T, w wire, target string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", target, strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.RoundTrip(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return resp, err
}

func made(t *testing.T, cfg TransportConfig) wire {
	w := newWire(cfg)
	t.Cleanup(w.retire)
	return w
}

func through(address string) Egress {
	return Egress(http.ProxyURL(&url.URL{Scheme: "http", Host: address}))
}

func TestDial_NoNameLeadsWhereItsAddressCouldNot(t *testing.T) {
	address, accepted := serving(t, answerTo(noContent))
	_, port, _ := net.SplitHostPort(address)
	refused := 0
	for _, found := range []string{"127.0.0.1", "127.8.8.8", "169.254.169.254", "10.1.2.3", "100.100.100.200", "0.0.0.0", "198.18.0.1", "::1", "fe80::1", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "::ffff:127.0.0.1"} {
		for _, scheme := range []string{"http", "https"} {
			w := made(t, TransportConfig{Resolver: Resolving(t, found)})
			_, err := post(t, w, scheme+"://api.example.org:"+port+"/")
			if !errors.Is(err, credentials.ErrAddressRefused) || !isUnsent(err) || mayPass(err) {
				t.Errorf("%s to a name at %s: %v, want the address refused", scheme, found, err)
				continue
			}
			refused++
		}
	}
	if accepted.Load() != 0 {
		t.Errorf("%d connections were made, want none", accepted.Load())
	}
	t.Logf("%d requests to names with addresses that are not public: all refused, %d connections made", refused, accepted.Load())

	w := made(t, TransportConfig{Resolver: Resolving(t, "127.0.0.1"), Private: true})
	if _, err := post(t, w, "http://api.example.org:"+port+"/"); err != nil || accepted.Load() != 1 {
		t.Errorf("with private: %v and %d connections, want an answer on one", err, accepted.Load())
	}
}

func TestDial_TheForwardProxyMayBeAnywhere(t *testing.T) {
	var asked []string // one request after the other
	address, accepted := serving(t, answerTo(func(r *http.Request) string {
		asked = append(asked, r.Method+" "+r.RequestURI)
		if r.Method == http.MethodConnect {
			return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
		}
		return noContent(r)
	}))
	by := TransportConfig{Egress: through(address), Resolver: Resolving(t, "127.0.0.1")}
	if _, err := post(t, made(t, by), "http://api.example.org/a"); err != nil {
		t.Errorf("through a forward proxy on this machine: %v", err)
	}
	if _, err := post(t, made(t, by), "https://api.example.org/a"); !isUnsent(err) || errors.Is(err, errAddressRefused) {
		t.Errorf("a tunnel that the forward proxy refuses: %v, want unsent", err)
	}
	if got := strings.Join(asked, ", "); got != "POST http://api.example.org/a, CONNECT api.example.org:443" || accepted.Load() != 2 {
		t.Errorf("the forward proxy was asked %s on %d connections", got, accepted.Load())
	}
	// What goes past it is looked at.
	some := func(r *http.Request) (*url.URL, error) {
		if r.URL.Hostname() == "direct.example.org" {
			return nil, nil
		}
		return &url.URL{Scheme: "http", Host: address}, nil
	}
	by.Egress = some
	proxied, direct := made(t, by), made(t, by)
	for range 2 {
		_, _ = post(t, proxied, "http://api.example.org/a")
		if _, err := post(t, direct, "http://direct.example.org/a"); !errors.Is(err, errAddressRefused) {
			t.Errorf("past the forward proxy: %v, want the address refused", err)
		}
	}
}

func TestDial_WhatFailsBeforeTheRequestIsUnsent(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	secured := func(settings *tls.Config, serve func(net.Conn)) func(net.Conn) {
		settings.Certificates = []tls.Certificate{certificate}
		return func(c net.Conn) { serve(tls.Server(c, settings)) }
	}
	trusting := &tls.Config{RootCAs: authority.Pool()}
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	gone := func(net.Conn) {}
	tunnel := func(then func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				then(c)
			}
		}
	}
	one := func(c net.Conn) { // takes a request and goes
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
		}
	}
	for _, tt := range []struct {
		name   string
		serve  func(net.Conn)
		scheme string
		proxy  bool
		tls    *tls.Config
		tuning TuningConfig
		unsent bool
	}{
		{"TLS that ends at once", gone, "https", false, trusting, TuningConfig{}, true},
		{"TLS that never begins", silent, "https", false, trusting, TuningConfig{Dial: 50 * time.Millisecond}, true},
		{"no TLS", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "https", false, trusting, TuningConfig{}, true},
		{"a stranger's certificate", secured(&tls.Config{}, one), "https", false, nil, TuningConfig{}, true},
		{"TLS 1.1", secured(&tls.Config{MaxVersion: tls.VersionTLS11}, one), "https", false, trusting, TuningConfig{}, true},
		{"no certificate of ours, TLS 1.2", secured(&tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, one), "https", false, trusting, TuningConfig{}, true},
		{"no certificate of ours, TLS 1.3", secured(&tls.Config{ClientAuth: tls.RequireAnyClientCert}, one), "https", false, trusting, TuningConfig{}, true},
		{"a forward proxy that goes", gone, "https", true, trusting, TuningConfig{}, true},
		{"a forward proxy that is none", func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") }, "https", true, trusting, TuningConfig{}, true},
		{"a tunnel that ends", tunnel(gone), "https", true, trusting, TuningConfig{}, true},
		{"a tunnel without an end", tunnel(silent), "https", true, trusting, TuningConfig{Dial: 50 * time.Millisecond}, true},
		{"a tunnel to a stranger", tunnel(secured(&tls.Config{}, one)), "https", true, nil, TuningConfig{}, true},
		{"a connection that ends with the request", one, "http", false, nil, TuningConfig{}, false},
		{"a connection that ends with the request, TLS", secured(&tls.Config{}, one), "https", false, trusting, TuningConfig{}, false},
		{"a tunnel that ends with the request", tunnel(secured(&tls.Config{}, one)), "https", true, trusting, TuningConfig{}, false},
		{"no answer", silent, "http", false, nil, TuningConfig{ResponseHeader: 50 * time.Millisecond}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, accepted := serving(t, tt.serve)
			cfg := TransportConfig{Private: true, TLS: tt.tls, Tuning: tt.tuning}
			if tt.proxy {
				cfg.Egress = through(address)
			}
			_, err := post(t, made(t, cfg), tt.scheme+"://"+address+"/")
			if err == nil || isUnsent(err) != tt.unsent || accepted.Load() != 1 {
				t.Errorf("%v on %d connections: unsent %v, want %v on one", err, accepted.Load(), isUnsent(err), tt.unsent)
			}
		})
	}
	address, _ := serving(t, secured(&tls.Config{}, tunnel(gone)))
	toward := Egress(http.ProxyURL(&url.URL{Scheme: "https", Host: address}))
	_, err := post(t, made(t, TransportConfig{Egress: toward, TLS: trusting}), "https://api.example.org")
	var stranger *tls.CertificateVerificationError
	if !isUnsent(err) || !errors.As(err, &stranger) {
		t.Errorf("a forward proxy of the upstream's authority: %v, want that it is not trusted for that", err)
	}
	address, _ = serving(t, silent)
	for _, scheme := range []string{"http", "socks5"} {
		egress := Egress(http.ProxyURL(&url.URL{Scheme: scheme, Host: address}))
		_, err := post(t, made(t, TransportConfig{Egress: egress, Tuning: TuningConfig{Dial: 50 * time.Millisecond}}), "https://api.example.org")
		if !isUnsent(err) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a forward proxy of %s that says nothing: %v, want a timeout, unsent", scheme, err)
		}
	}
	nobody, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	if _, err := post(t, made(t, TransportConfig{Private: true}), "http://"+nobody.Addr().String()); !isUnsent(err) || !mayPass(err) {
		t.Errorf("nobody there: %v, want unsent, and that it may pass", err)
	}
	if _, err := post(t, made(t, TransportConfig{Private: true, Egress: through(nobody.Addr().String())}), "https://api.example.org"); !isUnsent(err) {
		t.Errorf("no forward proxy there: %v, want unsent", err)
	}
}

func TestDial_AServerThatStopsReadingIsLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		out := &outbound{Conn: ours, patience: 30 * time.Second}
		go func() { // ends with the test
			for range 10 {
				time.Sleep(29 * time.Second)
				_, _ = theirs.Read(make([]byte, 100))
			}
		}()
		start := time.Now()
		for range 10 {
			if _, err := out.Write(make([]byte, 100)); err != nil {
				t.Fatalf("a server that reads slowly, after %v: %v", time.Since(start), err)
			}
		}
		start = time.Now()
		_, err := out.Write(make([]byte, 100))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != 30*time.Second {
			t.Errorf("a server that reads no more: %v after %v, want a timeout after 30s", err, time.Since(start))
		}
		_ = out.SetDeadline(time.Now().Add(5 * time.Second)) // as crypto/tls does before its last words
		start = time.Now()
		if _, err := out.Write(make([]byte, 100)); err == nil || time.Since(start) != 5*time.Second {
			t.Errorf("with a deadline of 5s: %v after %v, want a timeout after that", err, time.Since(start))
		}
		_, _ = ours.Close(), theirs.Close()
	})
}
