package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/harness"
)

// heard is what somebody was told, in the order of its coming.
type heard struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (h *heard) add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}

// taken returns what was heard and forgets it.
func (h *heard) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := h.lines
	h.lines = nil
	return lines
}

// readHead reads a request's head, as it came.
func readHead(in *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
		if line == "\r\n" {
			return head.String(), nil
		}
	}
}

// sorted is a head with its fields in order: of that nothing depends.
func sorted(head string) string {
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

// socksWish reads what a client of SOCKS 5 wants and grants it. It returns the address,
// and name:password if they were asked for (RFC 1928, RFC 1929).
func socksWish(c net.Conn, in *bufio.Reader, asks bool) (address, login string, err error) {
	version, _ := in.ReadByte()
	methods, err := counted8(in)
	if err != nil || version != 5 {
		return "", "", errors.Join(errors.New("not SOCKS 5"), err)
	}
	method := byte(0)
	if asks {
		method = 2
	}
	if !bytes.Contains(methods, []byte{method}) {
		_, _ = c.Write([]byte{5, 0xff})
		return "", "", errors.New("no method in common")
	}
	_, _ = c.Write([]byte{5, method})
	if asks {
		_, _ = in.ReadByte()
		name, _ := counted8(in)
		password, _ := counted8(in)
		login = string(name) + ":" + string(password)
		_, _ = c.Write([]byte{1, 0})
	}
	address, err = socksAddress(in)
	_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
	return address, login, err
}

// counted8 reads as many bytes as the first of them says.
func counted8(in *bufio.Reader) ([]byte, error) {
	n, err := in.ReadByte()
	if err != nil {
		return nil, err
	}
	some := make([]byte, n)
	_, err = io.ReadFull(in, some)
	return some, err
}

// socksAddress reads a request to connect to somewhere.
func socksAddress(in *bufio.Reader) (string, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(in, head); err != nil {
		return "", err
	}
	var host string
	switch head[3] {
	case 1, 4:
		ip := make([]byte, map[byte]int{1: 4, 4: 16}[head[3]])
		_, _ = io.ReadFull(in, ip)
		at, _ := netip.AddrFromSlice(ip)
		host = at.String()
	case 3:
		name, _ := counted8(in)
		host = string(name)
	}
	port := make([]byte, 2)
	_, err := io.ReadFull(in, port)
	return net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(port))), err
}

// forwarder is a forward proxy that leads everywhere to one address.
type forwarder struct {
	to    string
	asks  bool // for a password, in SOCKS
	heard heard
}

// http serves a connection of HTTP.
func (f *forwarder) http(c net.Conn) {
	in := bufio.NewReader(c)
	there, err := net.Dial("tcp4", f.to)
	if err != nil {
		return
	}
	defer func() { _ = there.Close() }()
	back := bufio.NewReader(there)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		f.heard.add(fmt.Sprint(req.Method, " ", req.RequestURI, " ", req.Header["Proxy-Authorization"], req.Header["Authorization"]))
		if req.Method == http.MethodConnect {
			_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
			splice(c, in, there)
			return
		}
		req.Header.Del("Proxy-Authorization")
		if req.Write(there) != nil {
			return
		}
		resp, err := http.ReadResponse(back, req)
		if err != nil {
			return
		}
		_ = resp.Write(c)
	}
}

// socks serves a connection of SOCKS 5.
func (f *forwarder) socks(c net.Conn) {
	in := bufio.NewReader(c)
	address, login, err := socksWish(c, in, f.asks)
	if err != nil {
		return
	}
	f.heard.add(address + " " + login)
	there, err := net.Dial("tcp4", f.to)
	if err != nil {
		return
	}
	splice(c, in, there)
}

// splice copies both ways until either ends.
func splice(c net.Conn, in io.Reader, there net.Conn) {
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(c, there)
		_ = c.Close()
	})
	_, _ = io.Copy(there, in)
	_ = there.Close()
	back.Wait()
}

