package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"bearerd/proxy"
	"bearerd/test/harness"
)

// socketAt is a listener on a unix socket.
func socketAt(path string) proxy.ListenerConfig { return proxy.ListenerConfig{Address: "unix:" + path} }

func openSocket(t *testing.T, l proxy.ListenerConfig) net.Listener {
	t.Helper()
	opened, err := listenSocket(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// connects reports whether somebody listens at a path.
func connects(path string) bool {
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// onlyIn fails if a directory holds other names.
func onlyIn(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the directory holds %v (%v), want %v", got, err, want)
	}
}

func TestSocket_HasItsModeAndGoesAtTheEnd(t *testing.T) {
	for mode, want := range map[string]fs.FileMode{"": 0o600, "0660": 0o660, "666": 0o666} {
		dir := t.TempDir()
		path := filepath.Join(dir, "s")
		l := socketAt(path)
		l.Mode = mode
		opened := openSocket(t, l)
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != fs.ModeSocket|want {
			t.Errorf("mode %q: %v (%v), want %v", mode, info, err, want)
		}
		onlyIn(t, dir, "s")
		if addressOf(opened) != "unix:"+path || !connects(path) {
			t.Errorf("listens at %s", addressOf(opened))
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
		onlyIn(t, dir)
	}
}

func TestSocket_IsGivenToItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		harness.Missing(t, "only root can give files away")
	}
	for owner, want := range map[string][2]uint32{"4711:4712": {4711, 4712}, "4711": {4711, 0}, ":4712": {0, 4712}, "root:root": {0, 0}} {
		path := filepath.Join(t.TempDir(), "s")
		l := socketAt(path)
		l.Owner = owner
		openSocket(t, l)
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if got := [2]uint32{stat.Uid, stat.Gid}; got != want {
			t.Errorf("owner %q: is %v, want %v", owner, got, want)
		}
	}
}

func TestSocket_InUseIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	openSocket(t, socketAt(path))
	_, err := listenSocket(socketAt(path))
	if !errors.Is(err, syscall.EADDRINUSE) || !connects(path) {
		t.Errorf("%v, and the first listens: %v", err, connects(path))
	}
	onlyIn(t, dir, "s")
	text := (&AddressError{"proxy.listeners[0].address", "unix:" + path, err}).Error()
	if want := "proxy.listeners[0].address: unix:" + path + " is in use by another program; write another path there"; text != want {
		t.Errorf("says %q, want %q", text, want)
	}
}

func TestSocket_StaleIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	if err := staleSocket(path); err != nil {
		t.Fatal(err)
	}
	openSocket(t, socketAt(path))
	if !connects(path) {
		t.Error("nobody listens there")
	}
	onlyIn(t, dir, "s")
}

