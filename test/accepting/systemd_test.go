//go:build linux

package accepting_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bearerd/test/harness"
)

const systemdConfig = `proxy:
  listeners: [{address: "systemd:web"}]
  upstreams: {up: {url: "%s", insecure_http: true, private: true, credential: none}}
  drain: {delay: %v, timeout: 10s}
policy:
  rules: [{name: all, callers: [local], upstreams: [up], methods: [GET, POST], paths: [/**]}]
log: {access: false}
`

// once sends one request on a connection of its own.
func (c *tally) once(network, address string) {
	conn, err := net.Dial(network, address)
	if err != nil {
		c.refused.Add(1)
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "POST /up/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
		c.loses(0, "sending", err)
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		c.loses(0, "reading the answer's head", err)
		return
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
		c.loses(0, fmt.Sprintf("reading the answer %d %q", resp.StatusCode, body), err)
		return
	}
	c.answered.Add(1)
}

// TestSystemd_RestartsRefuseAndLoseNothing, each process beginning when the one before
// has ended, as systemd does it, and the socket staying.
func TestSystemd_RestartsRefuseAndLoseNothing(t *testing.T) {
	const delay, restarts = time.Second, 3 // a delay within which kept connections are used, on a busy machine too
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			var arrived atomic.Int64
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				arrived.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, "done")
			}))
			t.Cleanup(upstream.Close)
			where := "127.0.0.1:0"
			if network == "unix" {
				where = filepath.Join(t.TempDir(), "web.sock")
			}
			socket, file := harness.ListenAsSystemd(t, network, where)
			address := socket.Addr().String()

			start := func() *harness.Bearerd {
				return harness.Start(t, fmt.Sprintf(systemdConfig, upstream.URL, delay), harness.Socket("web", file))
			}
			b := start()
			var anew, kept tally
			var comers, keepers sync.WaitGroup
			over := make(chan struct{})
			client := func(clients *sync.WaitGroup, ask func()) {
				clients.Go(func() {
					for {
						select {
						case <-over:
							return
						default:
							ask()
						}
					}
				})
			}
			for range 50 {
				client(&comers, func() { anew.once(network, address) })
			}
			for i := range 20 {
				client(&keepers, func() {
					conn, err := net.Dial(network, address)
					if err != nil {
						kept.refused.Add(1)
						return
					}
					kept.use(conn, func(int) time.Duration { return time.Duration(i%10) * time.Millisecond })
				})
			}
			for range restarts {
				waitAnswers(t, &anew, anew.answered.Load()+300)
				b.Stop()
				b = start()
			}
			waitAnswers(t, &anew, anew.answered.Load()+300)
			close(over)
			comers.Wait()
			b.Stop() // which tells the others to close
			keepers.Wait()
			t.Logf("systemd socket: %d restarts over %s, 50 clients that connect anew: %v", restarts, network, &anew)
			t.Logf("systemd socket: %d restarts over %s, 20 that keep their connection: %v", restarts, network, &kept)
			for what, c := range map[string]*tally{"anew": &anew, "kept": &kept} {
				if c.refused.Load() != 0 || c.lost.Load() != 0 {
					t.Errorf("%s: %d refused and %d lost, want none", what, c.refused.Load(), c.lost.Load())
				}
			}
			if answered := anew.answered.Load() + kept.answered.Load(); arrived.Load() != answered {
				t.Errorf("%d requests arrived, %d were answered", arrived.Load(), answered)
			}
		})
	}
}

// waitAnswers waits until there are so many.
func waitAnswers(t *testing.T, c *tally, want int64) {
	t.Helper()
	for giveUp := time.Now().Add(patience); c.answered.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("waited for %d answers: %v", want, c)
		}
	}
}
