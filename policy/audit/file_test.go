//go:build unix

package audit

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bearerd/policy"
)

func TestOpen_RefusesWhatIsNoFileOfOurOwn(t *testing.T) {
	make := func(mode os.FileMode) func(string) error {
		return func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Chmod(path, mode) // whatever the umask
		}
	}
	for _, tt := range []struct {
		name string
		make func(path string) error
		want string // "" for what is taken
	}{
		{"none yet", func(string) error { return nil }, ""},
		{"a file of ours", make(0o600), ""},
		{"one that others read", make(0o644), ""},
		{"one that others write", make(0o602), "has mode 0602, so that others can change it; run: chmod 600 "},
		{"one that its group writes", make(0o660), "has mode 0660"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "is not a regular file"},
		{"a named pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "is not a regular file"},
		{"a link to a file", func(path string) error {
			return errors.Join(os.WriteFile(path+".real", nil, 0o600), os.Symlink(path+".real", path))
		}, "is a symbolic link"},
		{"a link to nothing", func(path string) error { return os.Symlink(path+".none", path) }, "is a symbolic link"},
		{"a link to a device", func(path string) error { return os.Symlink("/dev/full", path) }, "is a symbolic link"},
		{"a socket", func(path string) error {
			listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err == nil {
				listener.SetUnlinkOnClose(false)
				err = listener.Close()
			}
			return err
		}, "is not a regular file"},
		{"somebody else's", func(path string) error {
			if os.Getuid() != 0 {
				return os.Mkdir(path, 0o700) // which is refused as well
			}
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 65534, -1))
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a")
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if tt.name == "somebody else's" {
				want = "belongs to uid 65534, who can change it; run: chown 0 "
				if os.Getuid() != 0 {
					want = "is not a regular file"
				}
			}
			_, before := os.Lstat(path)
			checked := Check(path)
			if _, after := os.Lstat(path); (before == nil) != (after == nil) {
				t.Error("Check has made the file")
			}
			l, err := Open(policy.AuditConfig{File: path})
			if l != nil {
				_ = l.Close()
			}
			for name, got := range map[string]error{"Check": checked, "Open": err} {
				if want == "" && got != nil || want != "" && (got == nil || !strings.Contains(got.Error(), want)) {
					t.Errorf("%s() = %v, want %q", name, got, want)
				}
			}
		})
	}
}

func TestCheck_SaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, want string }{
		{"no path", "", "write policy.audit.file"},
		{"no directory", filepath.Join(dir, "none", "a"), "make its directory"},
		{"a file for a directory", filepath.Join(dir, "file", "a"), "check the path"},
		{"a device", "/dev/null", "is not a regular file"},
		{"a full device", "/dev/full", "is not a regular file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := Check(tt.path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check() = %v, want %q", err, tt.want)
			}
			if l, err := Open(policy.AuditConfig{File: tt.path}); err == nil || l != nil {
				t.Error("Open succeeds")
			}
		})
	}
}