// trustingProxies has the certificates of HTTPS forward proxies be an authority's.
func trustingProxies(t *testing.T, pool *x509.CertPool) {
	before := toForwardProxies
	toForwardProxies = before.Clone()
	toForwardProxies.RootCAs = pool
	t.Cleanup(func() { toForwardProxies = before })
}

// securedBy is serve behind TLS.
func securedBy(certificate tls.Certificate, serve func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) { serve(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})) }
}

// forwardProxies are all forms of forward proxies, each to where a password is asked for and not.
var forwardProxies = []struct {
	scheme, user string
}{
	{"http", ""}, {"http", "us%40er:p%3Aw%2F@"}, {"https", ""}, {"https", "us%40er:p%3Aw%2F@"},
	{"socks5", ""}, {"socks5", "us%40er:p%3Aw%2F@"}, {"socks5h", ""}, {"socks5h", "us%40er:p%3Aw%2F@"},
}

// A request's own credentials are for the upstream, those of the forward proxy's URL for
// that; and its connections are kept.
func TestConnect_EachHearsWhatIsMeantForItAlone(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{DNSNames: []string{"localhost", "api.example.org"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	trustingProxies(t, authority.Pool())
	for _, way := range forwardProxies {
		for _, scheme := range []string{"http", "https"} {
			t.Run(scheme+" by "+way.scheme+" "+way.user, func(t *testing.T) {
				var upstream heard
				serve := answerTo(func(r *http.Request) string {
					upstream.add(fmt.Sprint(r.Method, " ", r.Host, r.RequestURI, " ", r.Header["Proxy-Authorization"], r.Header["Authorization"]))
					return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
				})
				if scheme == "https" {
					serve = securedBy(certificate, serve)
				}
				there, reached := serving(t, serve)
				f := &forwarder{to: there, asks: way.user != ""}
				forward := f.http
				if strings.HasPrefix(way.scheme, "socks") {
					forward = f.socks
				}
				if way.scheme == "https" {
					forward = securedBy(certificate, forward)
				}
				address, accepted := serving(t, forward)
				egress, err := url.Parse(way.scheme + "://" + way.user + address)
				if err != nil {
					t.Fatal(err)
				}
				w := made(t, TransportConfig{Egress: Egress(http.ProxyURL(egress)), TLS: &tls.Config{RootCAs: authority.Pool()}})
				header := http.Header{"Authorization": {"Bearer abc"}}
				for range 3 {
					sent(t, w, scheme+"://api.example.org/a", header)
				}
				if accepted.Load() != 1 || reached.Load() != 1 {
					t.Errorf("%d connections, %d of them got on; want one that is kept", accepted.Load(), reached.Load())
				}
				if len(header) != 1 {
					t.Errorf("the request's header became %v", header)
				}
				if got, want := upstream.taken(), slices.Repeat([]string{"POST api.example.org/a [] [Bearer abc]"}, 3); !slices.Equal(got, want) {
					t.Errorf("the upstream heard %q, want %q", got, want)
				}
				if got, want := f.heard.taken(), toldOf(way.scheme, way.user, scheme); !slices.Equal(got, want) {
					t.Errorf("the forward proxy heard %q, want %q", got, want)
				}
			})
		}
	}
}

// toldOf is what a forward proxy hears of three requests.
func toldOf(way, user, scheme string) []string {
	port := usualPorts[scheme]
	login := "[]"
	if user != "" {
		login = "[Basic dXNAZXI6cDp3Lw==]"
	}
	switch {
	case strings.HasPrefix(way, "socks") && user != "":
		return []string{"api.example.org:" + port + " us@er:p:w/"}
	case strings.HasPrefix(way, "socks"):
		return []string{"api.example.org:" + port + " "}
	case scheme == "https":
		return []string{"CONNECT api.example.org:443 " + login + " []"}
	}
	return slices.Repeat([]string{"POST http://api.example.org/a " + login + " [Bearer abc]"}, 3)
}

// sent sends a request with a header and wants ok.
func sent(t *testing.T, w http.RoundTripper, target string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", target, strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := w.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(body) != "ok" {
		t.Errorf("answered %q, %v", body, err)
	}
}

// What net/http says to forward proxies is what they are used to.
func TestConnect_SaysToForwardProxiesWhatNetHTTPDoes(t *testing.T) {
	compared := 0
	for _, scheme := range []string{"http", "socks5", "socks5h"} {
		for _, user := range []string{"", "user:word@", "us%40er:p%3Aw%2F@", "user:@", "user@", ":word@", strings.Repeat("u", 256) + ":@"} {
			for _, target := range []string{
				"http://api.example.org/a?b", "https://api.example.org/a?b", "http://api.example.org:8080/", "https://api.example.org:8443/", "https://API.example.org./",
				"http://[2001:db8::1]/a", "https://[2001:db8::1]/a", "https://[2001:db8::1]:8443/a", "http://[fe80::1%25eth0]/a", "https://[fe80::1%25eth0]/a", "https://192.0.2.1/", "http://192.0.2.1:81/",
			} {
				told := make(chan string, 1)
				address, _ := serving(t, func(c net.Conn) { told <- listen(c) })
				egress, err := url.Parse(scheme + "://" + user + address)
				if err != nil {
					t.Fatal(err)
				}
				library := &http.Transport{Proxy: http.ProxyURL(egress), DisableCompression: true}
				_, theirs := asked(t, library, target)
				library.CloseIdleConnections()
				want := <-told
				_, ours := asked(t, made(t, TransportConfig{Egress: Egress(http.ProxyURL(egress))}), target)
				if got := <-told; got != want {
					t.Errorf("%s by %s://%.20s\n got %.400q\nwant %.400q", target, scheme, user, got, want)
				}
				if (ours == nil) != (theirs == nil) {
					t.Errorf("%s by %s://%.20s: %v, and of net/http %v", target, scheme, user, ours, theirs)
				}
				compared++
			}
		}
	}
	t.Logf("%d ways through a forward proxy compared with net/http's", compared)
}

// asked sends a request without a body.
func asked(t *testing.T, w http.RoundTripper, target string) (status int, err error) {
	req, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer abc"}, "User-Agent": {"a tool"}}
	resp, err := w.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

// listen is a forward proxy of HTTP and SOCKS 5 that refuses all, and returns what it was
// told.
func listen(c net.Conn) string {
	in := bufio.NewReader(c)
	if first, err := in.Peek(2); err == nil && first[0] == 5 {
		address, login, err := socksWish(c, in, first[1] == 2)
		return fmt.Sprint(first[1], " methods, ", address, " ", login, " ", err)
	}
	head, err := readHead(in)
	if err != nil {
		return err.Error()
	}
	_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	return sorted(head)
}

// saying is a forward proxy that says something to each thing it is told, whatever that is.
func saying(answers ...string) func(net.Conn) {
	return func(c net.Conn) {
		some := make([]byte, 4<<10)
		for _, answer := range answers {
			if _, err := c.Read(some); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c)
	}
}

func TestConnect_WhatForwardProxiesRefuseIsUnsent(t *testing.T) {
	long := "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeader)
	for _, tt := range []struct {
		name, scheme string
		serve        func(net.Conn)
		want         string
	}{
		{"407", "http", saying("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"), "the forward proxy answered 407 Proxy Authentication Required"},
		{"403", "http", saying("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"), "the forward proxy answered 403 Forbidden"},
		{"502", "http", saying("HTTP/1.0 502 x\r\n\r\n"), "the forward proxy answered 502 Bad Gateway"},
		{"an interim answer", "http", saying("HTTP/1.1 100 Continue\r\n\r\n"), "the forward proxy answered 100 Continue"},
		{"another protocol", "http", saying("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "the forward proxy answered 101"},
		{"a redirect", "http", saying("HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n"), "the forward proxy answered 302 Found"},
		{"no HTTP", "http", saying("SSH-2.0-x\r\n"), "malformed"},
		{"a head without an end", "http", saying(long), "unexpected EOF"},
		{"a head that is too long", "http", saying(long + "\r\n\r\n"), "unexpected EOF"},
		{"something behind the head", "http", saying("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "before it was told anything"},
		{"two answers before it is asked", "http", func(c net.Conn) {
			_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 200 OK\r\n\r\n", 2))
			saying("")(c)
		}, "before it was told anything"},
		{"a body of the tunnel's answer", "http", saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), "before it was told anything"},
		{"no method that is acceptable", "socks5", saying("\x05\xff"), "no acceptable authentication methods"},
		{"a method that was not offered", "socks5", saying("\x05\x01"), "unsupported authentication method 1"},
		{"a password that is wrong", "socks5", saying("\x05\x02", "\x01\x01"), "username/password authentication failed"},
		{"SOCKS 4", "socks5", saying("\x00\x5a\x00\x00\x00\x00\x00\x00"), "unexpected protocol version 0"},
		{"HTTP in place of SOCKS", "socks5", saying("HTTP/1.1 400 Bad Request\r\n\r\n"), "unexpected protocol version 72"},
		{"a general failure", "socks5", saying("\x05\x00", "\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"), "general SOCKS server failure"},
		{"not allowed", "socks5", saying("\x05\x00", "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"), "connection not allowed by ruleset"},
		{"no such host", "socks5", saying("\x05\x00", "\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"), "host unreachable"},
		{"a refusal that nobody knows", "socks5", saying("\x05\x00", "\x05\x63\x00\x01\x00\x00\x00\x00\x00\x00"), "unknown code: 99"},
		{"an address of no kind", "socks5", saying("\x05\x00", "\x05\x00\x00\x09\x00\x00\x00\x00\x00\x00"), "unknown address type 9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, accepted := serving(t, tt.serve)
			egress := &url.URL{Scheme: tt.scheme, User: url.UserPassword("me", "hush"), Host: address}
			w := made(t, TransportConfig{Egress: Egress(http.ProxyURL(egress))})
			_, err := post(t, w, "https://api.example.org/")
			if !isUnsent(err) || !strings.Contains(err.Error(), tt.want) || accepted.Load() != 1 {
				t.Errorf("%v on %d connections; want %q, unsent, on one", err, accepted.Load(), tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), loginOf(egress))) {
				t.Error("the error has the password")
			}
		})
	}
}

// Wherever a forward proxy hangs up while it is asked for a way, nothing was sent.
func TestConnect_AForwardProxyThatHangsUpHeardNothing(t *testing.T) {
	for _, tt := range []struct {
		scheme  string
		answers []string
	}{
		{"http", []string{"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"}},
		{"socks5", []string{"\x05\x02", "\x01\x00", "\x05\x00\x00\x03\x04name\x00\x50"}},
	} {
		whole := strings.Join(tt.answers, "")
		for end := range len(whole) + 1 {
			address, accepted := serving(t, func(c net.Conn) {
				left, some := end, make([]byte, 4<<10)
				for _, answer := range tt.answers {
					if _, err := c.Read(some); err != nil {
						return
					}
					_, _ = io.WriteString(c, answer[:min(left, len(answer))])
					if left -= len(answer); left < 0 {
						return
					}
				}
			})
			egress := Egress(http.ProxyURL(&url.URL{Scheme: tt.scheme, User: url.UserPassword("me", "hush"), Host: address}))
			_, err := post(t, made(t, TransportConfig{Egress: egress}), "https://api.example.org/")
			if !isUnsent(err) || accepted.Load() != 1 {
				t.Errorf("%s, gone after %d bytes of %d: %v on %d connections, want unsent on one", tt.scheme, end, len(whole), err, accepted.Load())
			}
		}
	}
}

// A forward proxy that takes whole URLs answers for the upstream: what it says is the
// answer, and of what it says unasked nothing is another request's.
func TestConnect_WhatAForwardProxyOfWholeURLsSays(t *testing.T) {
	const no = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name        string
		serve       func(net.Conn)
		connections int32
	}{
		{"answers", answerTo(func(*http.Request) string { return no }), 1},
		{"answers twice", answerTo(func(*http.Request) string { return no + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" }), 3},
		{"answers and hangs up", answeringOnce(no), 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, accepted := serving(t, tt.serve)
			w := made(t, TransportConfig{Egress: through(address)})
			for range 3 {
				if status, err := asked(t, w, "http://api.example.org/"); status != 407 {
					t.Errorf("answered %d, %v; want 407", status, err)
				}
			}
			if accepted.Load() != tt.connections {
				t.Errorf("%d connections, want %d", accepted.Load(), tt.connections)
			}
		})
	}
}

// answeringOnce answers one request of a connection.
func answeringOnce(answer string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := readHead(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, answer)
		}
	}
}

func TestConnect_TheForwardProxyIsNotShownTheCertificateForTheUpstream(t *testing.T) {
	authority := harness.NewAuthority(t)
	names := x509.Certificate{DNSNames: []string{"api.example.org"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	ours, theirs := authority.Pair(names), authority.Pair(names)
	trustingProxies(t, authority.Pool())
	asking := func(shown *atomic.Int32, serve func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{theirs}, ClientAuth: tls.RequestClientCert})
			if err := secured.Handshake(); err == nil {
				shown.Add(int32(len(secured.ConnectionState().PeerCertificates)))
				serve(secured)
			}
		}
	}
	var toUpstream, toProxy atomic.Int32
	there, _ := serving(t, asking(&toUpstream, answerTo(noContent)))
	f := &forwarder{to: there}
	address, _ := serving(t, asking(&toProxy, f.http))
	egress := Egress(http.ProxyURL(&url.URL{Scheme: "https", Host: address}))
	settings := &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{ours}}
	if _, err := post(t, made(t, TransportConfig{Egress: egress, TLS: settings}), "https://api.example.org/"); err != nil {
		t.Fatal(err)
	}
	if toProxy.Load() != 0 || toUpstream.Load() != 1 {
		t.Errorf("%d certificates were shown to the forward proxy, %d to the upstream; want 0, 1", toProxy.Load(), toUpstream.Load())
	}
}

