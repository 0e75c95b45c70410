package proxy_test

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
	"bearerd/test/emulator"
)

// net/http lets go of a connection half a second after its last answer.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// failing is a Mistakes that no configuration of a test should reach.
type failing struct{ t *testing.T }

func (f failing) Add(path []any, format string, args ...any) {
	f.t.Helper()
	f.t.Fatalf("%v: %s", path, fmt.Sprintf(format, args...))
}

func (f failing) Unknown(path []any, kind, name string, _ []string) {
	f.t.Helper()
	f.t.Fatalf("%v: no %s %q", path, kind, name)
}

// rig is a proxy on a real socket, in front of whatever its config says.
type rig struct {
	*proxy.Proxy
	url  string
	addr string
	via  *http.Client // nil: client

	t         *testing.T
	serving   sync.RWMutex // held for reading while a request is served
	mu        sync.Mutex   // guards the fields below
	exchanges []*proxy.Exchange
	renewals  []credentials.Renewal
}

// settings are what newRig makes a proxy of.
type settings struct {
	upstreams   map[string]proxy.UpstreamConfig
	listener    proxy.ListenerConfig // Address is set by newRig
	callers     []policy.CallerConfig
	rules       []policy.RuleConfig
	known       map[string]policy.Upstream
	credentials credentials.Config
	authorizers map[string]credentials.Authorizer // beside those of credentials
	scopes      map[string]string                 // credentials.Deps.KnownScopes
	resolver    *net.Resolver
}

const stamped = "AgStaticTestToken"

// staticToken is an Authorizer with a token that everybody may see.
func staticToken(t *testing.T) credentials.Authorizer {
	authorizer, err := credentials.AccessToken(credentials.NewSecret(stamped))
	if err != nil {
		t.Fatal(err)
	}
	return authorizer
}

// anything is a rule that lets local callers do everything on the upstreams.
func anything(upstreams ...string) []policy.RuleConfig {
	return []policy.RuleConfig{{
		Name: "anything", Callers: []string{policy.Local}, Upstreams: upstreams,
		Methods: []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, Paths: []string{"/**"},
	}}
}

// to is the settings for one upstream "up" behind /up with a static token.
func to(t *testing.T, target string) settings {
	return settings{
		upstreams:   map[string]proxy.UpstreamConfig{"up": {URL: target, InsecureHTTP: true, Private: true}},
		rules:       anything("up"),
		authorizers: map[string]credentials.Authorizer{"up": staticToken(t)},
	}
}

// limited is s with limits on its upstream "up".
func limited(s settings, limits proxy.LimitsConfig) settings {
	up := s.upstreams["up"]
	up.Limits = limits
	s.upstreams["up"] = up
	return s
}

func newRig(t *testing.T, s settings) *rig {
	t.Helper()
	r := &rig{t: t}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = smallBuffers{l}
	r.addr = l.Addr().String()
	r.url = "http://" + r.addr
	cfg, deps, bindings := r.parts(s)
	r.Proxy = proxy.New(cfg, deps, bindings)
	listener := r.Listener(0)
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.serving.RLock()
		defer r.serving.RUnlock()
		listener.ServeHTTP(w, req)
	})
	server := &http.Server{Handler: handler, DisableGeneralOptionsHandler: true}
	served := make(chan struct{})
	go func() {
		_ = server.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
		r.Close()
	})
	return r
}

// smallBuffers keep what is sent from waiting in the kernel, megabytes of it, as if it
// had been read.
type smallBuffers struct{ net.Listener }

func (s smallBuffers) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(256 << 10)
	}
	return conn, err
}

func (r *rig) parts(s settings) (proxy.Config, proxy.Deps, map[string]string) {
	s.listener.Address = r.addr
	cfg := proxy.Default()
	cfg.Listeners, cfg.Upstreams = []proxy.ListenerConfig{s.listener}, s.upstreams
	cfg.Resolve(failing{r.t})
	s.credentials.Resolve(failing{r.t})
	transport := proxy.NewTransport(proxy.TransportConfig{Private: true})
	r.t.Cleanup(transport.CloseIdleConnections)
	set, err := credentials.NewSet(s.credentials, credentials.Deps{Transport: transport, KnownScopes: s.scopes, Observe: func(renewal credentials.Renewal) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.renewals = append(r.renewals, renewal)
	}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	known := s.known
	if known == nil {
		known = map[string]policy.Upstream{}
		for name := range s.upstreams {
			known[name] = policy.Upstream{}
		}
	}
	made := policy.New(policy.Config{Callers: s.callers, Rules: s.rules}, known, failing{r.t})
	deps := proxy.Deps{
		Authorizer: func(name string) (credentials.Authorizer, bool) {
			if authorizer, ok := s.authorizers[name]; ok {
				return authorizer, true
			}
			return set.Authorizer(name)
		},
		Resolver: s.resolver,
		Shim:     set,
		Asked:    func(name string) []string { return s.credentials.Tokens[name].Scopes },
		Policy:   made,
		Limiter:  policy.NewLimiter(nil, made),
		Observe: func(x *proxy.Exchange) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.exchanges = append(r.exchanges, x)
		},
	}
	return cfg, deps, cfg.Bind(s.rules, failing{r.t})
}

