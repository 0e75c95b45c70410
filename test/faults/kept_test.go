package faults_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// forgetful is an upstream that closes connections which were idle for so long, and
// may say that it does.
func forgetful(t *testing.T, l *ledger, idle time.Duration, says string) (url string) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got, err := io.ReadAll(r.Body); err != nil || r.Method != http.MethodGet && string(got) != r.URL.Path {
			return
		}
		l.note(r)
		if says != "" {
			w.Header().Set("Keep-Alive", says)
		}
	}))
	server.Config.IdleTimeout, server.Config.ErrorLog = idle, log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// storm sends requests in rounds, those of a round at once, so that as many connections
// are kept until the next. The gaps between rounds go round as well.
func storm(c *caller, method string, rounds, together int, gaps ...time.Duration) *tally {
	var got tally
	for round := range rounds {
		time.Sleep(gaps[round%len(gaps)]) // what it is like to be called now and then; nothing waits for it
		var working sync.WaitGroup
		for i := range together {
			working.Go(func() { // one request
				path := fmt.Sprintf("/%d/%d", round, i)
				var body io.Reader
				if method != http.MethodGet {
					body = strings.NewReader(path)
				}
				got.add(c.do(method, path, body))
			})
		}
		working.Wait()
	}
	return &got
}

// TestKept_ConnectionsThatTheUpstreamClosesLoseNothing sends when bearerd has just
// let go of its connections or is about to, and when the upstream would.
func TestKept_ConnectionsThatTheUpstreamClosesLoseNothing(t *testing.T) {
	t.Parallel()
	const rounds, together = 40, 60
	var done ledger
	const theirs, ours = 400 * time.Millisecond, 100 * time.Millisecond
	c := newCaller(t, start(t, forgetful(t, &done, theirs, ""), fmt.Sprintf("tuning: {idle: %v}", ours)))
	got := storm(c, "POST", rounds, together, ours-20*time.Millisecond, theirs-10*time.Millisecond, ours-5*time.Millisecond, ours, theirs)
	n, twice := done.check(t)
	failed := rounds*together - got.of("200")
	if failed != 0 || n != rounds*together || twice != 0 {
		t.Errorf("%d of %d were delivered, %d of them again; answered was %v", n, rounds*together, twice, got)
	}
	t.Logf("stale keep-alive: %d POSTs, %d failed, %d executed twice", rounds*together, failed, twice)
}

// TestKept_AnUpstreamThatSaysWhenItClosesIsHeeded needs no setting.
func TestKept_AnUpstreamThatSaysWhenItClosesIsHeeded(t *testing.T) {
	t.Parallel()
	const rounds, together = 12, 40
	var done ledger
	c := newCaller(t, start(t, forgetful(t, &done, time.Second, "timeout=1"), ""))
	got := storm(c, "POST", rounds, together, 480*time.Millisecond, 990*time.Millisecond, 500*time.Millisecond, time.Second)
	n, twice := done.check(t)
	failed := rounds*together - got.of("200")
	if failed != 0 || n != rounds*together || twice != 0 {
		t.Errorf("%d of %d were delivered, %d of them again; answered was %v", n, rounds*together, twice, got)
	}
	t.Logf("stale keep-alive: %d POSTs to an upstream that says timeout=1, %d failed, %d executed twice", rounds*together, failed, twice)
}

// TestKept_ForTooLongNothingIsDoneTwice is the same storm with a setting that is
// wrong. Of a POST that meets the closing nobody knows whether it was done, and nobody
// does it again; a GET is sent once more, on a connection that is not as old.
func TestKept_ForTooLongNothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	const rounds, together = 40, 30
	const theirs = 250 * time.Millisecond // much longer than a busy machine holds anybody up
	for _, method := range []string{"POST", "GET"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			var done ledger
			c := newCaller(t, start(t, forgetful(t, &done, theirs, ""), "breaker: {enabled: false}, tuning: {idle: 30s}"))
			got := storm(c, method, rounds, together, theirs-4*time.Millisecond, theirs-2*time.Millisecond, theirs, theirs-6*time.Millisecond)
			n, twice := done.check(t)
			unknown := got.of("502 outcome_unknown")
			if method == "GET" && got.of("200") != rounds*together {
				t.Errorf("answered was %v, want 200 each time", got)
			}
			if got.of("200")+unknown != rounds*together || n < got.of("200") || twice != 0 {
				t.Errorf("%d of %d were delivered, %d of them again; answered was %v", n, rounds*together, twice, got)
			}
			t.Logf("stale keep-alive: %d %ss with an idle timeout above the upstream's, %d outcome_unknown, %d executed twice", rounds*together, method, unknown, twice)
		})
	}
}