// NO_PROXY, for one, says which do.
func TestConnect_SomeGoPastTheForwardProxy(t *testing.T) {
	there, reached := serving(t, answerTo(func(*http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" }))
	_, port, _ := net.SplitHostPort(there)
	f := &forwarder{to: there}
	address, accepted := serving(t, f.http)
	egress := func(r *http.Request) (*url.URL, error) { // as http.ProxyFromEnvironment is, which reads the environment once
		if r.URL.Hostname() == "direct.example.org" {
			return nil, nil
		}
		return &url.URL{Scheme: "http", User: url.UserPassword("me", "hush"), Host: address}, nil
	}
	for _, tt := range []struct {
		host    string
		proxied int32
	}{
		{"api.example.org", 1}, {"direct.example.org", 0}, {"other.example.org", 1},
	} {
		before, before2 := accepted.Load(), reached.Load()
		w := made(t, TransportConfig{Egress: egress, Private: true, Resolver: Resolving(t, "127.0.0.1")})
		for range 2 {
			sent(t, w, "http://"+tt.host+":"+port+"/", http.Header{})
		}
		if got := accepted.Load() - before; got != tt.proxied || reached.Load()-before2 != 1 {
			t.Errorf("%s: %d connections to the forward proxy, %d to the upstream; want %d, 1", tt.host, got, reached.Load()-before2, tt.proxied)
		}
	}
	failing := func(*http.Request) (*url.URL, error) { return nil, errors.New("no such thing") }
	if _, err := post(t, made(t, TransportConfig{Egress: failing, Private: true}), "http://"+there+"/"); !isUnsent(err) || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("a way out that is not known: %v, want unsent", err)
	}
}

// paced is the other end of a forward proxy's connection: it reads what it is told and
// says its answers byte by byte, with so much time before each.
func paced(c net.Conn, pace time.Duration, answers []string) {
	some := make([]byte, 4<<10)
	for _, answer := range answers {
		if _, err := c.Read(some); err != nil {
			return
		}
		for i := range len(answer) {
			time.Sleep(pace)
			if _, err := io.WriteString(c, answer[i:i+1]); err != nil {
				return
			}
		}
	}
	time.Sleep(time.Hour)
	_, _ = c.Read(some)
	time.Sleep(time.Hour)
	_, _ = io.WriteString(c, "x")
}

// Drips do not lengthen the time that getting through may take, and of that nothing is
// left for what is said over the tunnel.
func TestConnect_AForwardProxyMayTakeTheTimeToConnectAndNoMore(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{DNSNames: []string{"proxy.example"}})
	trustingProxies(t, authority.Pool())
	now := time.Now()
	toForwardProxies.Time = func() time.Time { return now } // a bubble's clock is at 2000
	http200 := []string{"HTTP/1.1 200 OK\r\n\r\n"}
	socks := []string{"\x05\x02", "\x01\x00", "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"}
	for _, tt := range []struct {
		scheme  string
		answers []string
		pace    time.Duration
		in      time.Duration // that it gets through; 0: it does not
	}{
		{"http", http200, 200 * time.Millisecond, 3800 * time.Millisecond},
		{"https", http200, 200 * time.Millisecond, 3800 * time.Millisecond},
		{"socks5", socks, 300 * time.Millisecond, 4200 * time.Millisecond},
		{"http", http200, 1100 * time.Millisecond, 0},
		{"https", http200, 1100 * time.Millisecond, 0},
		{"socks5", socks, 1100 * time.Millisecond, 0},
		{"http", http200, time.Hour, 0},
		{"https", http200, time.Hour, 0},
		{"socks5", socks, time.Hour, 0},
	} {
		t.Run(fmt.Sprint(tt.scheme, " a byte each ", tt.pace), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				var serving sync.WaitGroup
				serving.Go(func() {
					var c net.Conn = there
					if tt.scheme == "https" { // without tickets, for which a pipe has no room
						c = tls.Server(there, &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true})
					}
					paced(c, tt.pace, tt.answers)
				})
				d := newDialer(TransportConfig{Tuning: TuningConfig{Dial: 5 * time.Second, BodyIdle: 30 * time.Second}})
				s := newSocket(&outbound{Conn: here, patience: d.patience})
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), d.Timeout)
				defer cancel()
				over, _, err := d.pass(ctx, s, &url.URL{Scheme: tt.scheme, User: url.UserPassword("me", "hush"), Host: "proxy.example"}, &url.URL{Scheme: "https", Host: "api.example.org"})
				want := cmp.Or(tt.in, 5*time.Second)
				if took := time.Since(start); (err == nil) != (tt.in != 0) || took != want {
					t.Errorf("%v after %v, want it after %v", err, took, want)
				}
				if err != nil && tt.pace == time.Hour && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v, want a timeout", err) // of a part of a line net/http says that it is malformed
				}
				if err == nil {
					checkUnbound(t, s, over)
				}
				_ = here.Close()
				_ = there.Close()
				serving.Wait()
			})
		})
	}
}

