//go:build !race

// Package allocations holds bearerd to what a request may allocate. Counts are exact
// and the same on every machine, as times are not, so they may fail a build. The race
// detector allocates too, so these tests are a step of their own: make allocations.
package allocations

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"bearerd/proxy/daemon"
	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	warming  = 300  // requests before anything is counted
	counting = 3000 // requests that are counted

)

// overBare is how many allocations a request may cost bearerd, everything on, more
// than a bare ReverseProxy: it costs fewer, since net/http's Transport is not in it.
var overBare = map[string]float64{"GET": -32, "POST": -36}

// requests are as tools send them, with five headers.
var requests = map[string]string{
	"GET": "GET /transfer/v0.10/task_list?limit=100 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: globus-sdk-py-3.66.0\r\n" +
		"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nX-Client-Info: product=python-sdk,version=3.66.0\r\n\r\n",
	"POST": "POST /transfer/v0.10/transfer HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: globus-sdk-py-3.66.0\r\nAccept: application/json\r\n" +
		"Content-Type: application/json\r\nContent-Length: 1024\r\nX-Client-Info: product=python-sdk,version=3.66.0\r\n\r\n" + strings.Repeat("j", 1024),
}

// answer is one with 14 headers and 1608 bytes of JSON.
var answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1608\r\nDate: Wed, 25 Nov 2026 12:00:00 GMT\r\nCache-Control: no-store\r\n" +
	"X-Request-Id: 3f1c9a5e-6f1d-4a43-8e4d-6a1f0b7c5d21\r\nX-Transfer-Api-Version: 0.10\r\nX-Content-Type-Options: nosniff\r\nVary: Accept-Encoding\r\n" +
	"Etag: \"3f1c9a5e\"\r\nLast-Modified: Wed, 25 Nov 2026 11:00:00 GMT\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n" +
	"X-Ratelimit-Remaining: 99\r\nX-Served-By: node-7\r\n\r\n" + strings.Repeat("j", 1608)

// TestRequest_AllocatesLittleMoreThanABareReverseProxy counts what a request costs
// this process, from socket to socket. What the client and the upstream do costs
// nothing, so it is the proxy's alone.
func TestRequest_AllocatesLittleMoreThanABareReverseProxy(t *testing.T) {
	upstream := startUpstream(t)
	bare, full := startBare(t, upstream.url), startBearerd(t, upstream.url)
	for method, request := range requests {
		t.Run(method, func(t *testing.T) {
			ofBare, bytesOfBare, _ := count(t, upstream, bare, request)
			ofFull, bytesOfFull, opened := count(t, upstream, full, request)
			t.Logf("allocations: a %s costs bearerd %.1f (%.1f KiB), a bare ReverseProxy %.1f (%.1f KiB); %d new upstream connections in %d requests",
				method, ofFull, bytesOfFull, ofBare, bytesOfBare, opened, counting)
			if math.Round(ofFull-ofBare) > overBare[method] {
				t.Errorf("a %s costs %.1f allocations, want at most %.1f %+v", method, ofFull, ofBare, overBare[method])
			}
			if opened != 0 {
				t.Errorf("%d connections were opened to the upstream, want 0", opened)
			}
		})
	}
}

// count sends a request again and again over one connection, and returns what one
// allocates, in number and KiB, and how often the upstream was connected to.
func count(t *testing.T, upstream *upstream, addr, request string) (allocations, kib float64, opened int) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	sent, room := []byte(request), make([]byte, 16<<10)
	send := func(n int) {
		for range n {
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			if line, size, err := harness.ReadMessage(c, room); err != nil || !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) || size != 1608 {
				t.Fatalf("answered %q with %d bytes, %v", line, size, err)
			}
		}
	}
	send(warming)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would empty pools
	before := upstream.opened()
	var from, to runtime.MemStats
	runtime.ReadMemStats(&from)
	send(counting)
	runtime.ReadMemStats(&to)
	return float64(to.Mallocs-from.Mallocs) / counting, float64(to.TotalAlloc-from.TotalAlloc) / counting / 1024, upstream.opened() - before
}

// upstream answers every request the same.
type upstream struct {
	url string

	mu    sync.Mutex // guards the field below
	conns []net.Conn
}

func (u *upstream) opened() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.conns)
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{url: "http://" + l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.conns = append(u.conns, c)
			u.mu.Unlock()
			serving.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		u.mu.Lock()
		for _, c := range u.conns {
			_ = c.Close()
		}
		u.mu.Unlock()
		serving.Wait()
	})
	return u
}

func serve(c net.Conn) {
	room, sent := make([]byte, 16<<10), []byte(answer)
	for {
		if _, _, err := harness.ReadMessage(c, room); err != nil {
			return
		}
		if _, err := c.Write(sent); err != nil {
			return
		}
	}
}

// startBare runs what bearerd is built on, set up as well as it can be.
func startBare(t *testing.T, upstreamURL string) (addr string) {
	t.Helper()
	base, err := url.Parse(upstreamURL)
	if err != nil {
		t.Fatal(err)
	}
	handler, release := harness.Bare(base, nil)
	server := &http.Server{Handler: handler}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
		release()
	})
	return l.Addr().String()
}

// startBearerd runs bearerd with everything on: the access log, metrics, the breaker,
// and twenty rules of which the last two allow what is asked.
func startBearerd(t *testing.T, upstreamURL string) (addr string) {
	t.Helper()
	globus := harness.NewGlobus(t, emulator.Config{})
	globus.TransferURL = upstreamURL
	before, read, _ := strings.Cut(harness.Config(globus, harness.RuleSubmit), "    - ")
	for i := range 18 {
		before += fmt.Sprintf("    - {name: other-%d, callers: [local], upstreams: [transfer], methods: [GET, POST], paths: [/v0.10/endpoint/%d/role_list], deny: true}\n", i, i)
	}
	dir := t.TempDir()
	config := strings.Replace(before+"    - "+read, "file:secret", "file:"+filepath.Join(dir, "secret"), 1)
	for name, text := range map[string]string{"config.yaml": config, "secret": emulator.DemoClientSecret + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	started := make(chan string, 1)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		defer close(started)
		if err := daemon.Run(ctx, daemon.Options{
			ConfigPath: filepath.Join(dir, "config.yaml"), Log: io.Discard, Embedded: true,
			Started: func(_ *daemon.Config, addresses []string) { started <- addresses[0] },
		}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	addr, ok := <-started
	if !ok {
		t.FailNow()
	}
	return addr
}