func TestSocket_ReplacesNothingElse(t *testing.T) {
	dir := t.TempDir()
	file, sub, link, dangling := filepath.Join(dir, "file"), filepath.Join(dir, "sub"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Mkdir(sub, 0o700), os.Symlink(file, link), os.Symlink("/nowhere/at/all", dangling)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, sub, link, dangling} {
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := listenSocket(socketAt(path)); !errors.Is(err, errNoSocket) {
			t.Errorf("%s: %v", path, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s is another (%v)", path, err)
		}
	}
	onlyIn(t, dir, "dangling", "file", "link", "sub")
}

// TestSocket_OfASuccessorIsNotRemoved: somebody deleted ours and another bearerd has
// the path.
func TestSocket_IsNotPutWhereOthersCouldReplaceIt(t *testing.T) {
	dir := t.TempDir()
	for mode, refused := range map[fs.FileMode]bool{0o777: true, 0o777 | fs.ModeSticky: false, 0o755: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		l, err := listenSocket(socketAt(filepath.Join(dir, "s")))
		if err == nil {
			_ = l.Close()
		}
		if (err != nil) != refused {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func TestSocket_OfASuccessorIsNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := openSocket(t, socketAt(path))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	openSocket(t, socketAt(path))
	for range 2 { // servers close their listeners more than once
		_ = first.Close()
		if !connects(path) {
			t.Fatal("the first took the second's away")
		}
	}
}

// TestSocket_OneOfManyThatStartHasIt with a stale one there, which all of them see.
func TestSocket_OneOfManyThatStartHasIt(t *testing.T) {
	const rounds, starters = 20, 8
	for range rounds {
		dir := t.TempDir()
		path := filepath.Join(dir, "s")
		if err := staleSocket(path); err != nil {
			t.Fatal(err)
		}
		var having atomic.Int32
		var starting sync.WaitGroup
		opened := make([]net.Listener, starters)
		for i := range starters {
			starting.Go(func() {
				var err error
				if opened[i], err = listenSocket(socketAt(path)); err == nil {
					having.Add(1)
				} else if !errors.Is(err, syscall.EADDRINUSE) {
					t.Error(err)
				}
			})
		}
		starting.Wait()
		if having.Load() != 1 || !connects(path) {
			t.Fatalf("%d have it, and one answers there: %v", having.Load(), connects(path))
		}
		onlyIn(t, dir, "s")
		for _, l := range opened {
			if l != nil {
				_ = l.Close()
			}
		}
	}
}

// staleSocket makes a socket that nobody listens on, as a killed process leaves it.
func staleSocket(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

// TestSocket_OthersNeverConnect: while it is opened again and again for its owner
// alone, another user tries all the time.
func TestSocket_OthersNeverConnect(t *testing.T) {
	if os.Geteuid() != 0 {
		harness.Missing(t, "only root can be another user")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	if err := errors.Join(os.Chmod(dir, 0o777|fs.ModeSticky), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var tried, got atomic.Int64
	var trying sync.WaitGroup
	trying.Go(func() {
		asNobody(t, func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				tried.Add(1)
				names, _ := filepath.Glob(filepath.Join(dir, ".*", "s"))
				for _, name := range append(names, path) {
					if connects(name) {
						got.Add(1)
					}
				}
			}
		})
	})
	old := syscall.Umask(0) // the worst of them
	for range 300 {
		_ = openSocket(t, socketAt(path)).Close()
	}
	syscall.Umask(old)
	close(done)
	trying.Wait()
	t.Logf("unix socket, opened 300 times: another user connected %d times of %d tries", got.Load(), tried.Load())
	if got.Load() != 0 || tried.Load() == 0 {
		t.Errorf("another user connected %d times of %d tries", got.Load(), tried.Load())
	}
}

func TestSocket_ErrorsSayWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		path, says string
	}{
		{filepath.Join(t.TempDir(), "missing", "s"), "no such file or directory; make the directory it is to be in, or write another path there"},
		{"/dev/null", "what is there is no socket; move it away, or write another path there"},
		{"/dev/null/s", "not a directory; write another path there"},
	} {
		_, err := listenSocket(socketAt(tt.path))
		text := (&AddressError{"proxy.listeners[0].address", "unix:" + tt.path, err}).Error()
		if want := "proxy.listeners[0].address: cannot listen on unix:" + tt.path + ": " + tt.says; text != want {
			t.Errorf("says %q, want %q", text, want)
		}
	}
	denied := (&AddressError{"proxy.listeners[0].address", "unix:/s", syscall.EPERM}).Error()
	if !strings.HasSuffix(denied, "only root may give it to another owner, and bearerd's user must be able to write its directory") {
		t.Errorf("says %q", denied)
	}
}

func TestLookUpOwner_ReadsNamesAndNumbers(t *testing.T) {
	for _, tt := range []struct {
		text     string
		uid, gid int
		says     string
	}{
		{"", -1, -1, ""},
		{"root", 0, -1, ""},
		{"0:0", 0, 0, ""},
		{":7", -1, 7, ""},
		{"4711:root", 4711, 0, ""},
		{"no-such-account", -1, -1, `no account "no-such-account" on this machine; write a name or number of one`},
		{":no-such-group", -1, -1, `no group "no-such-group" on this machine; write a name or number of one`},
		{"root:", -1, -1, `"root:" is no owner; write user, user:group or :group`},
		{":", -1, -1, `":" is no owner; write user, user:group or :group`},
		{"a:b:c", -1, -1, `"a:b:c" is no owner; write user, user:group or :group`},
		{"4294967295", -1, -1, `"4294967295" is no number of an account or a group; write one below 2147483648, or a name`},
	} {
		uid, gid, err := lookUpOwner(tt.text)
		if says := errorText(err); uid != tt.uid || gid != tt.gid || says != tt.says {
			t.Errorf("%q: %d, %d, %q; want %d, %d, %q", tt.text, uid, gid, says, tt.uid, tt.gid, tt.says)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
