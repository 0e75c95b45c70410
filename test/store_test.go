package test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
	"bearerd/test/redis"
)

// withStore is withAdmin and a store.
func withStore(g *harness.Globus, store string) string {
	return strings.Replace(withAdmin(g), "  clients:\n", "  store: "+store+"\n  clients:\n", 1)
}

// A bearerd that starts while Auth is down serves at once what the one before it
// left in the store.
func TestStore_ARestartWithAuthDownServesFromTheStore(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	dir := t.TempDir()
	config := withStore(g, "file:"+dir+"/tokens")
	first := harness.Start(t, config)
	waitFor(t, first.AdminURL("address")+"/readyz", http.StatusOK)
	client := newClient(t)
	if status, body := get(t, client, first.URL+taskList); status != http.StatusOK {
		t.Fatalf("answered %d %s", status, body)
	}
	first.Stop()
	requests := g.Count("auth", "/v2/oauth2/token")
	g.CloseAuth()
	second := harness.Start(t, config)
	if status, body := get(t, client, second.URL+taskList); status != http.StatusOK {
		t.Errorf("answered %d %s, want the token of the store", status, body)
	}
	waitFor(t, second.AdminURL("address")+"/readyz", http.StatusOK)
	if lines := second.Lines("token read from the store"); len(lines) != 2 {
		t.Errorf("%d tokens were read from the store, want 2", len(lines))
	}
	t.Logf("restart with the token endpoint down and a file store: first request served from the store, %d token requests", g.Count("auth", "/v2/oauth2/token")-requests)
}

// A cron job that runs every minute with a proxy of its own asks for a token when
// the last has come of age, and not every minute.
func TestStore_JobsOneAfterTheOtherShareATokenRequest(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		harness.Missing(t, "curl is not installed")
	}
	g := harness.NewGlobus(t, emulator.Config{})
	config := withStore(g, "file:"+t.TempDir()+"/tokens")
	run := func() {
		t.Helper()
		j := newJob(t, config, nil, "sh", "-c", `curl -fsS "$BEARERD_URL/transfer/v0.10/task_list"`)
		if err := j.Start(); err != nil {
			t.Fatal(err)
		}
		if code := j.end(t); code != 0 || !strings.Contains(j.stdout.String(), "task_list") {
			t.Fatalf("exit %d: %s%s", code, j.stdout.String(), j.stderr.String())
		}
	}
	for range 3 {
		run()
	}
	if n := g.Count("auth", "/v2/oauth2/token"); n != 1 {
		t.Errorf("%d token requests for 3 jobs, want 1", n)
	}
	g.CloseAuth()
	run()
	t.Logf("3 jobs one after the other and one with the token endpoint down: %d token request", g.Count("auth", "/v2/oauth2/token"))
}

// Two bearerds share a Redis; then the token endpoint is down, and then the Redis.
func TestStore_ReplicasShareRedisAndOutliveIt(t *testing.T) {
	server := redis.Start(t)
	g := harness.NewGlobus(t, emulator.Config{})
	config := withStore(g, fmt.Sprintf(`{redis: %q, keys: [file:store-key]}`, server.URL))
	key := harness.File("store-key", "a key of the store that both have, and nobody else\n")
	first := harness.Start(t, config, key)
	waitFor(t, first.AdminURL("address")+"/readyz", http.StatusOK)
	client := newClient(t)
	ask := func(b *harness.Bearerd) {
		t.Helper()
		if status, body := get(t, client, b.URL+taskList); status != http.StatusOK {
			t.Errorf("answered %d %s", status, body)
		}
	}
	ask(first)
	for start := time.Now(); server.Do("DBSIZE") != ":2"; time.Sleep(10 * time.Millisecond) { // both tokens lie there
		if time.Since(start) > 10*time.Second {
			t.Fatalf("Redis has %s keys, want 2", server.Do("DBSIZE"))
		}
	}
	requests := g.Count("auth", "/v2/oauth2/token")
	g.CloseAuth()
	second := harness.Start(t, config, key)
	ask(second)
	waitFor(t, second.AdminURL("address")+"/readyz", http.StatusOK)
	server.Kill()
	ask(first)
	ask(second)
	third := harness.Start(t, config, key) // finds neither
	if status, body := get(t, client, third.URL+taskList); status != http.StatusServiceUnavailable || !strings.Contains(body, "token endpoint") {
		t.Errorf("with neither token endpoint nor store: %d %s", status, body)
	}
	third.WaitLog(func(line map[string]any) bool { return line["message"] == "token store failed, going on without" })
	if metrics := waitFor(t, third.AdminURL("probe_address")+"/metrics", http.StatusOK); !strings.Contains(metrics, "bearerd_store_errors_total{op=") {
		t.Error("the metrics do not count what failed in the store")
	}
	if status := waitFor(t, third.AdminURL("address")+"/api/v1/status", http.StatusOK); !strings.Contains(status, `"store": "failing"`) {
		t.Errorf("status does not say that the store fails: %s", status)
	}
	t.Logf("a second bearerd with the token endpoint down: %d token requests more; with Redis killed too both serve", g.Count("auth", "/v2/oauth2/token")-requests)
}
