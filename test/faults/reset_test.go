package faults_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// deaf is an upstream that takes each request whole and then breaks the connection,
// the first so many times that it comes. Requests for /warm are answered, so that
// others meet connections that were kept.
func deaf(t *testing.T, l *ledger, breaks int) (url string) {
	return serveRaw(t, func(conn *net.TCPConn) {
		for in := bufio.NewReader(conn); ; {
			r, ok := receive(conn, in)
			if !ok {
				return
			}
			if !strings.HasPrefix(r.URL.Path, "/warm") {
				if n := l.note(r); n <= breaks {
					if len(r.URL.Path)%2 == 0 { // by either way of breaking it
						reset(conn)
					}
					return
				}
			}
			body := "done " + r.URL.Path
			head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			if r.Method == http.MethodHead {
				body = ""
			}
			_, _ = io.WriteString(conn, head+body)
		}
	})
}

// TestReset_WhatMayHaveBeenDoneIsNotSentAgain is a thousand requests that the
// upstream took, and of whose outcome nobody knows.
func TestReset_WhatMayHaveBeenDoneIsNotSentAgain(t *testing.T) {
	const each = 250
	var (
		done ledger
		got  tally
	)
	c := newCaller(t, start(t, deaf(t, &done, 10), "breaker: {enabled: false}"))
	methods := []string{"POST", "PUT", "PATCH", "DELETE"}
	sizes := []int{0, 1, 1 << 10, 64 << 10, 200 << 10} // the last is streamed
	inParallel(each*len(methods), 16, func(i int) {
		if i%2 == 0 {
			c.do("GET", "/warm", nil)
		}
		var body io.Reader
		if size := sizes[i%len(sizes)]; size > 0 {
			body = strings.NewReader(strings.Repeat("b", size))
		}
		got.add(c.do(methods[i/each], fmt.Sprintf("/%d", i+i%2*10_000), body))
	})
	sent := each * len(methods)
	n, twice := done.check(t)
	if got.of("502 outcome_unknown") != sent || n != sent || twice != 0 {
		t.Errorf("%d of %d were delivered, %d of them again; answered was %v", n, sent, twice, &got)
	}
	t.Logf("reset after delivery: %d of %d outcome_unknown, %d second deliveries", got.of("502 outcome_unknown"), sent, twice)
}

// TestReset_WhatMayBeDoneTwiceIsSentOnceMore counts deliveries, also where several
// connections are kept.
func TestReset_WhatMayBeDoneTwiceIsSentOnceMore(t *testing.T) {
	t.Parallel()
	const key = "Idempotency-Key"
	for _, tt := range []struct {
		name, method, path, header string
		body                       int // bytes
	}{
		{name: "GET", method: "GET", path: "/a"},
		{name: "HEAD", method: "HEAD", path: "/a"},
		{name: "OPTIONS", method: "OPTIONS", path: "/a"},
		{name: "POST with a key", method: "POST", path: "/a", header: key, body: 100},
		{name: "DELETE with a key", method: "DELETE", path: "/a", header: key},
		{name: "POST to an idempotent path", method: "POST", path: "/submit/1", body: 100},
		{name: "PUT to an idempotent path", method: "PUT", path: "/submit/12", body: 64 << 10},
	} {
		for _, kept := range []int{0, 8} {
			for _, breaks := range []int{1, 100} {
				t.Run(fmt.Sprintf("%s, %d connections kept, broken %d times", tt.name, kept, breaks), func(t *testing.T) {
					t.Parallel()
					var done ledger
					c := newCaller(t, start(t, deaf(t, &done, breaks), "idempotent: [/submit/*]"))
					inParallel(kept, kept, func(i int) { c.do("GET", "/warm", nil) })
					var header []string
					if tt.header != "" {
						header = []string{tt.header, "0d0c"}
					}
					var body io.Reader
					if tt.body > 0 {
						body = strings.NewReader(strings.Repeat("b", tt.body))
					}
					got := c.do(tt.method, tt.path, body, header...)
					want := answer{status: 200, body: "done " + tt.path}
					if tt.method == http.MethodHead {
						want.body = ""
					}
					if breaks > 1 {
						want = answer{status: 502, code: "upstream_unreachable", body: got.body}
					}
					if got.String() != want.String() || got.body != want.body {
						t.Errorf("answered was %v %q, want %v %q", got, got.body, want, want.body)
					}
					done.check(t)
					if n := done.times(tt.path); n != 2 {
						t.Errorf("it was delivered %d times, want 2", n)
					}
				})
			}
		}
	}
}

// TestReset_AnswersAreNoReason because callers know best whether to try again.
func TestReset_AnswersAreNoReason(t *testing.T) {
	t.Parallel()
	var done ledger
	url := serveRaw(t, func(conn *net.TCPConn) {
		for in := bufio.NewReader(conn); ; {
			r, ok := receive(conn, in)
			if !ok {
				return
			}
			done.note(r)
			status := strings.Trim(strings.ReplaceAll(r.URL.Path, "/", " "), " ")
			status, _, _ = strings.Cut(status, " ")
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s Said\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nsaid", status)
		}
	})
	c := newCaller(t, start(t, url, "breaker: {enabled: false}, idempotent: [/**]"))
	for _, status := range []int{429, 500, 502, 503, 504} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			path := fmt.Sprintf("/%d/%s", status, method)
			got := c.do(method, path, nil, "Idempotency-Key", "0d0c")
			if got.String() != fmt.Sprint(status) || got.body != "said" || got.header.Get("Retry-After") != "0" {
				t.Errorf("%s %s: answered was %v %q, want %d as said", method, path, got, got.body, status)
			}
			if n := done.times(path); n != 1 {
				t.Errorf("%s %s was delivered %d times, want 1", method, path, n)
			}
		}
	}
	done.check(t)
}
