// Package storm holds package credentials beside golang.org/x/oauth2's
// clientcredentials, in one run, against one token endpoint on loopback.
package storm

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"bearerd/credentials"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secretVariable = "BEARERD_STORM_SECRET"

// endpoint is a token endpoint that can be slow, fail, and hand out short lives.
type endpoint struct {
	*httptest.Server
	requests atomic.Int64
	delay    time.Duration
	failing  atomic.Bool
	lifetime string // expires_in, as JSON; "" leaves it out
}

func newEndpoint(t *testing.T, delay time.Duration, lifetime string) *endpoint {
	t.Helper()
	e := &endpoint{delay: delay, lifetime: lifetime}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := e.requests.Add(1)
		time.Sleep(e.delay)
		w.Header().Set("Content-Type", "application/json")
		if e.failing.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		life := ""
		if e.lifetime != "" {
			life = `,"expires_in":` + e.lifetime
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","scope":"a"%s}`, n, life)
	}))
	t.Cleanup(e.Close)
	return e
}

// getter gets a token as a request would.
type getter func(ctx context.Context) error

// ours is package credentials; it renews until the test ends.
func ours(t *testing.T, e *endpoint) getter {
	t.Helper()
	t.Setenv(secretVariable, "secret")
	cfg := credentials.Config{
		Clients: map[string]credentials.ClientConfig{"c": {
			TokenURL: e.URL, InsecureHTTP: true, Private: true, ClientID: "id", ClientSecret: credentials.References{"env:" + secretVariable},
		}},
		Tokens: map[string]credentials.TokenConfig{"a": {Scopes: []string{"a"}}},
		Margin: credentials.DefaultMargin,
	}
	cfg.Resolve(mistakes{t})
	set, err := credentials.NewSet(cfg, credentials.Deps{Transport: &http.Transport{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = set.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	authorizer, _ := set.Authorizer("a")
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.example.org/", nil)
		if err != nil {
			return err
		}
		_, err = authorizer.Authorize(req)
		return err
	}
}

// theirs is x/oauth2 as its documentation has it.
func theirs(t *testing.T, e *endpoint) getter {
	t.Helper()
	cfg := clientcredentials.Config{ClientID: "id", ClientSecret: "secret", TokenURL: e.URL, Scopes: []string{"a"}, AuthStyle: oauth2.AuthStyleInHeader}
	source := cfg.TokenSource(context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: &http.Transport{}}))
	return func(context.Context) error { // a caller's own context has no place in it
		_, err := source.Token()
		return err
	}
}

type mistakes struct{ *testing.T }

func (m mistakes) Add(path []any, format string, args ...any) {
	m.Errorf("%v: "+format, append([]any{path}, args...)...)
}
func (m mistakes) Unknown(path []any, kind, name string, _ []string) {
	m.Errorf("%v: no %s %q", path, kind, name)
}

// crowd has n callers get a token at once, and returns how long each waited.
func crowd(t *testing.T, n int, get getter) (waits []time.Duration, failed int) {
	t.Helper()
	waits = make([]time.Duration, n)
	var failures atomic.Int64
	var group sync.WaitGroup
	start := time.Now()
	for i := range n {
		group.Go(func() {
			if get(t.Context()) != nil {
				failures.Add(1)
			}
			waits[i] = time.Since(start)
		})
	}
	group.Wait()
	slices.Sort(waits)
	return waits, int(failures.Load())
}

// TestStorm_BesideXOAuth2 prints the table of docs/credentials.md. Counts are
// what is judged; times are printed.
func TestStorm_BesideXOAuth2(t *testing.T) {
	engines := []struct {
		name string
		make func(*testing.T, *endpoint) getter
	}{{"bearerd", ours}, {"x/oauth2", theirs}}
	var table strings.Builder
	row := func(cells ...any) { fmt.Fprintf(&table, "\n| %-46v | %-34v | %-34v |", cells...) }
	row("case", engines[0].name, engines[1].name)

	cells := []any{"10 000 cold requests at once, endpoint 200 ms"}
	for i, engine := range engines {
		e := newEndpoint(t, 200*time.Millisecond, "3600")
		waits, failed := crowd(t, 10_000, engine.make(t, e))
		cells = append(cells, fmt.Sprintf("%d token request, last after %v", e.requests.Load(), waits[len(waits)-1].Round(10*time.Millisecond)))
		if i == 0 && (e.requests.Load() != 1 || failed > 0) {
			t.Errorf("%d token requests and %d failures, want 1 and none", e.requests.Load(), failed)
		}
	}
	row(cells...)

	cells = []any{"200 requests at once, endpoint 20 ms, 503"}
	for i, engine := range engines {
		e := newEndpoint(t, 20*time.Millisecond, "3600")
		e.failing.Store(true)
		waits, _ := crowd(t, 200, engine.make(t, e))
		cells = append(cells, fmt.Sprintf("%d token request(s), last after %v", e.requests.Load(), waits[len(waits)-1].Round(10*time.Millisecond)))
		if i == 0 && e.requests.Load() != 1 {
			t.Errorf("%d token requests, want 1", e.requests.Load())
		}
	}
	row(cells...)

	cells = []any{"a caller with 100 ms to spare, endpoint 1 s"}
	for i, engine := range engines {
		e := newEndpoint(t, time.Second, "3600")
		get := engine.make(t, e)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		_ = get(ctx)
		cancel()
		left := time.Since(start)
		cells = append(cells, fmt.Sprintf("leaves after %v", left.Round(10*time.Millisecond)))
		if i == 0 && left > 900*time.Millisecond {
			t.Errorf("the caller left after %v, want its own 100ms", left)
		}
	}
	row(cells...)

	cells = []any{"expires_in of 5 s: 1 000 requests in a row"}
	for i, engine := range engines {
		e := newEndpoint(t, 0, "5")
		get := engine.make(t, e)
		for range 1000 {
			_ = get(t.Context())
		}
		cells = append(cells, fmt.Sprintf("%d token request(s)", e.requests.Load()))
		if i == 0 && e.requests.Load() != 1 {
			t.Errorf("%d token requests, want 1", e.requests.Load())
		}
	}
	row(cells...)
	t.Log(table.String())
}
