//go:build !unix

package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Check returns what Open would find wrong with a path, and makes no file.
func Check(path string) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("the audit file %s is not a regular file; write the path of one, or of none yet", path)
	}
	if info, err := os.Stat(filepath.Dir(path)); path == "" || err != nil || !info.IsDir() {
		return fmt.Errorf("the audit file %s cannot be made; make its directory", path)
	}
	return nil
}

func openFile(path string) (sink, error) {
	if err := Check(path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the audit file %s cannot be opened: %w; check the path and that bearerd's user may write it", path, pathCause(err))
	}
	return file, nil
}

// movedFile reports whether the path names something else than the file.
func movedFile(path string, ours sink) bool {
	now, err := os.Lstat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrPermission)
	}
	info, err := ours.Stat()
	return err != nil || !os.SameFile(now, info)
}

// endsWithin is not known here.
func endsWithin(string, sink) bool { return false }
