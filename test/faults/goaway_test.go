package faults_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"bearerd/test/harness"
)

// TestGoAway_LosesNothing has nginx speak HTTP/2 and end each connection after 25
// requests, while as many as it likes are under way on it.
func TestGoAway_LosesNothing(t *testing.T) {
	const posts, workers, perConnection = 3200, 32, 25
	var (
		done        ledger
		got         tally
		connections sync.Map
	)
	behind := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var i int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &i)
		if n, err := io.Copy(io.Discard, r.Body); err != nil || n != int64(lengthOf(i)) {
			t.Errorf("%s came with %d bytes, want %d: %v", r.URL.Path, n, lengthOf(i), err)
		}
		if protocol := r.Header.Get("X-Protocol"); protocol != "HTTP/2.0" {
			t.Errorf("%s came to nginx in %q", r.URL.Path, protocol)
		}
		connections.Store(r.Header.Get("X-Connection"), true)
		done.note(r)
	}))
	t.Cleanup(behind.Close)

	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	harness.StartNginx(t, addr, map[string]string{"server.pem": certificate, "server-key.pem": key}, fmt.Sprintf(`
  server {
    listen %s ssl http2;
    ssl_certificate server.pem; ssl_certificate_key server-key.pem;
    keepalive_requests %d;
    location / {
      proxy_pass %s;
      proxy_set_header X-Protocol $server_protocol; proxy_set_header X-Connection $connection;
    }
  }
`, addr, perConnection, behind.URL))
	b := start(t, "https://"+addr, `tls: {ca: "file:ca.pem"}, tuning: {http2: true}`, harness.File("ca.pem", authority.PEM))
	c := newCaller(t, b)
	inParallel(posts, workers, func(i int) {
		got.add(c.do("POST", fmt.Sprintf("/%d", i), strings.NewReader(strings.Repeat("b", lengthOf(i)))))
	})
	n, twice := done.check(t)
	failed := posts - got.of("200")
	if failed != 0 || n != posts || twice != 0 {
		t.Errorf("%d of %d were delivered, %d of them again; answered was %v", n, posts, twice, &got)
	}
	used := 0
	connections.Range(func(any, any) bool { used++; return true })
	if used < posts/perConnection {
		t.Errorf("nginx ended %d connections, want %d", used, posts/perConnection)
	}
	t.Logf("GOAWAY: %d POSTs over %d connections of %d requests, %d failed, %d executed twice", posts, used, perConnection, failed, twice)
}

// lengthOf is how long the body of a request is: up to what is kept for sending it again.
func lengthOf(i int) int { return i * 7919 % (64<<10 + 1) }
