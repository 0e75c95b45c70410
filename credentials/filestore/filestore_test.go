package filestore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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
	if _, err := s.Get(t.Context(), key); err == nil || errors.Is(err, credentials.ErrMiss) {
		t.Errorf("a file that others can read: %v, want an error", err)
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
	if _, err := s.Get(t.Context(), key); err == nil || errors.Is(err, credentials.ErrMiss) {
		t.Errorf("a symbolic link: %v, want an error", err)
	}
}

func TestStore_AFullDiskIsAnErrorAndLeavesTheOldToken(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("as root, a directory without write permission is no obstacle; one that is gone is")
	}
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