// seen returns the exchanges told to the observer and forgets them. It waits for
// those under way: a caller has read its answer before the observer is told.
func (r *rig) seen() []*proxy.Exchange {
	r.serving.Lock()
	defer r.serving.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.exchanges
	r.exchanges = nil
	return seen
}

// answer is a response whose body was read.
type answer struct {
	status int
	header http.Header
	body   string
	last   bool // of its connection
}

func (a answer) code() string { return a.header.Get("Bearerd-Error") }

var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, Proxy: nil},
	Timeout:       20 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (r *rig) do(method, path, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := cmp.Or(r.via, client).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data), resp.Close}
}

// raw sends bytes as they are on a connection of their own and reads one answer.
func (r *rig) raw(request string) answer {
	r.t.Helper()
	conn, err := net.Dial("tcp4", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // a hang is a failure, not a wait
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(data), resp.Close}
}

// wire is an upstream that reads requests without any HTTP library's opinion:
// it keeps each request line as it came and answers 204.
type wire struct {
	url   string
	mu    sync.Mutex // guards heads
	heads []string
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{url: "http://" + l.Addr().String()}
	var serving sync.WaitGroup
	var conns sync.Map
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, true)
			serving.Go(func() { w.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Range(func(conn, _ any) bool { return conn.(net.Conn).Close() == nil })
		serving.Wait()
	})
	return w
}

func (w *wire) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	var head strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		head.WriteString(line)
		if line != "\r\n" {
			continue
		}
		w.mu.Lock()
		w.heads = append(w.heads, head.String())
		w.mu.Unlock()
		head.Reset()
		if _, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
			return
		}
	}
}

// received returns the heads that came and forgets them.
func (w *wire) received() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	heads := w.heads
	w.heads = nil
	return heads
}

// target is the request target of a head.
func target(head string) string {
	line, _, _ := strings.Cut(head, "\r\n")
	_, rest, _ := strings.Cut(line, " ")
	at := strings.LastIndexByte(rest, ' ')
	return rest[:at]
}

// globus is an emulator on real sockets.
type globus struct {
	*emulator.Emulator
	auth, transfer string
}

func newGlobus(t *testing.T, cfg emulator.Config) globus {
	e := emulator.New(cfg)
	auth, transfer := httptest.NewServer(e.Auth()), httptest.NewServer(e.Transfer())
	t.Cleanup(auth.Close)
	t.Cleanup(transfer.Close)
	return globus{e, auth.URL, transfer.URL}
}

// settings is a proxy in front of the emulator, with tokens by grant.
func (g globus) settings(t *testing.T) settings {
	t.Setenv("BEARERD_TEST_SECRET", emulator.DemoClientSecret)
	return settings{
		upstreams: map[string]proxy.UpstreamConfig{
			"auth":     {URL: g.auth, InsecureHTTP: true, Private: true},
			"transfer": {URL: g.transfer, InsecureHTTP: true, Private: true},
		},
		rules: anything("auth", "transfer"),
		credentials: credentials.Config{
			Margin: credentials.DefaultMargin,
			Clients: map[string]credentials.ClientConfig{"globus": {
				TokenURL: g.auth + "/v2/oauth2/token", InsecureHTTP: true, Private: true, Auth: "globus_basic",
				ClientID: emulator.DemoClientID, ClientSecret: credentials.References{"env:BEARERD_TEST_SECRET"},
			}},
			Tokens: map[string]credentials.TokenConfig{
				"auth":     {ResourceServer: "auth.globus.org", Scopes: []string{emulator.AuthScopes[:6]}},
				"transfer": {ResourceServer: "transfer.api.globus.org", Scopes: []string{emulator.TransferScope}},
			},
		},
	}
}

func basicOf(id, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(id + ":" + password))
}
