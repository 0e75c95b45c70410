package test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// withAdmin is the usual configuration with both of the admin section's addresses.
func withAdmin(g *harness.Globus) string {
	return strings.Replace(harness.Config(g), "admin: {", "admin: {probe_address: \"127.0.0.1:0\", ", 1)
}

// transferFailed is of the line that says that transfer got no token.
func transferFailed(line map[string]any) bool {
	return line["message"] == "token renewal failed" && line["credential"] == "transfer"
}

// waitFor asks until the answer has a status.
func waitFor(t *testing.T, url string, status int) string {
	t.Helper()
	client := newClient(t)
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		got, body := get(t, client, url)
		if got == status {
			return body
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%s is answered %d %s, want %d", url, got, body, status)
		}
	}
}

func TestAdmin_ReadyOnceEveryTokenWasThereAndThenUntilTheDrain(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	g.FailTokens(1000, emulator.Unavailable())
	b := harness.Start(t, withAdmin(g))
	b.WaitLog(transferFailed)
	operators, probes := b.AdminURL("address"), b.AdminURL("probe_address")
	body := waitFor(t, operators+"/readyz", http.StatusServiceUnavailable)
	if !strings.Contains(body, "[-]credential/transfer none: ") || !strings.Contains(body, "(server, 503") {
		t.Errorf("not ready without saying why: %s", body)
	}
	waitFor(t, probes+"/readyz", http.StatusServiceUnavailable)
	waitFor(t, probes+"/livez", http.StatusOK)
	g.FailTokens(0, emulator.Failure{})
	waitFor(t, operators+"/readyz", http.StatusOK)
	g.FailTokens(1000, emulator.Aborted())
	g.Revoke("")
	client := newClient(t)
	if status, _ := get(t, client, b.URL+taskList); status == http.StatusOK {
		t.Error("a revoked token was good")
	}
	waitFor(t, probes+"/readyz", http.StatusOK)
	if body := waitFor(t, operators+"/readyz?verbose", http.StatusOK); !strings.Contains(body, "credential/auth ok") {
		t.Errorf("verbose says %s", body)
	}
	waitFor(t, operators+"/readyz?upstream=auth", http.StatusOK)
	waitFor(t, operators+"/readyz?upstream=nobody", http.StatusNotFound)
}

// Who asks from other machines is told which credential it is, and no more.
func TestAdmin_ProbesAreToldNoReasons(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	g.SetSecret("rotated")
	b := harness.Start(t, withAdmin(g))
	b.WaitLog(transferFailed)
	for _, accept := range []string{"", "application/json"} {
		req, _ := http.NewRequest(http.MethodGet, b.AdminURL("probe_address")+"/readyz?verbose", nil)
		req.Header.Set("Accept", accept)
		resp, err := newClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if text := string(body); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "[-]credential/transfer none: client\n") ||
			strings.Contains(text, "http") || strings.Contains(text, "file:") {
			t.Errorf("a probe is answered %d %s", resp.StatusCode, text)
		}
	}
}

