//go:build soak

package soak

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A kind of request, and what is to become of it.
type kind struct {
	weight         int // how often it comes, beside the others
	upstream, path string
	method, body   string
	length         bool     // of the body is said beforehand
	want           []string // any of these outcomes
	least, most    int      // deliveries; most 0: they are not counted
	leaves         bool     // the caller does, within a tenth of a second
}

var small = strings.Repeat("s", 900)

// kinds are all there are. Of those that may have been executed none is delivered
// twice.
var kinds = []kind{
	{weight: 60, upstream: "store", path: "small", method: "GET", want: []string{"200"}, least: 1, most: 1},
	{weight: 60, upstream: "store", path: "small", method: "POST", body: small, length: true, want: []string{"200"}, least: 1, most: 1},
	{weight: 20, upstream: "store", path: "small", method: "POST", body: big[:100<<10], want: []string{"200"}, least: 1, most: 1},
	{weight: 10, upstream: "store", path: "small", method: "PUT", body: big, length: true, want: []string{"200"}, least: 1, most: 1},
	{weight: 10, upstream: "store", path: "small", method: "PUT", body: big, want: []string{"200"}, least: 1, most: 1},
	{weight: 10, upstream: "store", path: "big", method: "GET", want: []string{"200"}, least: 1, most: 1},
	{weight: 20, upstream: "store", path: "slow", method: "DELETE", want: []string{"200"}, least: 1, most: 1},
	{weight: 60, upstream: "transfer", path: "v0.10/task_list", method: "GET", want: []string{"200"}},

	{weight: 10, upstream: "bent", path: "small", method: "POST", body: small, length: true, want: []string{"200"}, least: 1, most: 1},
	{weight: 10, upstream: "bent", path: "once", method: "GET", want: []string{"200"}, least: 2, most: 2},
	{weight: 10, upstream: "bent", path: "reset", method: "GET", want: []string{"502 upstream_unreachable"}, least: 2, most: 2},
	{weight: 10, upstream: "bent", path: "reset", method: "POST", body: small, length: true, want: []string{"502 outcome_unknown"}, least: 1, most: 1},
	{weight: 10, upstream: "bent", path: "reset", method: "DELETE", want: []string{"502 outcome_unknown"}, least: 1, most: 1},
	{weight: 10, upstream: "bent", path: "reset", method: "PUT", body: big, want: []string{"502 outcome_unknown"}, least: 1, most: 1},
	{weight: 5, upstream: "bent", path: "cut", method: "GET", want: []string{broken}, least: 1, most: 1},
	{weight: 5, upstream: "bent", path: "garbage", method: "GET", want: []string{"502 upstream_invalid"}, least: 1, most: 1},
	{weight: 5, upstream: "bent", path: "503", method: "GET", want: []string{"503"}, least: 1, most: 1},
	{weight: 5, upstream: "bent", path: "429", method: "POST", body: small, want: []string{"429"}, least: 1, most: 1},
	{weight: 2, upstream: "bent", path: "never", method: "GET", want: []string{"504 upstream_timeout"}, least: 1, most: 1},
	{weight: 2, upstream: "bent", path: "never", method: "POST", body: small, want: []string{"504 upstream_timeout"}, least: 1, most: 1},
	{weight: 2, upstream: "bent", path: "stall", method: "GET", want: []string{broken}, least: 1, most: 1},

	{weight: 10, upstream: "fragile", path: "small", method: "POST", body: small, want: []string{"200", "503 breaker_open"}, most: 1},
	{weight: 10, upstream: "fragile", path: "503", method: "GET", want: []string{"503", "503 breaker_open"}, most: 1},

	{weight: 10, upstream: "store", path: "big", method: "GET", leaves: true},
	{weight: 10, upstream: "store", path: "small", method: "PUT", body: big, leaves: true},
	{weight: 10, upstream: "store", path: "slow", method: "GET", leaves: true},
	{weight: 10, upstream: "bent", path: "never", method: "POST", body: small, leaves: true},
	{weight: 10, upstream: "transfer", path: "v0.10/task_list", method: "GET", leaves: true},
}

const broken = "broken off"

// drawn returns a kind, each as often as its weight says.
func drawn() kind {
	n := rand.IntN(weights)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			return k
		}
	}
	panic("unreachable")
}

var weights = func() (sum int) {
	for _, k := range kinds {
		sum += k.weight
	}
	return sum
}()

// A happening comes once in each span of time, so long after its beginning.
type happening struct {
	every, after time.Duration
	do           func()
}

