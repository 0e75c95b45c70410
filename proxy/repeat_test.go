package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bearerd/proxy"
)

// fragile is an upstream that reads each request whole, and resets the connection
// under the first so many of them instead of answering.
type fragile struct {
	url       string
	delivered atomic.Int32
	bodies    atomic.Int64
}

func newFragile(t *testing.T, resets int32) *fragile {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fragile{url: "http://" + l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { f.serve(conn, resets) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return f
}

func (f *fragile) serve(conn net.Conn, resets int32) {
	defer func() { _ = conn.Close() }()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	if req.Header.Get("Expect") != "" {
		_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	n, err := io.Copy(io.Discard, req.Body)
	if err != nil {
		return
	}
	f.bodies.Add(n)
	if f.delivered.Add(1) <= resets {
		_ = conn.(*net.TCPConn).SetLinger(0)
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

func TestRepeat_OnlyWhatDoesNothingTwice(t *testing.T) {
	for _, tt := range []struct {
		name, method, path, header string
		size                       int
		delivered                  int32
		status                     int
		code                       string
	}{
		{"reads", "GET", "/a", "", 0, 2, 200, ""},
		{"reads of the head alone", "HEAD", "/a", "", 0, 2, 200, ""},
		{"questions", "OPTIONS", "/a", "", 0, 2, 200, ""},
		{"a POST", "POST", "/a", "", 3, 1, 502, "outcome_unknown"},
		{"a POST without a body", "POST", "/a", "", 0, 1, 502, "outcome_unknown"},
		{"a PUT", "PUT", "/a", "", 3, 1, 502, "outcome_unknown"},
		{"a PATCH", "PATCH", "/a", "", 3, 1, 502, "outcome_unknown"},
		{"a DELETE", "DELETE", "/a", "", 0, 1, 502, "outcome_unknown"},
		{"a POST with a key", "POST", "/a", "0d0c", 3, 2, 200, ""},
		{"a long POST with a key", "POST", "/a", "0d0c", 3 << 20, 1, 502, "upstream_unreachable"},
		{"a POST to a path that is idempotent", "POST", "/submit/1", "", 3, 2, 200, ""},
		{"the same, spelled otherwise", "POST", "/%73ubmit/1", "", 3, 2, 200, ""},
		{"a POST below it", "POST", "/submit/1/x", "", 3, 1, 502, "outcome_unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFragile(t, 1)
			s := to(t, f.url)
			s.upstreams["up"] = proxy.UpstreamConfig{URL: f.url, InsecureHTTP: true, Private: true, Idempotent: []string{"/submit/*"}}
			r := newRig(t, s)
			var header []string
			if tt.header != "" {
				header = []string{"Idempotency-Key", tt.header}
			}
			got := r.do(tt.method, "/up"+tt.path, strings.Repeat("b", tt.size), header...)
			if got.status != tt.status || got.code() != tt.code {
				t.Errorf("answered %d %s, want %d %s", got.status, got.code(), tt.status, tt.code)
			}
			if n := f.delivered.Load(); n != tt.delivered || f.bodies.Load() != int64(n)*int64(tt.size) {
				t.Errorf("delivered %d times with %d bytes, want %d times and %d bytes each", n, f.bodies.Load(), tt.delivered, tt.size)
			}
			if x := r.seen()[0]; x.Attempts != int(tt.delivered) {
				t.Errorf("%d attempts are told, want %d", x.Attempts, tt.delivered)
			}
		})
	}
}

func TestRepeat_OnceAndNoMore(t *testing.T) {
	f := newFragile(t, 100)
	r := newRig(t, to(t, f.url))
	if got := r.do("GET", "/up/a", ""); got.status != 502 || got.code() != "upstream_unreachable" || f.delivered.Load() != 2 {
		t.Errorf("answered %d %s after %d deliveries, want 502 upstream_unreachable after 2", got.status, got.code(), f.delivered.Load())
	}
}

// Callers know best whether to try again.
func TestRepeat_NoAnswerIsAReason(t *testing.T) {
	for _, status := range []int{429, 500, 502, 503, 504} {
		var asked atomic.Int32
		url := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(status)
		})
		r := newRig(t, to(t, url))
		if got := r.do("GET", "/up/a", ""); got.status != status || asked.Load() != 1 {
			t.Errorf("a %d: answered %d after %d requests", status, got.status, asked.Load())
		}
	}
}

// Of a body that was asked about first nothing may have left, and nobody executes a
// request that is not whole.
func TestRepeat_WhatHasNoBodyYetIsSentAgain(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan int64, 2)
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	serving.Go(func() {
		for first := true; ; first = false {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil || req.Header.Get("Expect") == "" {
				t.Errorf("the upstream received %v, %v", req, err)
			}
			if first {
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
				continue
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			n, _ := io.Copy(io.Discard, req.Body)
			received <- n
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_ = conn.Close()
		}
	})
	r := newRig(t, to(t, "http://"+l.Addr().String()))
	if got := r.upload(3<<20, false); got.status != 200 {
		t.Fatalf("answered %d %s", got.status, got.code())
	}
	if n := <-received; n != 3<<20 {
		t.Errorf("the upstream received %d bytes", n)
	}
}