func TestAdmin_NotReadyWhileDraining(t *testing.T) {
	upstream, entered, release := slow(t)
	finish := sync.OnceFunc(func() { close(release) })
	defer finish() // or a failure would wait for the request for ever
	b := harness.Start(t, fmt.Sprintf(slowConfig, upstream, "0s"))
	ready := b.AdminURL("address") + "/readyz"
	waitFor(t, ready, http.StatusOK)
	client := newClient(t)
	ended := make(chan int)
	go func() {
		status, _ := get(t, client, b.URL+"/slow/x")
		ended <- status
	}()
	<-entered
	b.Signal(syscall.SIGTERM)
	if body := waitFor(t, ready, http.StatusServiceUnavailable); !strings.Contains(body, "draining") {
		t.Errorf("draining, and said %s", body)
	}
	waitFor(t, ready+"?upstream=slow", http.StatusServiceUnavailable)
	finish()
	if status := <-ended; status != http.StatusOK {
		t.Errorf("the request under way was answered %d", status)
	}
	if code := b.Wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestAdmin_IsNothingForWebPagesAndForeignHosts(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, withAdmin(g))
	for _, tt := range []struct {
		key, header, value string
		want               int
	}{
		{"address", "Host", "localhost:1", 200},
		{"address", "Host", "[::1]:9641", 200},
		{"address", "Host", "evil.example", 421},
		{"address", "Host", "10.0.0.1", 421},
		{"address", "Origin", "http://localhost", 403},
		{"address", "Sec-Fetch-Site", "same-origin", 403},
		{"probe_address", "Host", "10.1.2.3:9642", 200},
	} {
		req, _ := http.NewRequest(http.MethodGet, b.AdminURL(tt.key)+"/livez", nil)
		req.Header.Set(tt.header, tt.value)
		if tt.header == "Host" {
			req.Host = tt.value
		}
		resp, err := newClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s with %s: %s is answered %d, want %d", tt.key, tt.header, tt.value, resp.StatusCode, tt.want)
		}
	}
	for _, path := range []string{"/api/v1/status", "/", "/debug/pprof/"} {
		waitFor(t, b.AdminURL("probe_address")+path, http.StatusNotFound)
	}
	resp, err := newClient(t).Post(b.AdminURL("address")+"/readyz", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered %d", resp.StatusCode)
	}
}

