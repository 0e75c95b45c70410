package browser_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// foreign is a name that is made to resolve to loopback, as whoever owns it can.
const foreign = "evil.example"

// patience is for a page to end, which takes it seconds.
const patience = 90 * time.Second

// TestBrowser_NothingThatAPageSendsReachesTheUpstream opens pages of another port of
// this machine, of another site, and of a name that comes to mean this machine
// while the page is open (DNS rebinding). Each tries every way to send a request.
func TestBrowser_NothingThatAPageSendsReachesTheUpstream(t *testing.T) {
	program := chromium(t)
	g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
	b := harness.Start(t, config(g, upstream.URL))
	port := b.URL[strings.LastIndexByte(b.URL, ':'):]
	checkOpen(t, b, upstream)

	attempts, seen := 0, map[string]bool{}
	for _, page := range []struct {
		name    string
		origin  func(s *site) string
		targets []string // NAME=URL
		rebind  bool
	}{
		{"of another port", func(s *site) string { return s.url("127.0.0.1") }, []string{"a=http://127.0.0.1" + port, "b=http://localhost" + port, "c=http://0.0.0.0" + port}, false},
		{"of another site", func(s *site) string { return s.url(foreign) }, []string{"d=http://127.0.0.1" + port, "e=http://localhost" + port, "f=http://" + foreign + port}, false},
		{"of a name that is rebound", func(s *site) string { return s.turning(foreign) }, nil, true},
	} {
		t.Run(page.name, func(t *testing.T) {
			s := newSite(t, strings.TrimPrefix(b.URL, "http://"))
			query := url.Values{"own": {s.url("127.0.0.1")}}
			targets := page.targets
			if page.rebind {
				query.Set("rebind", "")
				targets = []string{"g=" + page.origin(s)}
			}
			for _, target := range targets {
				query.Add("target", target+"/up")
			}
			ends := s.open(t, program, page.origin(s)+"/page?"+query.Encode())
			attempts += len(ends)
			for attempt, end := range ends {
				if strings.HasSuffix(end, " 200") {
					t.Errorf("%s: the page was answered %s", attempt, end)
				}
			}
			if want := 50 * len(targets); len(ends) < want {
				t.Errorf("the page reports %d attempts, want %d at least", len(ends), want)
			}
		})
	}
	arrived := upstream.Take()
	for _, a := range arrived {
		t.Errorf("%q reached the upstream", a.Line())
	}
	b.Stop() // and all it logged is there
	codes := map[string]int{}
	for _, line := range b.Lines("request") {
		attempt, isAttempt := strings.CutPrefix(fmt.Sprint(line["path"]), "/up/")
		code, _ := line["code"].(string)
		if !isAttempt || attempt == "open" {
			continue
		}
		seen[attempt] = true
		codes[code]++
		if !slices.Contains([]string{"browser_refused", "host_refused", "method_refused", "request_ambiguous"}, code) {
			t.Errorf("%s was answered %v %s", attempt, line["status"], code)
		}
	}
	fmt.Printf("browser: %d attempts of 3 pages, %d came to bearerd and were refused (%d requests: %v), %d reached the upstream\n", attempts, len(seen), sum(codes), codes, len(arrived))
	for target, want := range map[string]int{"a": 40, "b": 40, "d": 40, "e": 40, "f": 30, "g": 30} {
		n := 0
		for attempt := range seen {
			if strings.HasPrefix(attempt, target+"-") {
				n++
			}
		}
		if n < want {
			t.Errorf("of the attempts at target %s %d came to bearerd, want %d at least: does the page still run?", target, n, want)
		}
	}
}

// TestBrowser_APageReachesAnUpstreamThatHasNoGuard, or the other test shows nothing.
func TestBrowser_APageReachesAnUpstreamThatHasNoGuard(t *testing.T) {
	program := chromium(t)
	upstream := harness.NewRecorder(t)
	s := newSite(t, upstream.Addr)
	ends := s.open(t, program, s.url(foreign)+"/page?"+url.Values{"own": {s.url("127.0.0.1")}, "target": {"a=" + upstream.URL + "/up"}}.Encode())
	arrived := map[string]bool{}
	for _, a := range upstream.Take() {
		path, _, _ := strings.Cut(a.Target(), "?")
		arrived[path] = true
	}
	fmt.Printf("browser: without bearerd %d of %d attempts reach the upstream\n", len(arrived), len(ends))
	if len(arrived) < 40 {
		t.Errorf("%d of %d attempts reached the upstream, want 40 at least", len(arrived), len(ends))
	}
}

// checkOpen sends what a tool does: it reaches the upstream, so that no rule is why
// pages do not.
func checkOpen(t *testing.T, b *harness.Bearerd, upstream *harness.Recorder) {
	t.Helper()
	for _, method := range []string{"GET", "POST"} {
		req, err := http.NewRequestWithContext(t.Context(), method, b.URL+"/up/open", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if n := len(upstream.Take()); n != 2 {
		t.Fatalf("%d of a tool's 2 requests reached the upstream", n)
	}
}

func config(g *harness.Globus, upstream string) string {
	return fmt.Sprintf(`proxy:
  listeners: [{address: "localhost:0"}]
  upstreams:
    up: {url: "%[1]s", insecure_http: true, private: true, credential: transfer}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%[2]s/v2/oauth2/token", insecure_http: true, private: true, client_id: "%[3]s", client_secret: "file:secret"}
  tokens:
    transfer: {client: globus, resource_server: transfer.api.globus.org, scopes: ["%[4]s"]}
log: {format: json}
policy:
  rules:
    - {name: all, callers: [local], upstreams: [up], methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS], paths: [/**]}
`, upstream, g.AuthURL, g.ClientID, emulator.TransferScope)
}

func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}

func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		harness.Missing(t, "chromium is not installed")
	}
	return path
}

// open has the browser open a page of the site, and returns what the page reports
// of each attempt.
func (s *site) open(t *testing.T, program, page string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	args := []string{
		"--headless=new", "--user-data-dir=" + dir, "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-popup-blocking", "--host-resolver-rules=MAP " + foreign + " 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE 0.0.0.0",
		// What browsers of today ask a person before, others and older ones do not.
		"--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessRespectPreflightResults",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	var said bytes.Buffer
	cmd := exec.Command(program, append(args, page)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it is many processes
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { // ends with the browser, which is ended below
		_ = cmd.Wait()
		close(exited)
	}()
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
	}()
	select {
	case report := <-s.reports:
		ends := map[string]string{}
		if err := json.Unmarshal(report, &ends); err != nil {
			t.Fatalf("the page reports %q: %v", report, err)
		}
		return ends
	case <-exited:
		t.Fatalf("the browser ended: %s", said.String())
	case <-time.After(patience):
		t.Fatalf("the page did not end; the browser says: %s", said.String())
	}
	return nil
}