// world is the callers' side.
type world struct {
	plain, secured string // URLs of bearerd
	trusted        *x509.CertPool
	ledger         *ledger
	number         atomic.Int64 // of the last request
	streams        atomic.Int64 // requests answered in HTTP/2

	mu       sync.Mutex // guards the fields below
	outcomes map[string]int
	failures int
}

const (
	callers = 16
	rests   = 100 * time.Millisecond // a caller does between two requests, at most
	samples = 5 * time.Second
)

// load has callers ask for some time, while things happen. At the end no request is
// under way, and no connection of a caller open.
func (w *world) load(t *testing.T, during time.Duration, trouble []happening, look func()) {
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { w.call(ctx, t, i) })
	}
	next := make([]time.Duration, len(trouble))
	for i, h := range trouble {
		next[i] = h.after
	}
	start, looked := time.Now(), time.Duration(0)
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			now := time.Since(start)
			for i, h := range trouble {
				if now >= next[i] && now+5*time.Second < during { // it is over before the end
					next[i] += h.every
					h.do()
				}
			}
			if now-looked >= samples {
				looked = now
				look()
			}
		}
	}
	for _, h := range trouble[len(trouble)-1:] {
		h.do() // heals
	}
	group.Wait()
}

// call is one caller's requests: over connections that are kept, or one each; by
// HTTP/1.1, or HTTP/2.
func (w *world) call(ctx context.Context, t *testing.T, i int) {
	base, transport := w.plain, &http.Transport{DisableCompression: true, DisableKeepAlives: i%4 == 0}
	if i%4 == 3 {
		base = w.secured
		transport.TLSClientConfig, transport.ForceAttemptHTTP2 = &tls.Config{RootCAs: w.trusted}, true
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: counting{transport, &w.streams}, Timeout: time.Minute}
	for ctx.Err() == nil {
		k := drawn()
		path := fmt.Sprintf("/%s/%d", k.path, w.number.Add(1))
		if k.upstream == "transfer" {
			path = "/" + k.path
		}
		got := k.ask(client, base, path)
		w.settle(t, k, path, got)
		if rand.IntN(50) == 0 {
			transport.CloseIdleConnections()
		}
		timer := time.NewTimer(rand.N(rests))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// counting is a transport that counts what is answered in HTTP/2.
type counting struct {
	*http.Transport
	streams *atomic.Int64
}

func (c counting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.Transport.RoundTrip(req)
	if err == nil && resp.ProtoMajor == 2 {
		c.streams.Add(1)
	}
	return resp, err
}

// ask sends one and returns its outcome: status and code, or that no whole answer
// came, or another one.
func (k kind) ask(client *http.Client, base, path string) string {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if k.leaves {
		timer := time.AfterFunc(rand.N(100*time.Millisecond), cancel)
		defer timer.Stop()
	}
	var body io.Reader
	if k.body != "" {
		body = strings.NewReader(k.body)
		if !k.length {
			body = io.MultiReader(body)
		}
	}
	req, err := http.NewRequestWithContext(ctx, k.method, base+"/"+k.upstream+path, body)
	if err != nil {
		return err.Error()
	}
	resp, err := client.Do(req)
	if err != nil {
		return broken
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	outcome := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Bearerd-Error")))
	switch sum := sha256.Sum256([]byte(k.body)); {
	case err != nil:
		return broken
	case outcome != "200" || k.upstream == "transfer":
		return outcome
	case k.path == "big" && string(got) != big, k.path != "big" && string(got) != receipt(k.method, path, int64(len(k.body)), sum[:]):
		return "200 with another body"
	}
	return outcome
}

// settle compares an outcome with what was wanted.
func (w *world) settle(t *testing.T, k kind, path, got string) {
	name := fmt.Sprintf("%s %s/%s", k.method, k.upstream, k.path)
	if k.leaves {
		name, got = name+", left", "over"
	}
	delivered := 0
	if k.upstream != "transfer" {
		delivered = w.ledger.take(path)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outcomes[name+": "+got]++
	if k.leaves || slices.Contains(k.want, got) && (k.most == 0 || k.least <= delivered && delivered <= k.most) {
		return
	}
	if w.failures++; w.failures <= 20 {
		t.Errorf("%s of %d bytes: %s after %d deliveries, want %v after %d to %d", name, len(k.body), got, delivered, k.want, k.least, k.most)
	}
}

func (w *world) requests() (n int) {
	for _, times := range w.outcomes {
		n += times
	}
	return n
}

func (w *world) table() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(w.outcomes)) {
		fmt.Fprintf(&b, "\n  %7d  %s", w.outcomes[name], name)
	}
	return b.String()
}
