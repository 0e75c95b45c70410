package audit

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bearerd/policy"
)

// TestLog_OutlivesAFullDisk has a real one, of 64 KiB.
func TestLog_OutlivesAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("audit", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "size=64k,mode=700"); err != nil {
		t.Skipf("no file system can be mounted here (%v); TestLog_ALineInPartIsEndedBeforeTheNext has a made-up disk", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "audit.jsonl")
	l, err := Open(policy.AuditConfig{File: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	good, bad := 0, 0
	write := func(n int, lines int) {
		for range lines {
			if err := l.Write(Event{Kind: Denied, RequestID: strings.Repeat("x", n)}); err == nil {
				good++
			} else if bad++; !strings.Contains(err.Error(), "no space left on device") {
				t.Fatal(err)
			}
		}
	}
	write(701, 200) // more than there is room for
	full := bad
	if full == 0 || l.Failed() != int64(full) {
		t.Fatalf("%d failed of %d, Failed() = %d", full, good+bad, l.Failed())
	}
	if err := os.Rename(path, filepath.Join(dir, "audit.jsonl.1")); err != nil {
		t.Fatal(err)
	}
	write(701, 1) // into a new file, for which there is no room either
	lines, broken := parsed(t, filepath.Join(dir, "audit.jsonl.1"))
	if len(lines) != good || broken > 1 {
		t.Errorf("%d lines and %d broken ones, want %d", len(lines), broken, good)
	}
	if err := os.Remove(filepath.Join(dir, "audit.jsonl.1")); err != nil {
		t.Fatal(err)
	}
	before := good
	write(701, 10)
	if lines, broken := parsed(t, path); good-before != 10 || len(lines) != 10 || broken > 1 {
		t.Errorf("with room again: %d written, %d lines, %d broken", good-before, len(lines), broken)
	}
	t.Logf("audit: disk full: %d lines written, %d told as errors, %d broken lines; with room again 10 of 10", before, bad, broken)
}
