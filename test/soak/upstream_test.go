//go:build soak

package soak

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const token = "of-the-upstreams-own-0123456789"

// big is a body that is never read whole by bearerd.
var big = strings.Repeat("Sphinx of black quartz, judge my vow. ", 3<<20/38)

// upstreams are the URLs of services that need no tokens of Globus.
type upstreams struct{ store, fragile, bent string }

// newUpstreams starts them. What becomes of a request is the first segment of its path:
//
//	/small, /big       answered; big has a long body
//	/reset, /once      the connection broken after the request was read; once: only the first time
//	/slow              answered after 0.3 s
//	/never             not answered
//	/cut, /stall       half an answer, and then the connection's end, or nothing more
//	/garbage           something that is not HTTP
//	/503, /429         such a status
func newUpstreams(t *testing.T, l *ledger) upstreams {
	serve := func() string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r, l) }))
		t.Cleanup(server.Close)
		return server.URL
	}
	return upstreams{serve(), serve(), serve()}
}

func answer(w http.ResponseWriter, r *http.Request, l *ledger) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		return // nothing was done: the caller left
	}
	times := l.note(r)
	kind, _, _ := strings.Cut(r.URL.Path[1:], "/")
	switch kind {
	case "reset":
		reset(w)
		return
	case "once":
		if times == 1 {
			reset(w)
			return
		}
	case "slow":
		pause(r, 300*time.Millisecond)
	case "never":
		pause(r, time.Minute)
		return
	case "cut", "stall":
		w.Header().Set("Content-Length", fmt.Sprint(len(big)))
		_, _ = io.WriteString(w, big[:len(big)/2])
		if kind == "stall" {
			_ = http.NewResponseController(w).Flush()
			pause(r, time.Minute)
		}
		panic(http.ErrAbortHandler)
	case "garbage":
		conn := hijack(w)
		_, _ = io.WriteString(conn, "nothing that is HTTP\r\n\r\n")
		_ = conn.Close()
		return
	case "503":
		w.WriteHeader(http.StatusServiceUnavailable)
	case "429":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case "big":
		_, _ = io.WriteString(w, big)
		return
	}
	_, _ = io.WriteString(w, receipt(r.Method, r.URL.Path, n, sum.Sum(nil)))
}

// receipt is the body of an answer: what the upstream understood.
func receipt(method, path string, length int64, sum []byte) string {
	return fmt.Sprintf("%s %s %d %x\n", method, path, length, sum)
}

func hijack(w http.ResponseWriter) *net.TCPConn {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn.(*net.TCPConn)
}

func reset(w http.ResponseWriter) {
	conn := hijack(w)
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// pause waits, as long as somebody waits for the answer.
func pause(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// A ledger knows how often each request was delivered whole.
type ledger struct {
	mu    sync.Mutex // guards the fields below
	times map[string]int
	odd   int // requests without the token
}

func newLedger() *ledger { return &ledger{times: map[string]int{}} }

func (l *ledger) note(r *http.Request) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		l.odd++
	}
	l.times[r.URL.Path]++
	return l.times[r.URL.Path]
}

// take returns how often a request was delivered, and forgets it.
func (l *ledger) take(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer delete(l.times, path)
	return l.times[path]
}
