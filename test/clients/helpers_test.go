package clients_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m, printTable) }

const tokenPath = "/v2/oauth2/token"

// sdk is one version of the Globus SDK, in a Python of its own.
type sdk struct{ name, requirements string }

var (
	sdk4      = sdk{"sdk4", "requirements-sdk4.txt"}
	sdk3      = sdk{"sdk3", "requirements-sdk3.txt"}
	globusCLI = sdk{"cli", "requirements-cli.txt"} // and the CLI
	sdks      = []sdk{sdk4, sdk3}
)

// python returns the interpreter, or ends the test where it is not installed.
func (s sdk) python(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../.cache/clients/" + s.name + "/bin/python")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		harness.Missing(t, s.requirements+" is not installed; run make clients")
	}
	return path
}

// program returns the path of one that the system has, or ends the test where it
// has none.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		harness.Missing(t, name+" is not installed")
	}
	return path
}

// each runs a test with both SDKs, beside each other.
func each(t *testing.T, test func(t *testing.T, s sdk)) {
	for _, s := range sdks {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// run runs one of the programs beside this file with NAME=value pairs.
func (s sdk) run(t *testing.T, program string, env []string, args ...string) string {
	t.Helper()
	return run(t, s.python(t), env, append([]string{program}, args...)...)
}

// run runs a program to its end in a clean environment and returns what it
// printed. It must succeed, and print no token and no secret.
func run(t *testing.T, path string, env []string, args ...string) string {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LANG=C.UTF-8",
		"PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1,localhost,::1",
	}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	before := t.Failed()
	harness.CheckNoSecrets(t, stdout.Bytes())
	harness.CheckNoSecrets(t, stderr.Bytes())
	switch {
	case err != nil && t.Failed() && !before:
		t.Fatalf("%s: %v; its output holds a secret", filepath.Base(path), err)
	case err != nil:
		t.Fatalf("%s %q: %v\n%s%s", filepath.Base(path), args, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// lines splits what a program printed.
func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

// requests returns what Transfer received.
func requests(g *harness.Globus) []emulator.Record {
	var found []emulator.Record
	for _, r := range g.Records() {
		if r.Service == "transfer" {
			found = append(found, r)
		}
	}
	return found
}

// targets returns the raw targets of what Transfer received.
func targets(g *harness.Globus) []string {
	var found []string
	for _, r := range requests(g) {
		found = append(found, r.Method+" "+r.Target)
	}
	return found
}

// endpoints asks Transfer itself for its endpoints, as the examples print them.
func endpoints(t *testing.T, g *harness.Globus) []string {
	t.Helper()
	var found struct {
		Data []struct {
			ID   string `json:"id"`
			Name string `json:"display_name"`
		} `json:"DATA"`
	}
	straight(t, g, "/v0.10/endpoint_search?filter_scope=my-endpoints", &found)
	var list []string
	for _, e := range found.Data {
		list = append(list, fmt.Sprintf("[%s] %s", e.ID, e.Name))
	}
	return list
}

// straight asks Transfer without bearerd, with a token of the test's own.
func straight(t *testing.T, g *harness.Globus, target string, into any) {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {emulator.TransferScope}}
	req, err := http.NewRequestWithContext(t.Context(), "POST", g.AuthURL+tokenPath, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(g.ClientID, g.Secret)
	var granted struct {
		Token string `json:"access_token"`
	}
	decode(t, req, &granted)
	if req, err = http.NewRequestWithContext(t.Context(), "GET", g.TransferURL+target, nil); err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+granted.Token)
	decode(t, req, into)
}

func decode(t *testing.T, req *http.Request, into any) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s answered %d: %v", req.URL.Path, resp.StatusCode, err)
	}
}
