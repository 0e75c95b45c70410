//go:build unix

package credentials

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// strangeGroup is a group that is not one of ours.
func strangeGroup() int {
	groups, _ := os.Getgroups()
	groups = append(groups, os.Getegid())
	for gid := 54321; ; gid++ {
		if !slices.Contains(groups, gid) {
			return gid
		}
	}
}

func TestReference_RefusesFilesThatOthersCanUse(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	for _, tt := range []struct {
		mode    fs.FileMode
		strange bool   // the group is not one of ours
		want    string // who can use it; "" if the file is fine
	}{
		{0o600, false, ""},
		{0o400, false, ""},
		{0o700, false, ""},
		{0o640, false, ""},
		{0o440, false, ""},
		{0o600, true, ""},
		{0o644, false, "others"},
		{0o604, false, "others"},
		{0o602, false, "others"},
		{0o601, false, "others"},
		{0o666, false, "others"},
		{0o660, false, "its group"},
		{0o620, false, "its group"},
		{0o610, false, "its group"},
		{0o650, false, "its group"},
		{0o640, true, "its group"},
		{0o440, true, "its group"},
	} {
		t.Run(fmt.Sprintf("%04o, strange group %v", tt.mode, tt.strange), func(t *testing.T) {
			path := secretFile(t, canary)
			if tt.strange {
				if err := os.Chown(path, -1, strangeGroup()); err != nil {
					t.Skip("only root may give a file to a group that is not its own")
				}
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if _, err := Reference("file:" + path).Read(); err != nil {
					t.Errorf("Read() = %v, want the secret", err)
				}
				return
			}
			wantRefusal(t, Reference("file:"+path), fmt.Sprintf("file %s has mode %04o, which %s can use; run: chmod 600 %s", path, tt.mode, tt.want, path))
		})
	}
}

func TestReference_JudgesTheFileBehindALink(t *testing.T) {
	path := secretFile(t, canary)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Reference("file:" + link).Read(); err != nil {
		t.Errorf("link to a good file: %v, want the secret", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, Reference("file:"+link), "has mode 0644")
}

func TestReference_OnlyFilesUnderSystemdsDirectoryMayHaveItsModes(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(dir, "credentials"))
	beside := filepath.Join(dir, "credentials-old")
	if err := os.WriteFile(beside, []byte(canary), 0o644); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, Reference("file:"+beside), "has mode 0644")
	wantRefusal(t, Reference("file:"+filepath.Join(dir, "credentials/../credentials-old")), "has mode 0644")
}

func TestReference_ANamedPipeDoesNotBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	done := make(chan error, 1)
	go func() { // ends when Read does
		_, err := Reference("file:" + path).Read()
		done <- err
	}()
	select {
	case <-done:
		wantRefusal(t, Reference("file:"+path), "is not a regular file; write the path of a file that holds only the secret")
	case <-time.After(10 * time.Second):
		t.Fatal("Read still waits for somebody to write into the pipe")
	}
}

func TestReference_RefusesDevices(t *testing.T) {
	wantRefusal(t, "file:/dev/null", "is not a regular file")
}
