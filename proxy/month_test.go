package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/test/emulator"
)

// pipes is a listener whose connections are in memory, so that they may be in a bubble.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return loopback }

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}

// onLoopback is a connection as of this machine.
type onLoopback struct{ net.Conn }

func (onLoopback) LocalAddr() net.Addr  { return loopback }
func (onLoopback) RemoteAddr() net.Addr { return loopback }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.accepted <- onLoopback{there}:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve has a server on the listener until the test ends.
func (p *pipes) serve(t *testing.T, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		_ = server.Serve(p)
		close(ended)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
}

// TestMonth_ThirtyDaysLoseNothing runs the whole line, from callers' connections to the
// token endpoint, for thirty virtual days: callers that keep connections and callers
// that do not, tokens that end and tokens that are revoked, a token endpoint that is
// down for hours, an upstream that is down for minutes, and reloads. Nothing fails but
// while the upstream is down, and nothing is left at the end of a day.
func TestMonth_ThirtyDaysLoseNothing(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(emulator.DemoClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		globus := emulator.New(emulator.Config{})
		auth, transfer, callers := newPipes(), newPipes(), newPipes()
		var down, taken atomic.Int64
		failing := false
		auth.serve(t, globus.Auth())
		upstream := globus.Transfer()
		transfer.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() > 0 {
				panic(http.ErrAbortHandler)
			}
			if n, err := io.Copy(io.Discard, r.Body); err != nil || r.Method == http.MethodPost && n != 70<<10 {
				t.Errorf("a body of %d bytes, %v", n, err)
			}
			taken.Add(1)
			r = r.Clone(r.Context())
			r.Method, r.URL.Path = http.MethodGet, "/v0.10/task_list"
			upstream.ServeHTTP(w, r) // if the token is good
		}))
		way := &http.Transport{DialContext: auth.dial, IdleConnTimeout: 30 * time.Second}
		t.Cleanup(way.CloseIdleConnections)
		m := &month{t: t, secret: secret, way: way, transfer: transfer}
		m.reload()
		callers.serve(t, m.proxy.Listener(0))
		t.Cleanup(func() { m.stop(); m.proxy.Close() })

		kept := &http.Client{Transport: &http.Transport{DialContext: callers.dial, IdleConnTimeout: 90 * time.Second}}
		brief := &http.Client{Transport: &http.Transport{DialContext: callers.dial, DisableKeepAlives: true}}
		t.Cleanup(kept.CloseIdleConnections)
		requests, failed, expected := 0, 0, 0
		ask := func(client *http.Client, method, path, body string) {
			requests++
			was := down.Load() > 0
			status, code := m.ask(client, method, path, body)
			switch {
			case status == 200:
			case was && (code == "upstream_unreachable" || code == "outcome_unknown"):
				expected++
			default:
				failed++
				t.Errorf("%v: %s answered %d %s", time.Now(), method, status, code)
			}
		}
		const between = 14 // minutes
		var goroutines int
		begun := time.Now()
		for day := range 30 {
			for minute := 0; minute < 23*60; minute += between {
				down.Store(0)
				if day%4 == 1 && minute/30 == 20 {
					down.Store(1)
				}
				// For hours, which a token of two days outlives.
				switch fails := day%3 == 2 && 7 <= minute/60 && minute/60 < 11; {
				case fails && !failing:
					globus.FailTokens(1<<30, emulator.Unavailable())
				case !fails && failing:
					globus.FailTokens(0, emulator.Failure{})
				}
				failing = day%3 == 2 && 7 <= minute/60 && minute/60 < 11
				if minute == 14*60 && day%5 == 4 {
					globus.Revoke("transfer.api.globus.org")
				}
				if minute == 21*60 {
					m.reload()
				}
				var together sync.WaitGroup
				if minute%(20*between) == 0 { // now and then many at once
					for range 20 {
						together.Go(func() {
							if status, code := m.ask(kept, "GET", "/transfer/v0.10/task_list", ""); status != 200 && down.Load() == 0 {
								t.Errorf("%v: one of many was answered %d %s", time.Now(), status, code)
							}
						})
					}
				}
				together.Wait()
				ask(kept, "GET", "/transfer/v0.10/task_list", "")
				ask(brief, "GET", "/transfer/v0.10/task_list", "")
				ask(kept, "POST", "/transfer/v0.10/upload", strings.Repeat(" ", 70<<10))
				time.Sleep(between * time.Minute)
			}
			time.Sleep(time.Until(begun.AddDate(0, 0, day+1))) // all is idle by then
			synctest.Wait()
			if n := runtime.NumGoroutine(); day == 0 {
				goroutines = n
			} else if n > goroutines {
				t.Errorf("%d goroutines at the end of day %d, %d at that of the first", n, day, goroutines)
			}
		}
		fmt.Printf("30 days: %d requests, %d failed, %d while the upstream was down; %d token requests, %d reloads; %d goroutines at the end of each day\n",
			requests, failed, expected, globus.Count("auth", "/v2/oauth2/token"), m.reloads, goroutines)
		if expected == 0 || taken.Load() == 0 {
			t.Error("the upstream was never down, or never asked")
		}
	})
}

