package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// get asks once, on a client of the test's, and returns status and body.
func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(body)
}

func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

const taskList = "/transfer/v0.10/task_list"

func TestRun_FiveHundredFirstRequestsMakeOneTokenRequest(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	g.SetTokenDelay(200 * time.Millisecond)
	b := harness.Start(t, harness.Config(g))
	client := newClient(t)
	var answered atomic.Int32
	var wait sync.WaitGroup
	for range 500 {
		wait.Go(func() {
			if status, body := get(t, client, b.URL+taskList); status == 200 {
				answered.Add(1)
			} else {
				t.Errorf("answered %d %s", status, body)
			}
		})
	}
	wait.Wait()
	if requests := g.Count("auth", "/v2/oauth2/token"); requests != 1 || answered.Load() != 500 {
		t.Errorf("%d token requests and %d answers, want 1 and 500", requests, answered.Load())
	}
	t.Logf("500 concurrent first requests: %d token request, %d answers", g.Count("auth", "/v2/oauth2/token"), answered.Load())
}

func TestRun_TwoHundredAtARevokedTokenMakeOneRenewal(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g))
	client := newClient(t)
	get(t, client, b.URL+taskList)
	g.Revoke("transfer.api.globus.org")
	var answered atomic.Int32
	var wait sync.WaitGroup
	for range 200 {
		wait.Go(func() {
			if status, body := get(t, client, b.URL+taskList); status == 200 {
				answered.Add(1)
			} else {
				t.Errorf("answered %d %s", status, body)
			}
		})
	}
	wait.Wait()
	b.Requests(201)
	renewals := renewalsOf(b, "transfer")
	if len(renewals) != 2 || renewals[1]["forced"] != true || answered.Load() != 200 {
		t.Errorf("%d renewals %v and %d answers, want the first, one forced, and 200", len(renewals), renewals, answered.Load())
	}
	t.Logf("200 concurrent at a revoked token: %d renewal, %d answers", len(renewals)-1, answered.Load())
}

// renewalsOf are the log's lines about one credential's tokens.
func renewalsOf(b *harness.Bearerd, credential string) []map[string]any {
	return slices.DeleteFunc(b.Lines("token renewed"), func(line map[string]any) bool { return line["credential"] != credential })
}

// TestRun_ReloadsUnderLoadFailNoRequest alternates good and broken
// configurations under steady traffic.
func TestRun_ReloadsUnderLoadFailNoRequest(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	config := harness.Config(g)
	b := harness.Start(t, config)
	client := newClient(t)
	path := filepath.Join(b.Dir, "config.yaml")
	stop := make(chan struct{})
	var asked atomic.Int32
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body := get(t, client, b.URL+taskList); status != 200 {
					t.Errorf("answered %d %s", status, body)
				}
				asked.Add(1)
			}
		})
	}
	for i := range 200 {
		text, message := config+fmt.Sprintf("# reload %d\n", i), "config reloaded"
		if i%2 == 1 {
			text, message = strings.Replace(config, "callers: [local]", "callers: [lcoal]", 1), "config not reloaded, the old one stays"
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.Signal(syscall.SIGHUP)
		seen := 0
		b.WaitLog(func(line map[string]any) bool {
			if line["message"] == message {
				seen++
			}
			return seen == i/2+1
		})
	}
	close(stop)
	wait.Wait()
	if mistakes := b.Lines("config mistake"); len(mistakes) != 100 || !strings.Contains(fmt.Sprint(mistakes[0]["err"]), `no caller "lcoal"; did you mean "local"?`) {
		t.Errorf("%d mistakes told, want 100: %v", len(mistakes), mistakes)
	}
	if n := g.Count("auth", "/v2/oauth2/token"); n != 1 {
		t.Errorf("%d token requests over the reloads, want 1: unchanged credentials keep their tokens", n)
	}
	t.Logf("200 reloads, half of them broken, under %d requests", asked.Load())
}

