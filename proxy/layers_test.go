//go:build !race

package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"testing"

	"bearerd/credentials"
	"bearerd/policy"
)

// noMistakes is a Mistakes for a configuration that has none.
type noMistakes struct{}

func (noMistakes) Add(path []any, format string, _ ...any)               { panic(format) }
func (noMistakes) Unknown(path []any, kind, name string, known []string) { panic(kind + " " + name) }

// sink is a ResponseWriter without a connection.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// stub answers at once, with an answer of fourteen headers.
type stub struct{ body []byte }

func (s stub) RoundTrip(req *http.Request) (*http.Response, error) {
	h := make(http.Header, 14)
	values := make([]string, 14)
	for i := range values {
		values[i] = "value"
		h[http.CanonicalHeaderKey("X-Header-"+string(rune('A'+i)))] = values[i : i+1 : i+1]
	}
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, Request: req,
		ContentLength: int64(len(s.body)), Body: io.NopCloser(bytes.NewReader(s.body)),
	}, nil
}

// TestLayers_AllocateLittleOverABareReverseProxy counts what everything of a request's
// line costs that is bearerd's own, from the guard to the Observers, over a transport
// that does next to nothing.
func TestLayers_AllocateLittleOverABareReverseProxy(t *testing.T) {
	const over = 8
	base, err := url.Parse("http://up.example")
	if err != nil {
		t.Fatal(err)
	}
	token, err := credentials.AccessToken(credentials.NewSecret("AgToken"))
	if err != nil {
		t.Fatal(err)
	}
	answers := stub{make([]byte, 1608)}
	rules := policy.New(policy.Config{Rules: []policy.RuleConfig{
		{Name: "read", Callers: []string{policy.Local}, Upstreams: []string{"up"}, Methods: []string{"GET"}, Paths: []string{"/**"}},
	}}, map[string]policy.Upstream{"up": {}}, noMistakes{})
	way := &way{places: newPlaces(64), breaker: &breaker{next: repeat{answers}, circuit: newCircuit()}}
	up := newUpstream("up", UpstreamConfig{URL: base.String(), Prefix: "/up", Credential: "up"}, way, newPseudonym())
	served := 0
	p := &Proxy{budget: newBudget(), pseudonym: newPseudonym()}
	p.table.Store(&table{
		deps:      Deps{Policy: rules, Observe: func(*Exchange) { served++ }},
		listeners: []ListenerConfig{{}}, hosts: [][]string{{"localhost"}}, trusted: [][]netip.Prefix{nil},
		upstreams: map[string]*Upstream{"up": up},
		bounds:    map[string]bound{"up": {authorizer: token, base: base, origin: originOf(base)}},
		router:    newRouter(map[string]*Upstream{"up": up}),
	})
	bare := &httputil.ReverseProxy{Transport: answers, BufferPool: buffers, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(base)
		r.Out.Header.Set("Authorization", "Bearer AgToken")
	}}
	count := func(handler http.Handler) float64 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/up/a/b", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.RequestURI, req.RemoteAddr = "/up/a/b", "127.0.0.1:50000"
		for _, name := range []string{"User-Agent", "Accept", "Accept-Encoding", "X-Client-Info"} {
			req.Header.Set(name, "value")
		}
		return testing.AllocsPerRun(500, func() {
			w := &sink{header: http.Header{}}
			handler.ServeHTTP(w, req)
			if w.status != 200 {
				t.Fatalf("answered %d", w.status)
			}
		})
	}
	ofBare, ofAll := count(bare), count(p.Listener(0))
	t.Logf("allocations: all layers over a stub transport %v, a bare ReverseProxy over it %v", ofAll, ofBare)
	if ofAll > ofBare+over || served == 0 {
		t.Errorf("%v allocations, want at most %v and %d; %d requests were served", ofAll, ofBare, over, served)
	}
}
