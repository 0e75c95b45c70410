//go:build unix

package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// No link is followed: where others can make one, they would choose what is
// appended to. A named pipe must not hold anybody up.
const openFlags = os.O_WRONLY | os.O_APPEND | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// Check returns what Open would find wrong with a path, and makes no file.
func Check(path string) error {
	file, err := openWith(path, openFlags)
	if err == nil {
		return file.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	info, statErr := os.Stat(dir)
	const writeAndSearch = 0o3
	switch {
	case statErr != nil || !info.IsDir():
		return err
	case syscall.Access(dir, writeAndSearch) != nil:
		return fmt.Errorf("the audit file %s cannot be made: bearerd's user may not write to its directory; make the file, or let it", path)
	}
	return nil
}

func openFile(path string) (sink, error) {
	file, err := openWith(path, openFlags|os.O_CREATE)
	if err != nil {
		return nil, err // a nil *os.File would be no nil sink
	}
	return file, nil
}

func openWith(path string, flags int) (*os.File, error) {
	file, err := os.OpenFile(path, flags, 0o600)
	switch {
	case path == "":
		return nil, errors.New("the audit file has no name; write policy.audit.file")
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("the audit file %s is a symbolic link; write the path of the file itself", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the audit file %s cannot be made: %w; make its directory", path, pathCause(err))
	case errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.EISDIR):
		return nil, errNotRegular(path)
	case err != nil:
		return nil, fmt.Errorf("the audit file %s cannot be opened: %w; check the path and that bearerd's user may write it", path, pathCause(err))
	}
	if err := checkFile(path, file); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// checkFile looks at the file that was opened, and not at what the path names now.
func checkFile(path string, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("the audit file %s: %w", path, pathCause(err))
	}
	if !info.Mode().IsRegular() {
		return errNotRegular(path)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("the audit file %s has mode %04o, so that others can change it; run: chmod 600 %s", path, mode, path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("the audit file %s belongs to uid %d, who can change it; run: chown %d %s", path, stat.Uid, os.Geteuid(), path)
	}
	return nil
}

func errNotRegular(path string) error {
	return fmt.Errorf("the audit file %s is not a regular file; write the path of one, or of none yet", path)
}

// movedFile reports whether the path names something else than the file.
func movedFile(path string, ours sink) bool {
	now, err := os.Lstat(path)
	if err != nil {
		return true
	}
	info, err := ours.Stat()
	return err != nil || !os.SameFile(now, info)
}

// endsWithin reports whether a file ends within a line, as one does whose disk was
// full. If it cannot be read, nothing is known, and nothing added.
func endsWithin(path string, ours sink) bool {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	for range 10 { // while another process is writing, its line is not to be broken off
		before, err := file.Stat()
		if err != nil || before.Size() == 0 {
			return false
		}
		if info, err := ours.Stat(); err != nil || !os.SameFile(info, before) {
			return false
		}
		var last [1]byte
		if _, err := file.ReadAt(last[:], before.Size()-1); err != nil {
			return false
		}
		after, err := file.Stat()
		if err != nil || last[0] == '\n' {
			return false
		}
		if after.Size() == before.Size() {
			return true
		}
	}
	return false
}