func TestRun_ReloadChangesWhatMayBeDone(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g))
	client := newClient(t)
	denied := func() bool {
		resp, err := client.Post(b.URL+"/transfer/v0.10/transfer", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.Header.Get("Bearerd-Error") == "denied"
	}
	reload := func(config, message string) {
		if err := os.WriteFile(filepath.Join(b.Dir, "config.yaml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		b.Signal(syscall.SIGHUP)
		b.WaitLog(func(line map[string]any) bool { return line["message"] == message })
	}
	if !denied() {
		t.Error("a submission was not denied by the first configuration")
	}
	reload(harness.Config(g, harness.RuleSubmit), "config reloaded")
	if denied() {
		t.Error("a submission was denied by the second configuration")
	}
	reload(strings.Replace(harness.Config(g), "127.0.0.1:0", "127.0.0.1:1", 1), "config not reloaded, the old one stays")
	if denied() {
		t.Error("a refused reload took a rule away")
	}
	reload(harness.Config(g)+"log: {level: error}\n", "config not reloaded, the old one stays")
}

func TestRun_RotatedSecretIsTakenUpByAReload(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g), harness.Secret("bGFzdCB5ZWFyJ3Mgc2VjcmV0="))
	client := newClient(t)
	if status, body := get(t, client, b.URL+taskList); status != 424 || !strings.Contains(body, "check client_id and client_secret") {
		t.Errorf("with last year's secret: answered %d %s", status, body)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "secret"), []byte(emulator.DemoClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "config reloaded" })
	if status, body := get(t, client, b.URL+taskList); status != 200 {
		t.Errorf("with the new secret: answered %d %s", status, body)
	}
}

func TestRun_AddressInUseNamesTheKey(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	dir := t.TempDir()
	config := "proxy:\n  listeners: [{address: \"localhost:" + port + "\"}]\n  upstreams: {x: {url: https://x.example.org, credential: none}}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(harness.Binary(t), "run")
	command.Dir = dir
	out, _ := command.CombinedOutput()
	if want := "proxy.listeners[0].address: localhost:" + port + " is in use by another program"; command.ProcessState.ExitCode() != 69 || !strings.Contains(string(out), want) {
		t.Errorf("exit %d, said %q; want 69 and %q", command.ProcessState.ExitCode(), out, want)
	}
}

func TestRun_LocalhostIsBothLoopbackAddresses(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, strings.Replace(harness.Config(g), "127.0.0.1:0", "localhost:0", 1))
	at, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"127.0.0.1", "localhost"}
	if six, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		_ = six.Close()
		hosts = append(hosts, "[::1]")
	}
	client := newClient(t)
	for _, host := range hosts {
		if status, body := get(t, client, "http://"+host+":"+at.Port()+taskList); status != 200 {
			t.Errorf("%s: answered %d %s", host, status, body)
		}
	}
}

// slow is an upstream that holds its answers until told.
func slow(t *testing.T) (upstream string, entered, release chan struct{}) {
	entered, release = make(chan struct{}, 16), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "finished")
	}))
	t.Cleanup(server.Close)
	return server.URL, entered, release
}

const slowConfig = `proxy:
  listeners: [{address: "127.0.0.1:0"}]
  upstreams: {slow: {url: "%s", insecure_http: true, private: true, credential: none}}
  drain: {delay: %s, timeout: 20s}
policy:
  rules: [{name: all, callers: [local], upstreams: [slow], methods: [GET], paths: [/**]}]
`

func TestRun_DrainFinishesWhatIsUnderWay(t *testing.T) {
	upstream, entered, release := slow(t)
	b := harness.Start(t, fmt.Sprintf(slowConfig, upstream, "0s"))
	client := newClient(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if status, body := get(t, client, b.URL+"/slow/x"); status != 200 || body != "finished" {
				t.Errorf("answered %d %q, want the answer whole", status, body)
			}
		})
		<-entered
	}
	b.Signal(syscall.SIGTERM)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "draining" })
	close(release)
	wait.Wait()
	if code := b.Wait(); code != 0 {
		t.Errorf("exit %d after a drain, want 0", code)
	}
	if n := len(b.Lines("request")); n != 8 {
		t.Errorf("the log has %d requests, want 8: it is flushed at exit", n)
	}
}

