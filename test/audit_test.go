package test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// auditLines are those of an audit file, which must all be JSON.
func auditLines(t *testing.T, path string) []map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harness.CheckNoSecrets(t, data)
	var all []map[string]string
	for line := range strings.Lines(string(data)) {
		var one map[string]string
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

// events are what the lines tell of, but for renewals, whose number is by chance.
func events(lines []map[string]string) string {
	var all []string
	for _, line := range lines {
		if line["event"] != "renewal" {
			all = append(all, line["event"])
		}
	}
	return strings.Join(all, " ")
}

func withAudit(g *harness.Globus, audit string, rules ...string) string {
	return harness.Config(g, rules...) + "  audit: " + audit + "\n"
}

func send(t *testing.T, b *harness.Bearerd, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Bearerd-Error")
}

func TestAudit_OneLineForWhatWasAllowedDeniedAndRefused(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, withAudit(g, "{file: audit.jsonl}", `{name: cancel, callers: [local], upstreams: [transfer], allow: [cancel]}`))
	send(t, b, "GET", taskList+"?secret=of-the-query", "") // a read
	send(t, b, "POST", "/transfer/v0.10/task/7/cancel", "{}")
	send(t, b, "DELETE", "/transfer/v0.10/endpoint/7", "")
	b.Requests(3)
	send(t, b, "GET", "/transfer/%2e%2e/", "")
	b.Requests(4)
	path := filepath.Join(b.Dir, "audit.jsonl")
	lines := auditLines(t, path)
	if got := events(lines); got != "allowed denied refused" {
		t.Fatalf("the audit log tells of %q", got)
	}
	for _, line := range lines {
		if line["event"] == "renewal" && (line["credential"] == "" || line["fingerprint"] == "") || line["time"] == "" {
			t.Errorf("the line is %v", line)
		}
		if line["event"] == "allowed" && (line["caller"] != "local" || line["rule"] != "cancel" || line["upstream"] != "transfer" || line["method"] != "POST" ||
			line["path"] != "/transfer/v0.10/task/7/cancel" || line["credential"] != "transfer" || line["request_id"] == "" || line["peer"] != "127.0.0.1") {
			t.Errorf("the line is %v", line)
		}
		if line["event"] == "denied" && line["code"] != "denied" || line["event"] == "refused" && line["code"] != "request_ambiguous" || strings.Contains(line["path"], "?") {
			t.Errorf("the line is %v", line)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}

	if err := os.Rename(path, path+".1"); err != nil { // as logrotate does
		t.Fatal(err)
	}
	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "config reloaded" })
	b.Replace("config.yaml", "nonsense")
	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "config not reloaded, the old one stays" })
	lines = auditLines(t, path)
	if got := events(lines); got != "reload reload" || lines[0]["err"] != "" || lines[len(lines)-1]["err"] == "" {
		t.Errorf("after it was renamed it tells of %v", lines)
	}
}

func TestAudit_ReadsWhereTheyAreAskedFor(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, withAudit(g, "{file: audit.jsonl, reads: true}"))
	send(t, b, "GET", taskList, "")
	if got := events(auditLines(t, filepath.Join(b.Dir, "audit.jsonl"))); got != "allowed" { // before it was forwarded
		t.Errorf("the audit log tells of %q", got)
	}
}

// Where the file is taken away for good, what is not required goes on, and what is
// does not.
func TestAudit_RequiredDeniesWhatCannotBeWritten(t *testing.T) {
	for audit, want := range map[string]string{"{file: audit/log}": "", "{file: audit/log, required: true}": "denied"} {
		g := harness.NewGlobus(t, emulator.Config{})
		rule := `{name: cancel, callers: [local], upstreams: [transfer], allow: [cancel]}`
		b := harness.Start(t, withAudit(g, audit, rule), harness.Dir("audit"))
		if status, code := send(t, b, "POST", "/transfer/v0.10/task/7/cancel", "{}"); code != "" {
			t.Fatalf("%s: answered %d %s", audit, status, code)
		}
		before := g.Count("transfer", "/v0.10/task/7/cancel")
		dir := filepath.Join(b.Dir, "audit")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if _, code := send(t, b, "POST", "/transfer/v0.10/task/7/cancel", "{}"); code != want {
			t.Errorf("%s: a write is answered %q, want %q", audit, code, want)
		}
		if after := g.Count("transfer", "/v0.10/task/7/cancel"); (after > before) != (want == "") {
			t.Errorf("%s: %d requests reached the upstream, %d before", audit, after, before)
		}
		if status, code := send(t, b, "GET", taskList, ""); status != 200 {
			t.Errorf("%s: a read, which nobody asked to write, is answered %d %s", audit, status, code)
		}
		b.WaitLog(func(line map[string]any) bool { return line["message"] == "audit log not written" })
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if status, code := send(t, b, "POST", "/transfer/v0.10/task/7/cancel", "{}"); code != "" {
			t.Errorf("%s: when it can be written again: %d %s", audit, status, code)
		}
	}
}

// Requests under way while reloads change the file are written to one or the other.
func TestAudit_ReloadsLoseNoLine(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	rule := `{name: cancel, callers: [local], upstreams: [transfer], allow: [cancel]}`
	config := func(name string) string { return withAudit(g, "{file: "+name+", required: true}", rule) }
	b := harness.Start(t, config("a.jsonl"))
	done := make(chan struct{})
	var sent atomic.Int64
	var senders sync.WaitGroup
	for range 3 {
		senders.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if status, code := send(t, b, "POST", "/transfer/v0.10/task/7/cancel", "{}"); code != "" {
					t.Errorf("answered %d %s", status, code)
				}
				sent.Add(1)
			}
		})
	}
	for i := range 20 {
		b.Replace("config.yaml", config([]string{"b.jsonl", "a.jsonl"}[i%2]))
		b.Signal(syscall.SIGHUP)
		b.WaitLog(func(map[string]any) bool { return len(b.Lines("config reloaded")) > i })
	}
	close(done)
	senders.Wait()
	allowed := 0
	for _, name := range []string{"a.jsonl", "b.jsonl"} {
		for _, line := range auditLines(t, filepath.Join(b.Dir, name)) {
			if line["event"] == "allowed" {
				allowed++
			}
		}
	}
	if int64(allowed) != sent.Load() || allowed == 0 {
		t.Errorf("%d lines for %d requests", allowed, sent.Load())
	}
}
