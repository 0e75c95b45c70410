package test

import (
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// TestRun_AListenerOfOneUpstreamIsItsURL: for tools that drop the path of a base
// URL. The other listener goes by prefix as ever.
func TestRun_AListenerOfOneUpstreamIsItsURL(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, strings.Replace(harness.Config(g), `{address: "127.0.0.1:0"}`, `{address: "127.0.0.1:0"}, {address: "127.0.0.1:0", upstream: transfer}`, 1))
	var bases []string
	b.WaitLog(func(line map[string]any) bool {
		if line["message"] == "listening" {
			bases = append(bases, "http://"+line["address"].(string))
		}
		return len(bases) == 2
	})
	client := newClient(t)
	for _, tt := range []struct {
		url    string
		status int
		says   string
	}{
		{bases[0] + "/transfer/v0.10/task_list", 200, `"task_list"`},
		{bases[0] + "/v0.10/task_list", 404, "no_upstream"},
		{bases[1] + "/v0.10/task_list", 200, `"task_list"`},
		{bases[1] + "/transfer/v0.10/task_list", 404, "ClientError.NotFound"}, // says Transfer, which has no such path
		{bases[1] + "/auth/v2/oauth2/userinfo", 404, "ClientError.NotFound"},
	} {
		if status, body := get(t, client, tt.url); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: answered %d %s, want %d with %s", tt.url, status, body, tt.status, tt.says)
		}
	}
	if n := g.Count("transfer", "/auth/v2/oauth2/userinfo"); n != 1 {
		t.Errorf("Transfer received the path under another upstream's prefix %d times, want 1, unchanged", n)
	}
}

// TestRun_AHostOfItsOwnNeedsNoPrefix with curl, which finds *.localhost itself
// (RFC 6761 §6.3) and asks no name server.
func TestRun_AHostOfItsOwnNeedsNoPrefix(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		harness.Missing(t, "curl is not installed")
	}
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, strings.NewReplacer(`127.0.0.1:0`, `localhost:0`, `transfer: {preset`, `transfer: {host: transfer.localhost, preset`).Replace(harness.Config(g)))
	at, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, says string }{
		{"http://transfer.localhost:" + at.Port() + "/v0.10/task_list", `"task_list"`},
		{"http://TRANSFER.localhost:" + at.Port() + "/v0.10/task_list", `"task_list"`},
		{"http://localhost:" + at.Port() + "/transfer/v0.10/task_list", `"task_list"`},
		{"http://localhost:" + at.Port() + "/v0.10/task_list", "no_upstream"},
		{"http://auth.localhost:" + at.Port() + "/v2/oauth2/userinfo", "host_refused"},
	} {
		command := exec.Command(curl, "-sS", "--max-time", "20", tt.url)
		command.Env = []string{"PATH=/nowhere"} // and no http_proxy
		if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), tt.says) {
			t.Errorf("curl %s: %v, said %s; want %s", tt.url, err, out, tt.says)
		}
	}
}

// askAs asks once under another name than the URL's.
func askAs(t *testing.T, client *http.Client, host, url, accept string) (int, string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestRun_AnUnknownHostIsToldTheKey, and the key makes it known.
func TestRun_AnUnknownHostIsToldTheKey(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	client := newClient(t)
	for _, tt := range []struct {
		listener string
		status   int
		says     string
	}{
		{`{address: "127.0.0.1:0"}`, http.StatusMisdirectedRequest, "hosts: of the listener"},
		{`{address: "127.0.0.1:0", hosts: [bearerd.example.org]}`, http.StatusOK, `"task_list"`},
	} {
		b := harness.Start(t, strings.Replace(harness.Config(g), `{address: "127.0.0.1:0"}`, tt.listener, 1))
		status, body := askAs(t, client, "bearerd.example.org", b.URL+taskList, "*/*")
		if status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: answered %d %s, want %d with %s", tt.listener, status, body, tt.status, tt.says)
		}
		if _, body := askAs(t, client, "bearerd.example.org", b.URL+taskList, "application/json"); tt.status != http.StatusOK && !strings.Contains(body, `"key":"proxy.listeners.hosts"`) {
			t.Errorf("%s: answered %s, want the key", tt.listener, body)
		}
	}
}