// TestRun_DrainClosesConnectionsBeforeTheListener: during drain.delay a reused
// connection is answered and closed, so that no request meets a closed one.
func TestRun_DrainClosesConnectionsBeforeTheListener(t *testing.T) {
	upstream, entered, release := slow(t)
	close(release)
	b := harness.Start(t, fmt.Sprintf(slowConfig, upstream, "20s"))
	conn, err := net.Dial("tcp4", strings.TrimPrefix(b.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	ask := func() *http.Response {
		if _, err := io.WriteString(conn, "GET /slow/x HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		<-entered
		return resp
	}
	if ask().Close {
		t.Error("the connection ends before draining")
	}
	b.Signal(syscall.SIGTERM)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "draining" })
	if resp := ask(); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("while draining: answered %d, closing %v; want 200 and a close", resp.StatusCode, resp.Close)
	}
	if status, _ := get(t, newClient(t), b.URL+"/slow/x"); status != 200 {
		t.Errorf("a new connection during drain.delay: answered %d, want 200", status)
	}
	b.Signal(syscall.SIGTERM)
	if code := b.Wait(); code != 130 {
		t.Errorf("exit %d after a second signal, want 130", code)
	}
}

func TestRun_SecondSignalCutsOff(t *testing.T) {
	upstream, entered, release := slow(t)
	t.Cleanup(func() { close(release) })
	b := harness.Start(t, fmt.Sprintf(slowConfig, upstream, "0s"))
	cut := make(chan error, 1)
	go func() { // ends when bearerd does
		resp, err := newClient(t).Get(b.URL + "/slow/x")
		if err == nil {
			_ = resp.Body.Close()
		}
		cut <- err
	}()
	<-entered
	b.Signal(os.Interrupt)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "draining" })
	b.Signal(os.Interrupt)
	if code := b.Wait(); code != 130 {
		t.Errorf("exit %d after a second signal, want 130", code)
	}
	if err := <-cut; err == nil {
		t.Error("a request that was cut off seemed to end well")
	}
}

func TestRun_LogHasTheContractsFields(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g))
	get(t, newClient(t), b.URL+"/transfer/v0.10/endpoint_search?filter_scope=my-endpoints&secret=in-the-query")
	b.Requests(1)
	get(t, newClient(t), b.URL+"/transfer/v0.10/%1b[2J/x")
	lines := b.Requests(2)
	for name, want := range map[string]any{
		"caller": "local", "upstream": "transfer", "method": "GET", "path": "/transfer/v0.10/endpoint_search", "status": 200.0,
		"decision": "allow", "rule": "read", "credential": "transfer", "attempts": 1.0, "breaker": "closed", "sent_bytes": 0.0, "code": "",
	} {
		if got := lines[0][name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"request_id", "fingerprint", "token_wait_ms", "total_ms", "received_bytes", "time", "level"} {
		if _, ok := lines[0][name]; !ok {
			t.Errorf("the line has no %s: %v", name, lines[0])
		}
	}
	renewed := renewalsOf(b, "transfer")
	if len(renewed) != 1 || renewed[0]["fingerprint"] != lines[0]["fingerprint"] {
		t.Errorf("renewal lines %v, want one for transfer with the request's fingerprint", renewed)
	}
	if output := string(b.Output()); strings.Contains(output, "in-the-query") || strings.Contains(output, `"token"`) {
		t.Error("the log has a query or a field called token")
	}
	if lines[1]["code"] != "request_ambiguous" || lines[1]["upstream"] != "" {
		t.Errorf("a refused request is logged as %v", lines[1])
	}
}

