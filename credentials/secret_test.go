package credentials

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secretFile writes a file that only its owner may read and returns its path.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantRefusal checks that r cannot be read, that the error says what to do, and
// that it holds nothing of the canary.
func wantRefusal(t *testing.T, r Reference, want string) {
	t.Helper()
	secret, err := r.Read()
	if err == nil || secret.Reveal() != "" {
		t.Fatal("the secret was read, want a refusal")
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want %q in it", err, want)
	}
	wantNothingOf(t, "the error", err.Error(), canary)
}

func TestReference_ReadsWhatItNames(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.WriteFile(filepath.Join(dir, "globus"), []byte(canary), 0o644); err != nil { // systemd sets its own modes
		t.Fatal(err)
	}
	t.Setenv(secretVariable, canary)
	for name, ref := range map[string]string{
		"variable":                  "env:" + secretVariable,
		"file":                      "file:" + secretFile(t, canary),
		"file with a line break":    "file:" + secretFile(t, canary+"\n"),
		"file with CR LF":           "file:" + secretFile(t, canary+"\r\n"),
		"systemd's credential":      "credential:globus",
		"systemd's file, by a path": "file:" + filepath.Join(dir, "globus"),
	} {
		secret, err := Reference(ref).Read()
		if err != nil || secret.Reveal() != canary {
			t.Errorf("%s: error %v, or not the value", name, err)
		}
	}
	if secret, err := Reference("file:" + secretFile(t, strings.Repeat("x", maxSecretBytes))).Read(); err != nil || len(secret.Reveal()) != maxSecretBytes {
		t.Errorf("64 KiB: %v, want the secret", err)
	}
	if secret, err := Reference("file:" + secretFile(t, " pass word ")).Read(); err != nil || secret.Reveal() != " pass word " {
		t.Errorf("spaces: %v, want the secret with its spaces", err)
	}
}

func TestReference_RefusesWithWhatToDo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	t.Setenv(secretVariable, canary+"\n"+canary)
	t.Setenv("BEARERD_TEST_BLANK", "\n")
	missing := filepath.Join(dir, "missing")
	for _, tt := range []struct {
		name string
		ref  string
		want string
	}{
		{"nothing", "", "missing; write env:NAME or file:PATH"},
		{"variable that is not set", "env:BEARERD_TEST_UNSET", "environment variable BEARERD_TEST_UNSET is not set; export it"},
		{"variable with only a line break", "env:BEARERD_TEST_BLANK", "is empty; write the secret into it"},
		{"variable with several lines", "env:" + secretVariable, "holds several lines; write the secret alone"},
		{"missing file", "file:" + missing, missing + " cannot be opened: no such file or directory; check the path"},
		{"empty file", "file:" + secretFile(t, ""), "is empty; write the secret into it"},
		{"file with only a line break", "file:" + secretFile(t, "\r\n"), "is empty; write the secret into it"},
		{"several lines", "file:" + secretFile(t, canary+"\n"+canary+"\n"), "holds several lines"},
		{"two line breaks", "file:" + secretFile(t, canary+"\n\n"), "holds several lines"},
		{"NUL", "file:" + secretFile(t, canary+"\x00"), "holds several lines"},
		{"too long", "file:" + secretFile(t, canary+strings.Repeat("x", maxSecretBytes)), "longer than 64 KiB; write the path of a file that holds only the secret"},
		{"directory", "file:" + dir, "is not a regular file; write the path of a file"},
		{"missing credential", "credential:globus", "cannot be opened: no such file or directory"},
		{"credential by a path", "credential:../globus", "is a path; write the name given to LoadCredential="},
		{"credential that climbs", "credential:..", "is not a regular file"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantRefusal(t, Reference(tt.ref), tt.want) })
	}
	t.Run("credential without systemd", func(t *testing.T) {
		t.Setenv("CREDENTIALS_DIRECTORY", "")
		wantRefusal(t, "credential:globus", "needs $CREDENTIALS_DIRECTORY, which systemd sets for LoadCredential=; write file:PATH elsewhere")
	})
}

func TestReference_ASecretInItsPlaceIsNotEchoed(t *testing.T) {
	for _, literal := range []string{canary, "env" + canary, "environment:" + canary, "ENV:" + canary, ":" + canary, canary + ":x", "https://u:" + canary + "@example.org"} {
		if IsReference(literal) {
			t.Fatal("a literal is taken for a reference")
		}
		wantRefusal(t, Reference(literal), "not a reference, and secrets are not kept in this file; write env:NAME, file:PATH or credential:NAME")
		wantNothingOf(t, "Check", fmt.Sprint(Reference(literal).Check()), canary)
	}
}

func TestIsReference(t *testing.T) {
	for text, want := range map[string]bool{
		"env:A": true, "file:a": true, "file:/a:b": true, "credential:a": true,
		"": false, "env": false, "env:": false, "file:": false, "Env:A": false, " env:A": false, "exec:id": false, ":a": false,
	} {
		if got := IsReference(text); got != want {
			t.Errorf("IsReference(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestReference_ReadHashes(t *testing.T) {
	const a, b = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90", "81B637D8FCD2C6DA6359E6963113A1170DE795E4B725B84D1E0B4CFD9EC58CE9"
	path := filepath.Join(t.TempDir(), "keys")
	for _, tt := range []struct {
		text string
		want int    // how many
		err  string // what the error says
	}{
		{a + "\n", 1, ""},
		{a + "  -\n" + b + " bob's\n\n# " + canary + "\n", 2, ""},
		{"", 0, "is empty"},
		{"\n# nothing\n", 0, "is empty"},
		{canary + "\n", 0, "line 1 is no SHA-256"},
		{a + "\n" + a[:62] + "\n", 0, "line 2 is no SHA-256"},
		{"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n", 0, "line 1 is the SHA-256 of no key at all"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Reference("file:" + path).ReadHashes()
		if len(got) != tt.want || (err == nil) != (tt.err == "") {
			t.Errorf("ReadHashes() of %q = %d sums, %v", tt.text, len(got), err)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), canary)) {
			t.Errorf("ReadHashes() of %q: %v, want %s and nothing of the line", tt.text, err, tt.err)
		}
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := Reference("file:" + path).ReadHashes(); err == nil {
		t.Error("a file that others can read was read")
	}
	if _, err := Reference(a).ReadHashes(); err == nil || strings.Contains(err.Error(), a) {
		t.Errorf("a sum in the configuration itself: %v", err)
	}
}
