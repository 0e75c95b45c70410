package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestRepeat_WhatNeverLeftIsTriedAgain(t *testing.T) {
	refused := &unsentError{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
	for _, tt := range []struct {
		name   string
		err    error
		fails  int // so many times
		asked  int
		waited time.Duration
	}{
		{"once", refused, 1, 2, 50 * time.Millisecond},
		{"twice", refused, 2, 3, 250 * time.Millisecond},
		{"for ever", refused, 9, 3, 250 * time.Millisecond},
		{"through a forward proxy", &unsentError{&net.OpError{Op: "proxyconnect", Err: io.EOF}}, 1, 2, 50 * time.Millisecond},
		{"no such name", &unsentError{&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}}, 9, 1, 0},
		{"a resolver that is away", &unsentError{&net.OpError{Op: "dial", Err: &net.DNSError{IsTemporary: true}}}, 1, 2, 50 * time.Millisecond},
		{"nobody there", &unsentError{&net.OpError{Op: "dial", Err: timedOut{}}}, 9, 1, 0},
		{"an address that is refused", &unsentError{&net.OpError{Op: "dial", Err: errAddressRefused}}, 9, 1, 0},
		{"a stranger", &unsentError{&tls.CertificateVerificationError{}}, 9, 1, 0},
		{"after it was sent", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, 9, 1, 0},
		{"after somebody took it", io.ErrUnexpectedEOF, 9, 1, 0},
		{"nobody knows", errors.New("something"), 9, 1, 0},
	} {
		for _, streams := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				next := &tripper{}
				next.do = func(req *http.Request) (*http.Response, error) {
					if next.asked <= tt.fails {
						if tt.waited == 0 { // some of it left
							_, _ = req.Body.Read(make([]byte, 1))
						}
						_ = req.Body.Close() // as the transport does
						return nil, tt.err
					}
					if body, err := io.ReadAll(req.Body); string(body) != "the body" {
						t.Errorf("%s: the upstream received %q, %v", tt.name, body, err)
					}
					return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
				}
				req, err := http.NewRequestWithContext(t.Context(), "POST", "https://up.example/", strings.NewReader("the body"))
				if err != nil {
					t.Fatal(err)
				}
				x := &Exchange{line: &Upstream{limits: LimitsConfig{Body: unlimited}}}
				req = carrying(req, x)
				x.body.head = []byte("the body")
				if streams {
					x.body.stream = &stream{Reader: strings.NewReader("the body"), x: x, left: 100}
				}
				req.GetBody = x.openBody
				req.Body, _ = req.GetBody()
				begun := time.Now()
				resp, err := repeat{next}.RoundTrip(req)
				if resp != nil {
					_ = resp.Body.Close()
				}
				if ok := tt.fails < tt.asked; next.asked != tt.asked || (err == nil) != ok || time.Since(begun) != tt.waited {
					t.Errorf("%s: asked %d times in %v (%v), want %d in %v", tt.name, next.asked, time.Since(begun), err, tt.asked, tt.waited)
				}
			})
		}
	}
}

type timedOut struct{}

func (timedOut) Error() string { return "timed out" }
func (timedOut) Timeout() bool { return true }
