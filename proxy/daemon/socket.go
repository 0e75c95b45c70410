package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"bearerd/proxy"
)

// errNoSocket is what stands in a socket's place and is left there.
var errNoSocket = errors.New("what is there is no socket")

// socket is a listener on a unix socket, which takes its file away at its end.
type socket struct {
	*net.UnixListener
	path   string
	file   fs.FileInfo
	remove sync.Once
}

// Addr has the path of the configuration, not the one that the socket was made at.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: s.path} }

// withdraw removes its file, if that is still its own: while the listener is open,
// no other file can have the same inode. Nobody new can connect then.
func (s *socket) withdraw() {
	s.remove.Do(func() {
		if there, err := os.Lstat(s.path); err == nil && os.SameFile(there, s.file) {
			_ = os.Remove(s.path) // what is left is found stale by the next
		}
	})
}

// Close ends the listener.
func (s *socket) Close() error {
	s.withdraw()
	return s.UnixListener.Close()
}

// errOpenDirectory is of a directory where others could put a socket of their own in
// the place of ours, and be told callers' keys.
var errOpenDirectory = errors.New("its directory can be written to by everybody")

// listenSocket opens a listener on a unix socket. The socket is made in a directory
// that only we can enter, and appears at its path when it has its mode and owner: at
// no time can others connect. It takes the place of a socket that nobody listens on,
// and of nothing else.
func listenSocket(l proxy.ListenerConfig) (net.Listener, error) {
	path, _ := l.SocketPath()
	uid, gid, err := lookUpOwner(l.Owner)
	if err != nil {
		return nil, err
	}
	if dir, err := os.Stat(filepath.Dir(path)); err == nil && dir.IsDir() && dir.Mode()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0 {
		return nil, errOpenDirectory
	}
	if err := checkPlace(path); err != nil { // before anything that may be forbidden
		return nil, socketCause(err)
	}
	workspace := filepath.Join(filepath.Dir(path), "."+strings.ToLower(rand.Text()[:6])) // as long as proxy.SocketWorkspace says
	if err := os.Mkdir(workspace, 0o700); err != nil {
		return nil, socketCause(err)
	}
	defer func() { _ = os.RemoveAll(workspace) }() // an empty one does no harm
	made := filepath.Join(workspace, "s")
	opened, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: made})
	if err != nil {
		return nil, socketCause(err)
	}
	opened.SetUnlinkOnClose(false) // Close does it
	s := &socket{UnixListener: opened, path: path}
	s.file, err = os.Lstat(made)
	if err == nil && (uid >= 0 || gid >= 0) {
		err = os.Lchown(made, uid, gid)
	}
	if err == nil {
		err = os.Chmod(made, fs.FileMode(l.SocketMode()))
	}
	if err == nil {
		err = place(made, path)
	}
	if err != nil {
		_ = opened.Close()
		return nil, socketCause(err)
	}
	return s, nil
}

// socketCause drops the paths of the making, which are none of the configuration's.
func socketCause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// place puts a socket at its path. Of several that try, one has it.
func place(made, path string) error {
	defer lockDirectory(filepath.Dir(path))()
	if err := checkPlace(path); err != nil {
		return err
	}
	return os.Rename(made, path)
}

// checkPlace returns an error if there is more at path than nothing or a stale socket.
func checkPlace(path string) error {
	switch there, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case there.Mode().Type() != fs.ModeSocket:
		return errNoSocket
	case !isStale(path):
		return syscall.EADDRINUSE
	}
	return nil
}

// isStale reports whether nobody listens on a socket. Any other answer than that
// is somebody's.
func isStale(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// lookUpOwner returns what user, user:group or :group means; -1 for what it leaves
// as it is.
func lookUpOwner(text string) (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, hasGroup := strings.Cut(text, ":")
	if strings.ContainsAny(text, " \t\n") || hasGroup && (group == "" || strings.Contains(group, ":")) {
		return -1, -1, fmt.Errorf("%q is no owner; write user, user:group or :group", text)
	}
	if name != "" {
		if uid, err = idOf(name, func() (string, error) {
			found, err := user.Lookup(name)
			if err != nil {
				return "", fmt.Errorf("no account %q on this machine; write a name or number of one", name)
			}
			return found.Uid, nil
		}); err != nil {
			return -1, -1, err
		}
	}
	if group != "" {
		gid, err = idOf(group, func() (string, error) {
			found, err := user.LookupGroup(group)
			if err != nil {
				return "", fmt.Errorf("no group %q on this machine; write a name or number of one", group)
			}
			return found.Gid, nil
		})
	}
	return uid, gid, err
}

// idOf returns a number as it is, and looks a name up.
func idOf(text string, lookUp func() (string, error)) (int, error) {
	if strings.Trim(text, "0123456789") != "" {
		var err error
		if text, err = lookUp(); err != nil {
			return -1, err
		}
	}
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return -1, fmt.Errorf("%q is no number of an account or a group; write one below 2147483648, or a name", text)
	}
	return int(id), nil
}