// TestAdmin_AnswersProfilesWhereTheyAreWanted: longer ones than a request may be read
// for, too.
func TestAdmin_AnswersProfilesWhereTheyAreWanted(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	usual := harness.Start(t, withAdmin(g))
	waitFor(t, usual.AdminURL("address")+"/debug/pprof/heap", http.StatusNotFound)
	b := harness.Start(t, strings.Replace(withAdmin(g), "admin: {", "admin: {pprof: true, ", 1))
	get(t, newClient(t), b.URL+taskList)
	at := b.AdminURL("address")
	for path, want := range map[string]int{
		"heap": 200, "goroutine?debug=2": 200, "allocs?debug=1": 200, "trace?seconds=0.1": 200, "heap?seconds=300.5": 400, "profile?seconds=1e9": 400,
		"trace?seconds=nan": 400, "cmdline": 404, "": 404, "nothing": 404,
	} {
		body := waitFor(t, at+"/debug/pprof/"+path, want)
		harness.CheckNoSecrets(t, []byte(body), g)
	}
	for _, elsewhere := range []string{b.AdminURL("probe_address"), b.URL} {
		waitFor(t, elsewhere+"/debug/pprof/heap", http.StatusNotFound)
	}
	if heap := waitFor(t, at+"/debug/pprof/heap?debug=1", http.StatusOK); !strings.Contains(heap, "@ heap/1048576\n") {
		t.Errorf("of what is allocated something else is noted than 1 of 512 KiB: %.80s", heap)
	}
	if body := waitFor(t, at, http.StatusOK); !strings.Contains(body, "/debug/pprof/profile") {
		t.Errorf("what is there is told as %q", body)
	}
	profile := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(profile, []byte(waitFor(t, at+"/debug/pprof/profile?seconds=6", http.StatusOK)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", profile).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Duration: 6") {
		t.Errorf("of 6 s: %v\n%s", err, out)
	}
}

// metricNames are the contract's.
var metricNames = []string{
	"bearerd_audit_errors_total", "bearerd_breaker_state", "bearerd_build_info", "bearerd_config_last_reload_success_timestamp_seconds", "bearerd_config_last_reload_successful", "bearerd_connections",
	"bearerd_denied_total", "bearerd_errors_total", "bearerd_inbound_authorization_total", "bearerd_log_dropped_total", "bearerd_request_bytes_total", "bearerd_request_duration_seconds",
	"bearerd_requests_in_flight", "bearerd_requests_total", "bearerd_response_bytes_total", "bearerd_store_errors_total",
	"bearerd_token_expiry_timestamp_seconds", "bearerd_token_renewal_duration_seconds", "bearerd_token_renewals_total", "bearerd_token_uses_total",
	"bearerd_upstream_request_duration_seconds",
}

func TestAdmin_MetricsHaveTheContractsNames(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	config := strings.Replace(withAdmin(g), "  clients:\n", "  store: {redis: \"redis://127.0.0.1:1\", keys: [file:key]}\n  clients:\n", 1)
	b := harness.Start(t, config, harness.File("key", "a key that is good for a test of metrics"))
	client := newClient(t)
	get(t, client, b.URL+taskList)
	if status, _ := get(t, client, b.URL+"/transfer/%2e%2e/"); status != http.StatusBadRequest {
		t.Errorf("answered %d", status)
	}
	req, _ := http.NewRequest("DELETE", b.URL+"/transfer/v0.10/endpoint/x", nil)
	req.Header.Set("Authorization", "Bearer of-its-own")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	b.Requests(3)
	body := waitFor(t, b.AdminURL("probe_address")+"/metrics", http.StatusOK)
	var names []string
	for _, found := range regexp.MustCompile(`(?m)^# TYPE (bearerd_\w+)`).FindAllStringSubmatch(body, -1) {
		names = append(names, found[1])
	}
	slices.Sort(names)
	if !slices.Equal(names, metricNames) {
		t.Errorf("metrics %q, want %q", names, metricNames)
	}
	for _, line := range []string{
		`bearerd_requests_total{method="GET",status="200",upstream="transfer"} 1`,
		`bearerd_requests_in_flight{upstream="transfer"} 0`,
		`bearerd_denied_total{caller="local",rule="",upstream="transfer"} 1`,
		`bearerd_errors_total{code="denied",upstream="transfer"} 1`,
		`bearerd_token_renewals_total{class="",credential="transfer",result="ok"} 1`,
		`bearerd_token_uses_total{credential="transfer",state="fresh"} 1`,
		`bearerd_breaker_state{state="closed",upstream="transfer"} 1`,
		`bearerd_config_last_reload_successful 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	harness.CheckNoSecrets(t, []byte(body), g)
}

func TestStatus_ShowsHowCredentialsStand(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, withAdmin(g))
	url := b.AdminURL("address")
	run := func(args ...string) (string, int) {
		t.Helper()
		command := exec.Command(harness.Binary(t), args...)
		command.Dir = b.Dir
		out, _ := command.CombinedOutput() // its outcome is in ProcessState
		return string(out), command.ProcessState.ExitCode()
	}
	if out, code := run("healthcheck", "--wait", "20s", "--admin-url", url); code != 0 || out != "ready\n" {
		t.Errorf("healthcheck: exit %d, %s", code, out)
	}
	get(t, newClient(t), b.URL+taskList)
	narrow, _ := run("status", "--admin-url", url)
	for line := range strings.Lines(narrow) {
		if len(line) > 100 {
			t.Errorf("a line of %d characters does not fit a terminal: %s", len(line), line)
		}
	}
	out, code := run("status", "--wide", "--admin-url", url)
	for _, want := range []string{"ready", "CREDENTIAL", "transfer", "fresh", "transfer.api.globus.org", "file:secret", "memory", "sha256:"} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}
	text, codeJSON := run("status", "--json", "--admin-url", url)
	var report struct {
		Ready       bool
		Credentials []map[string]any
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil || code != 0 || codeJSON != 0 || !report.Ready || len(report.Credentials) != 2 {
		t.Errorf("exits %d and %d, %v: %s", code, codeJSON, err, text)
	}
	harness.CheckNoSecrets(t, []byte(out+text), g)
	b.Stop()
	for _, command := range []string{"status", "healthcheck"} {
		if out, code := run(command, "--admin-url", url); code != 69 || !strings.Contains(out, "no bearerd answers at "+url) {
			t.Errorf("%s without a daemon: exit %d, %s", command, code, out)
		}
	}
}

// Who asks a running bearerd has neither its variables nor its secrets, and a
// mistake made in the file since is for the next start.
func TestStatus_NeedsNothingOfTheConfigurationButTheAddress(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g))
	url := b.AdminURL("address")
	waitFor(t, url+"/readyz", http.StatusOK)
	b.Replace("config.yaml", "admin: {address: \""+strings.TrimPrefix(url, "http://")+"\"}\nnonsense: 1\ncredentials: {clients: {globus: {client_id: env:NOBODY_SETS_THIS}}}\n")
	for _, command := range []string{"status", "healthcheck"} {
		run := exec.Command(harness.Binary(t), command, "-c", "config.yaml")
		run.Dir, run.Env = b.Dir, []string{"HOME=" + b.Dir}
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
	run := exec.Command(harness.Binary(t), "status", "--admin-url", "localhost:9641")
	if out, err := run.CombinedOutput(); err == nil || !strings.Contains(string(out), "write one such as http://localhost:9641") {
		t.Errorf("a URL without a scheme: %v, %s", err, out)
	}
}

func TestHealthcheck_SaysWhyItIsNotReady(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	g.SetSecret("rotated")
	b := harness.Start(t, withAdmin(g))
	waitFor(t, b.AdminURL("address")+"/readyz", http.StatusServiceUnavailable)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "token renewal failed" })
	out, err := exec.Command(harness.Binary(t), "healthcheck", "--admin-url", b.AdminURL("address")).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), "(client, 401 UNAUTHORIZED)") {
		t.Errorf("%v: %s", err, out)
	}
}

// A bearerd beside a tool presents its projected ServiceAccount token to a central
// one, which has the service account. The central one knows it as a caller's key.
func TestToken_AFileOfASidecarIsPresentedToACentralBearerd(t *testing.T) {
	const first, second = "first.projected.token", "second.projected.token"
	g := harness.NewGlobus(t, emulator.Config{})
	config := strings.Replace(harness.Config(g), "policy:\n", "policy:\n  callers: [{name: pod, key: file:keys}]\n", 1)
	config = strings.Replace(config, "callers: [local]", "callers: [pod]", 1)
	central := harness.Start(t, config, harness.File("keys", fmt.Sprintf("%x\n%x\n", sha256.Sum256([]byte(first)), sha256.Sum256([]byte(second)))))
	sidecar := harness.Start(t, `proxy:
  listeners: [{address: "127.0.0.1:0"}]
  upstreams: {transfer: {url: "`+central.URL+`/transfer", insecure_http: true, private: true, credential: chained}}
  drain: {delay: 0s}
credentials:
  tokens: {chained: {token: "file:token"}}
policy:
  rules: [{name: all, callers: [local], upstreams: [transfer], methods: [GET], paths: [/**]}]
`, harness.File("token", first))
	client := newClient(t)
	if status, body := get(t, client, central.URL+taskList); status != http.StatusForbidden && status != http.StatusUnauthorized {
		t.Errorf("without the token the central one answers %d %s", status, body)
	}
	if status, body := get(t, client, sidecar.URL+taskList); status != http.StatusOK {
		t.Fatalf("through both: %d %s", status, body)
	}
	fingerprint := func() any {
		lines := sidecar.Lines("request")
		return lines[len(lines)-1]["fingerprint"]
	}
	sidecar.Requests(1)
	before := fingerprint()
	sidecar.Replace("token", second)
	for asked, start := 1, time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if status, body := get(t, client, sidecar.URL+taskList); status != http.StatusOK {
			t.Fatalf("through both: %d %s", status, body)
		}
		asked++
		sidecar.Requests(asked)
		if fingerprint() != before {
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal("the file changed and what is presented did not")
		}
	}
	if output := string(sidecar.Output()) + string(central.Output()); strings.Contains(output, first) || strings.Contains(output, second) {
		t.Error("a projected token is in the log")
	}
}
