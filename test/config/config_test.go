// Package config_test holds invalid configurations, one mistake each, with the
// exact words bearerd has for them.
package config_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// check runs `bearerd check` on a file, beside a secret, and returns what it
// wrote to stderr and its exit code.
func check(t *testing.T, path string, env ...string) (stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := harness.NewAuthority(t).IssueServer()
	for name, content := range map[string]string{
		filepath.Base(path): string(data), "secret": "AgNotASecret\n", "store-key": "of 32 characters and more, as it has to be\n",
		"server.pem": certificate, "server-key.pem": key, "open-key.pem": key, "empty.pem": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "open-key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	command := exec.Command(harness.Binary(t), "check", "-c", filepath.Base(path))
	command.Dir, command.Stderr, command.Env = dir, &out, append([]string{"HOME=" + dir}, env...)
	err = command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), command.ProcessState.ExitCode()
}

func TestCheck_SaysEachMistakeInItsPlace(t *testing.T) {
	files, err := filepath.Glob("invalid-*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("found %d invalid configurations (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			got, code := check(t, file)
			if got != string(want) || code != 78 {
				t.Errorf("exit %d, said\n%s\nwant 78 and\n%s", code, got, want)
			}
			for _, goType := range []string{"map[", "struct", "daemon.", "credentials.Config", "[]string", "!!"} {
				if strings.Contains(got, goType) {
					t.Errorf("said %q, which is no word of a user's", goType)
				}
			}
		})
	}
}

func TestCheck_ShippedFileIsRight(t *testing.T) {
	got, code := check(t, "../../config.yaml", "GLOBUS_CLIENT_ID=id", "GLOBUS_CLIENT_SECRET=c2VjcmV0=")
	if got != "" || code != 0 {
		t.Errorf("exit %d, said %q; want 0 and nothing", code, got)
	}
	got, code = check(t, "../../config.yaml")
	if code != 78 || strings.Count(got, "is not set; export it") != 2 {
		t.Errorf("without the variables: exit %d, said %q", code, got)
	}
}