// forwardProxy is a CONNECT and absolute-form proxy that counts.
func forwardProxy(t *testing.T) (string, *atomic.Int32) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Proxy-Authorization") == "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		out := r.Clone(r.Context())
		out.RequestURI = ""
		out.Header.Del("Proxy-Authorization")
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(server.Close)
	return server.URL, &asked
}

func TestRun_ProxyURLIsTheWayOutForUpstreamsAndTokens(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	proxy, asked := forwardProxy(t)
	withPassword := strings.Replace(proxy, "http://", "http://me:cGFzc3dvcmQ@", 1)
	config := strings.Replace(harness.Config(g), "proxy:\n", "proxy:\n  proxy_url: env:WAY_OUT\n", 1)
	b := harness.Start(t, config, harness.Env("WAY_OUT="+withPassword))
	if status, body := get(t, newClient(t), b.URL+taskList); status != 200 || asked.Load() != 2 {
		t.Errorf("answered %d %s after %d requests through the proxy, want 200 after 2: the token's and its own", status, body, asked.Load())
	}
	b.Stop()
	if strings.Contains(string(b.Output()), "cGFzc3dvcmQ") {
		t.Error("the log has the proxy's password")
	}
}

func TestRun_EnvironmentProxyIsNotUsedUnasked(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g), harness.Env("HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1"))
	if status, body := get(t, newClient(t), b.URL+taskList); status != 200 {
		t.Errorf("answered %d %s", status, body)
	}
	const warning = "HTTPS_PROXY is set and not used; set proxy.proxy_url to env to go out through it"
	b.Requests(1)
	if n := len(b.Lines(warning)); n != 1 {
		t.Errorf("told of HTTPS_PROXY %d times, want once", n)
	}
	quiet := harness.Start(t, strings.Replace(harness.Config(g), "proxy:\n", "proxy:\n  proxy_url: env\n", 1), harness.Env("HTTPS_PROXY=http://127.0.0.1:1"))
	get(t, newClient(t), quiet.URL+taskList)
	quiet.Requests(1)
	if n := len(quiet.Lines(warning)); n != 0 {
		t.Errorf("told of HTTPS_PROXY %d times though it is used", n)
	}
}

func TestDemo_TakesAFreePortWhereTheUsualIsTaken(t *testing.T) {
	if taken, err := net.Listen("tcp4", "127.0.0.1:8080"); err == nil {
		defer func() { _ = taken.Close() }()
	} // else somebody else has it, which is as good
	out, err := exec.Command(harness.Binary(t), "demo", "--once").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "All went as it should.") {
		t.Errorf("%v, said\n%s", err, out)
	}
	harness.CheckNoSecrets(t, out)
}

// A log that nobody reads any more must not end the service (SIGPIPE would).
func TestRun_OutlivesTheReaderOfItsLog(t *testing.T) {
	dir := t.TempDir()
	config := "proxy:\n  listeners: [{address: \"127.0.0.1:0\"}]\n  upstreams: {x: {url: https://x.example.org, credential: none}}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(harness.Binary(t), "run", "--log-format", "json")
	command.Dir = dir
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = command.Process.Kill() }() // if it is still there
	var listening struct {
		Address string `json:"address"`
	}
	for lines := bufio.NewReader(log); listening.Address == ""; {
		line, err := lines.ReadString('\n')
		if err != nil || json.Unmarshal([]byte(line), &listening) != nil {
			t.Fatalf("the log has %q before it listens (%v)", line, err)
		}
	}
	_ = log.Close()
	client := newClient(t)
	for range 500 { // more lines than the log's buffer holds, so that it must write
		if status, _ := get(t, client, "http://"+listening.Address+"/nowhere"); status != 404 {
			t.Fatalf("answered %d, want 404", status)
		}
	}
	_ = command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit 0", err)
	}
}