// checkUnbound is that a connection's deadlines are none, hours after it was made.
func checkUnbound(t *testing.T, s *socket, over net.Conn) {
	t.Helper()
	if !s.due.IsZero() || !s.set.IsZero() || !s.until.IsZero() {
		t.Errorf("a deadline is left: reading ends at %v, %v, writing at %v", s.due, s.set, s.until)
	}
	time.Sleep(time.Hour)
	if _, err := io.WriteString(over, "hello"); err != nil {
		t.Errorf("writing an hour later: %v", err)
	}
	var one [1]byte
	if _, err := io.ReadFull(over, one[:]); err != nil || one[0] != 'x' {
		t.Errorf("reading an hour later: %q, %v", one, err)
	}
}

func TestConnect_AForwardProxyThatReadsNothingIsLetGoOf(t *testing.T) {
	for _, scheme := range []string{"http", "socks5"} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			d := newDialer(TransportConfig{Tuning: TuningConfig{Dial: 5 * time.Second, BodyIdle: 30 * time.Second}})
			s := newSocket(&outbound{Conn: here, patience: d.patience})
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), d.Timeout)
			defer cancel()
			_, _, err := d.pass(ctx, s, &url.URL{Scheme: scheme, Host: "proxy.example"}, &url.URL{Scheme: "https", Host: "api.example.org"})
			if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 5*time.Second {
				t.Errorf("%s: %v after %v, want a timeout after 5s", scheme, err, took)
			}
			_, _ = here.Close(), there.Close()
		})
	}
}

