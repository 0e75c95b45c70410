package filestore

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bearerd/credentials"
	"bearerd/credentials/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore_IsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) credentials.Store { return open(t) })
}

func TestOpen_RefusesADirectoryThatOthersCanWriteTo(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
		t.Errorf("Open() = %v, want what to run", err)
	}
	if _, err := Open("/dev/null"); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestOpen_RemovesWhatAWriteThatWasCutOffLeft(t *testing.T) {
	s := open(t)
	old, young := filepath.Join(s.dir, ".new-1"), filepath.Join(s.dir, ".new-2")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * newMaxAge)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Error("what an hour ago was cut off is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("a write under way was disturbed")
	}
}

func TestStore_FilesAreForTheOwnerAlone(t *testing.T) {
	s, key := open(t), storetest.Key()
	if err := s.Put(t.Context(), key, storetest.Token(t, "first", time.Hour)); err != nil {
		t.Fatal(err)
	}
	path := s.path(key, tokenSuffix)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, credentials.ErrMiss) || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that others can read: %v, want none, and why", err)
	}
	if err := s.Put(t.Context(), key, storetest.Token(t, "second", time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), key); err != nil || got.Reveal() != "second" {
		t.Errorf("once replaced: %v", err)
	}
}

func TestStore_BelievesNothingThatWasChanged(t *testing.T) {
	s, key := open(t), storetest.Key()
	if err := s.Put(t.Context(), key, storetest.Token(t, "first", time.Hour)); err != nil {
		t.Fatal(err)
	}
	path := s.path(key, tokenSuffix)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "half": string(good[:len(good)/2]), "no JSON": "first", "null": "null",
		"another's key":   strings.Replace(string(good), key.ID()[:8], "00000000", 1),
		"another version": strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		"a line break":    strings.Replace(string(good), `"first"`, `"first\r\nX-Smuggled: 1"`, 1),
		"another server":  strings.Replace(string(good), "api.example.org", "api.example.net", 1),
		"no end":          strings.Replace(string(good), `"expires":`, `"expires":9`, 1),
		"long":            string(good) + strings.Repeat(" ", maxBytes),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), key); !errors.Is(err, credentials.ErrMiss) {
			t.Errorf("%s: %v, want ErrMiss", name, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, credentials.ErrMiss) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a symbolic link: %v, want none, and why", err)
	}
}

const fullDir = "BEARERD_FILESTORE_FULL" // set in a process that may write no file

// TestStore_FullDisk is that process.
func TestStore_FullDisk(t *testing.T) {
	dir := os.Getenv(fullDir)
	if dir == "" {
		return // it is nothing by itself
	}
	signal.Ignore(syscall.SIGXFSZ) // so that a write fails, as on a full disk
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), storetest.Key(), storetest.Token(t, "second", time.Hour)); err == nil {
		t.Error("Put() = nil where nothing can be written")
	}
}

func TestStore_AFullDiskIsAnErrorAndLeavesTheOldToken(t *testing.T) {
	s, first := open(t), storetest.Token(t, "first", time.Hour)
	if err := s.Put(t.Context(), storetest.Key(), first); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("sh", "-c", `ulimit -f 0 && exec "$0" -test.v -test.run '^TestStore_FullDisk$' -test.count 1`, os.Args[0])
	command.Env = append(os.Environ(), fullDir+"="+s.dir)
	if out, err := command.CombinedOutput(); !strings.Contains(string(out), "--- PASS: TestStore_FullDisk") {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := s.Get(t.Context(), storetest.Key()); err != nil || !got.Same(first) {
		t.Errorf("afterwards the store has %v, %v; want the old token", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, newPattern)); len(left) > 0 {
		t.Errorf("a half file is left: %v", left)
	}
}

func TestStore_ADirectoryThatIsGoneIsAnError(t *testing.T) {
	s, key := open(t), storetest.Key()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), key, storetest.Token(t, "first", time.Hour)); err == nil {
		t.Error("Put() = nil without a directory")
	}
	if _, err := s.Lease(t.Context(), key); err == nil {
		t.Error("Lease() = nil without a directory")
	}
}

// Somebody who may write into the directory before it was bearerd's could have left
// anything in a lock's place.
func TestStore_ALockIsNoOtherFile(t *testing.T) {
	s, key := open(t), storetest.Key()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Symlink(elsewhere, s.path(key, lockSuffix)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lease(t.Context(), key); err == nil {
		t.Error("a symbolic link was taken for a lock")
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Error("what the link names was made")
	}
}

// Root checks the configuration of a service that has a user of its own.
func TestCheck_LeavesToBearerdsUserWhatOnlyThatCanTell(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 1234, -1); err != nil {
		t.Skip("only root may give a directory away")
	}
	if err := Check(dir); err != nil {
		t.Errorf("Check() = %v", err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("Open() took another user's directory")
	}
}

func TestCheck_SaysWhatOpenWouldAndMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := Check(dir); err != nil {
		t.Errorf("a directory that can be made: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Error("it was made")
	}
	for _, wrong := range []string{"/dev/null", "/dev/null/tokens"} {
		if Check(wrong) == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}
