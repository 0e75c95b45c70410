package test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// runToken runs `bearerd token` and returns what it wrote and its exit code.
func runToken(t *testing.T, config string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"config.yaml": config, "secret": emulator.DemoClientSecret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs strings.Builder
	command := exec.Command(harness.Binary(t), append([]string{"token"}, args...)...)
	command.Dir, command.Stdout, command.Stderr = dir, &out, &errs
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

func TestToken_OneGrantForAllAndATable(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	out, errs, code := runToken(t, harness.Config(g))
	if code != 0 || errs != "" {
		t.Fatalf("exit %d, said %q", code, errs)
	}
	if requests := g.Count("auth", "/v2/oauth2/token"); requests != 1 {
		t.Errorf("%d token requests for two resource servers, want 1", requests)
	}
	lines := strings.Split(out, "\n")
	if !strings.HasPrefix(lines[0], "RESOURCE SERVER") || !strings.HasPrefix(lines[1], "auth.globus.org") || !strings.HasPrefix(lines[2], "transfer.api.globus.org") {
		t.Errorf("the table is\n%s", out)
	}
	for _, want := range []string{"openid profile email", emulator.TransferScope, "48h0m0s", "sha256:"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table has no %q:\n%s", want, out)
		}
	}
	harness.CheckNoSecrets(t, []byte(out+errs), g)
}

func TestToken_JSONAndOneUpstream(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	out, _, code := runToken(t, harness.Config(g), "transfer", "--json")
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 1 {
		t.Fatalf("exit %d, %d rows, %v", code, len(rows), err)
	}
	if row := rows[0]; row["resource_server"] != "transfer.api.globus.org" || row["expires_in"].(float64) < 172790 || row["access_token"] != nil {
		t.Errorf("row %v", row)
	}
	harness.CheckNoSecrets(t, []byte(out), g)
}

// The token is shown to who asks for it, and works.
func TestToken_RevealShowsTheToken(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	out, _, code := runToken(t, harness.Config(g), "--reveal", "--json")
	var rows []struct {
		Token       string `json:"access_token"`
		Fingerprint string `json:"fingerprint"`
	}
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 2 {
		t.Fatalf("exit %d, %d rows, %v", code, len(rows), err)
	}
	for _, row := range rows {
		if !strings.HasPrefix(row.Token, "AgEMU") || emulator.Fingerprint(row.Token) != row.Fingerprint {
			t.Error("a revealed token is not the one of the fingerprint")
		}
	}
}

func TestToken_ExitCodesSayWhoseFaultItIs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		breakIt func(*harness.Globus)
		code    int
		says    string
	}{
		{"refused", func(g *harness.Globus) { g.SetSecret("rotated") }, 1, "refused the client; check client_id and client_secret (client, 401 UNAUTHORIZED)"},
		{"unknown scope", func(g *harness.Globus) {
			g.FailTokens(9, emulator.Failure{Status: 400, Body: `{"error":"invalid_scope"}`})
		}, 1, "does not know a scope"},
		{"unreachable", func(g *harness.Globus) { g.CloseAuth() }, 69, "cannot be reached"},
		{"cut off", func(g *harness.Globus) { g.FailTokens(9, emulator.Aborted()) }, 69, "the connection broke"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := harness.NewGlobus(t, emulator.Config{})
			config := harness.Config(g)
			tt.breakIt(g)
			out, errs, code := runToken(t, config)
			if code != tt.code || !strings.Contains(errs, tt.says) {
				t.Errorf("exit %d, said %q; want %d and %q", code, errs, tt.code, tt.says)
			}
			if strings.Count(errs, "token endpoint") != 1 {
				t.Errorf("one failure is told more than once: %q", errs)
			}
			harness.CheckNoSecrets(t, []byte(out+errs), g)
		})
	}
}

func TestToken_InterruptedEndsWith130(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	dir := t.TempDir()
	config := "proxy: {upstreams: {x: {url: https://x.example.org}}}\n" +
		"credentials:\n  clients: {c: {token_url: \"" + hanging.URL + "\", insecure_http: true, private: true, client_id: me, client_secret: env:SECRET}}\n  tokens: {x: {scopes: [read]}}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	command := exec.Command(harness.Binary(t), "token")
	command.Dir, command.Env, command.Stdout = dir, []string{"SECRET=c2VjcmV0"}, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait() // its outcome is in ProcessState
	if code := command.ProcessState.ExitCode(); code != 130 || out.String() != "" {
		t.Errorf("exit %d after Ctrl-C, said %q; want 130 and nothing", code, out.String())
	}
}