// Forward proxies differ in how they grant a way, and in whether they wait to be asked.
func TestConnect_AWayThatIsGrantedIsTaken(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{DNSNames: []string{"api.example.org"}})
	upstream := securedBy(certificate, answerTo(noContent))
	for _, tt := range []struct {
		name, scheme string
		early        string // is said at once
		answers      []string
	}{
		{"HTTP/1.0", "http", "", []string{"HTTP/1.0 200 x\r\n\r\n"}},
		{"a length, which means nothing", "http", "", []string{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"}},
		{"chunks, which mean nothing", "http", "", []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"}},
		{"lines without CR", "http", "", []string{"HTTP/1.1 200 OK\nVia: x\n\n"}},
		{"a long head", "http", "", []string{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeader/2) + "\r\n\r\n"}},
		{"before it is asked for", "http", "HTTP/1.1 200 OK\r\n\r\n", []string{""}},
		{"a name in place of an address", "socks5", "", []string{"\x05\x00", "\x05\x00\x00\x03\x09a.example\x00\x50"}},
		{"an address of IPv6", "socks5", "", []string{"\x05\x00", "\x05\x00\x00\x04" + strings.Repeat("\x00", 18)}},
		{"without the password that is offered", "socks5", "", []string{"\x05\x00", "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"}},
		{"before it is asked for, by SOCKS", "socks5", "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00", []string{"", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, accepted := serving(t, func(c net.Conn) {
				_, _ = io.WriteString(c, tt.early)
				if tt.scheme == "http" {
					grant(c, tt.answers)
				} else {
					grantSOCKS(c, tt.answers)
				}
				upstream(c)
			})
			egress := &url.URL{Scheme: tt.scheme, User: url.UserPassword("me", "hush"), Host: address}
			w := made(t, TransportConfig{Egress: Egress(http.ProxyURL(egress)), TLS: &tls.Config{RootCAs: authority.Pool()}})
			for range 2 {
				if _, err := post(t, w, "https://api.example.org/"); err != nil {
					t.Error(err)
				}
			}
			if accepted.Load() != 1 {
				t.Errorf("%d connections, want one that is kept", accepted.Load())
			}
		})
	}
}

// grant answers a request for a tunnel.
func grant(c net.Conn, answers []string) {
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one...) {
		if _, err := c.Read(one); err != nil { // byte by byte: what comes next is the upstream's
			return
		}
	}
	_, _ = io.WriteString(c, answers[0])
}

// grantSOCKS answers the two requests for a way to api.example.org, without a password.
func grantSOCKS(c net.Conn, answers []string) {
	for i, length := range []int{len("\x05\x02\x00\x02"), len("\x05\x01\x00\x03\x0fapi.example.org\x01\xbb")} {
		if _, err := io.ReadFull(c, make([]byte, length)); err != nil {
			return
		}
		_, _ = io.WriteString(c, answers[i])
	}
}