// month is what the daemon is to the packages, for one upstream.
type month struct {
	t        *testing.T
	secret   string
	way      *http.Transport
	transfer *pipes

	proxy   *Proxy
	set     *credentials.Set
	stop    func() // renewing
	reloads int
}

// mistakes are those that a configuration of the test does not have.
type mistakes struct{ t *testing.T }

func (m mistakes) Add(path []any, format string, args ...any) {
	m.t.Fatalf("%v: %s", path, fmt.Sprintf(format, args...))
}

func (m mistakes) Unknown(path []any, kind, name string, _ []string) {
	m.t.Fatalf("%v: no %s %q", path, kind, name)
}

// reload makes everything anew, as a reload of the daemon does.
func (m *month) reload() {
	cfg := Default()
	cfg.Listeners = []ListenerConfig{{Address: "localhost:8080"}}
	cfg.Upstreams = map[string]UpstreamConfig{"transfer": {URL: "http://transfer.example", InsecureHTTP: true, Limits: LimitsConfig{Concurrency: 64}}}
	cfg.Resolve(mistakes{m.t})
	tokens := credentials.Config{
		Margin: credentials.DefaultMargin,
		Clients: map[string]credentials.ClientConfig{"globus": {
			TokenURL: "http://auth.example/v2/oauth2/token", InsecureHTTP: true, Auth: "globus_basic",
			ClientID: emulator.DemoClientID, ClientSecret: credentials.References{credentials.Reference("file:" + m.secret)},
		}},
		Tokens: map[string]credentials.TokenConfig{"transfer": {ResourceServer: "transfer.api.globus.org", Scopes: []string{emulator.TransferScope}}},
	}
	tokens.Resolve(mistakes{m.t})
	set, err := credentials.NewSet(tokens, credentials.Deps{Transport: m.way}, m.set)
	if err != nil {
		m.t.Fatal(err)
	}
	rules := []policy.RuleConfig{{Name: "all", Callers: []string{policy.Local}, Upstreams: []string{"transfer"}, Methods: []string{"GET", "POST"}, Paths: []string{"/**"}}}
	deps := Deps{
		Authorizer: set.Authorizer, Shim: set,
		Policy: policy.New(policy.Config{Rules: rules}, map[string]policy.Upstream{"transfer": {}}, mistakes{m.t}),
	}
	bindings := cfg.Bind(rules, mistakes{m.t})
	if m.proxy == nil {
		m.proxy = New(cfg, deps, bindings)
		connectBy(m.proxy.table.Load().upstreams["transfer"].way.wire, m.transfer.dial)
	} else {
		m.proxy.Reload(cfg, deps, bindings)
		m.reloads++
	}
	before := m.stop
	ctx, cancel := context.WithCancel(context.Background())
	set.Warm(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { _ = set.Run(ctx) })
	m.set, m.stop = set, func() { cancel(); renewing.Wait() }
	if before != nil {
		before()
	}
}

func (m *month) ask(client *http.Client, method, path, body string) (status int, code string) {
	req, err := http.NewRequest(method, "http://localhost:8080"+path, strings.NewReader(body))
	if err != nil {
		m.t.Error(err)
		return 0, ""
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, resp.Header.Get("Bearerd-Error")
}
