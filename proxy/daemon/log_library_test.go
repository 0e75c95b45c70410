package daemon

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/harness"
)

// canary is what no line may hold.
const canary = "AgCanary\x1b[2J"

// libraryLogged is a global logger of the test's own, and what comes of it.
func libraryLogged() (printer *stdlog.Logger, logged func() string) {
	var out bytes.Buffer
	l := newLogger(LogConfig{Level: "debug", Format: "json"}, &out)
	return stdlog.New(newLibraryLog(l), "", 0), func() string {
		l.out.flush()
		return out.String()
	}
}

func newRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestLibraryLog_SaysInItsOwnWordsWhatItKnows(t *testing.T) {
	for _, tt := range []struct {
		printed string
		want    []string
	}{
		{`Unsolicited response received on idle HTTP channel starting with "` + canary + `: EOF"; err=<nil>`, []string{`"warn"`, "nobody asked for"}},
		{"http: TLS handshake error from 192.0.2.1:1234: client sent an HTTP request to an HTTPS server", []string{`"peer":"192.0.2.1"`, "plain HTTP"}},
		{"http: TLS handshake error from [2001:db8::1]:1234: tls: failed to verify certificate: x509: " + canary, []string{`"peer":"2001:db8::1"`, "none of client_ca's"}},
		{"http: TLS handshake error from @: " + canary, []string{"a TLS handshake failed"}},
		{"http: TLS handshake error from 192.0.2.1:1234: EOF", []string{`"debug"`, "hung up"}},
		{"http: Accept error: accept tcp 127.0.0.1:80: accept4: too many open files; retrying in 5ms", []string{"could not be accepted", "raise the limit"}},
		{"http: panic serving 127.0.0.1:1234: " + canary + "\ngoroutine 1 [running]:", []string{`"error"`, "a handler panicked"}},
		{"http2: server: error reading preface from client 127.0.0.1:1234: " + canary, []string{"rules of HTTP/2"}},
		{"http2: received GOAWAY [FrameHeader GOAWAY len=8] LastStreamID=0 ErrCode=1 Debug=\"" + canary, []string{"rules of HTTP/2"}},
		{"timeout waiting for SETTINGS frames from 127.0.0.1:1234", []string{"rules of HTTP/2"}},
		{canary, []string{"no words for", `"at":"daemon.TestLibraryLog_SaysInItsOwnWordsWhatItKnows"`}},
	} {
		printer, logged := libraryLogged()
		printer.Print(tt.printed)
		got := logged()
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%q is logged as %s, want %s in it", tt.printed, got, want)
			}
		}
		if strings.Contains(got, "AgCanary") || strings.Count(got, "\n") != 1 || strings.Contains(got, `"reason"`) && strings.Contains(got, "nobody") {
			t.Errorf("%q is logged as %s", tt.printed, got)
		}
	}
}

func TestLibraryLog_OneLineOfAKindASecondAndThenTheRestCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		printer, logged := libraryLogged()
		for i := range 100 {
			printer.Printf("Unsolicited response received on idle HTTP channel starting with \"%d\"", i)
			printer.Print("something else")
		}
		if n := strings.Count(logged(), "\n"); n != 2 {
			t.Errorf("%d lines at once, want one of each kind", n)
		}
		time.Sleep(libraryEvery)
		synctest.Wait()
		if got := logged(); strings.Count(got, `"times":99`) != 2 || strings.Count(got, "\n") != 4 {
			t.Errorf("a second later there is %s", got)
		}
		time.Sleep(10 * libraryEvery)
		printer.Print("something else")
		if got := logged(); strings.Count(got, "\n") != 5 {
			t.Errorf("later there is %s", got)
		}
		time.Sleep(libraryEvery)
	})
}

// A real server, whose handler panics with what a request held.
func TestLibraryLog_NamesTheLineThatPanicked(t *testing.T) {
	printer, logged := libraryLogged()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		panic(fmt.Sprintf("%+v", r.Header))
	}))
	server.ErrorLog = printer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	req := newRequest(t, "http://"+listener.Addr().String())
	req.Header.Set("X-Canary", "AgCanary")
	transport := &http.Transport{}
	if resp, err := transport.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
		t.Error("it was answered")
	}
	transport.CloseIdleConnections()
	_ = server.Close()
	<-ended
	if got := logged(); !strings.Contains(got, `"at":"log_library_test.go:`) || strings.Contains(got, "AgCanary") || strings.Contains(got, "goroutine") {
		t.Errorf("the log has %s, want the line that panicked and nothing that it said", got)
	}
}

// Real handshakes that fail, by what a listener's own configuration says to them.
func TestLibraryLog_SaysWhyAHandshakeFailed(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate := authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	for _, tt := range []struct {
		name, want string
		dial       func(address string) error
	}{
		{"plain HTTP", "it spoke plain HTTP", func(address string) error {
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(newRequest(t, "http://"+address+"/AgCanary"))
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		}},
		{"another protocol", "it spoke no TLS", func(address string) error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "AgCanary and more than a record's head\n")
			_, err = io.Copy(io.Discard, conn)
			return errors.Join(err, io.EOF)
		}},
		{"an old version", "no TLS that is new enough", func(address string) error {
			_, err := tls.Dial("tcp", address, &tls.Config{RootCAs: authority.Pool(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
			return err
		}},
		{"no trust", "it refused", func(address string) error {
			_, err := tls.Dial("tcp", address, &tls.Config{ServerName: "AgCanary", MaxVersion: tls.VersionTLS12})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			printer, logged := libraryLogged()
			plain, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := newServer(http.NotFoundHandler())
			server.ErrorLog = printer
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = server.Serve(tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}))
			}()
			_ = tt.dial(plain.Addr().String()) // it fails, or is answered with 400
			for start := time.Now(); !strings.Contains(logged(), tt.want); time.Sleep(time.Millisecond) {
				if time.Since(start) > 10*time.Second {
					t.Fatalf("the log has %q, want %q", logged(), tt.want)
				}
			}
			_ = server.Close()
			<-ended
			if got := logged(); strings.Contains(got, "AgCanary") || !strings.Contains(got, `"peer":"127.0.0.1"`) {
				t.Errorf("the log has %s", got)
			}
		})
	}
}
