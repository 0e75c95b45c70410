// Package filestore keeps tokens in a directory, a file of mode 0600 for each, so
// that they outlive the process and the processes of one machine share them.
// Whoever reads the files can act as the application until the tokens end.
package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"bearerd/credentials"
)

const (
	tokenSuffix = ".token"
	lockSuffix  = ".lock"
	newPattern  = ".new-*" // of files not yet in place
	newMaxAge   = time.Hour
	leaseRetry  = 25 * time.Millisecond
	maxBytes    = 64 << 10
)

// Store is a credentials.Store in a directory.
type Store struct{ dir string }

var _ credentials.Store = (*Store)(nil)

// Open returns the store in dir, which is made if need be, for its owner alone. A
// directory that others can write to is refused: they could put their token in
// the place of ours. What writes that were cut off left behind is removed.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%s cannot be made: %w; name a directory that bearerd's user may write to", dir, cause(err))
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, cause(err))
	}
	if err := checkDir(dir, info); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir, newPattern))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > newMaxAge {
			_ = os.Remove(name)
		}
	}
	return &Store{dir}, nil
}

// Check returns what Open would find wrong with dir, and makes nothing. What only
// bearerd's own user can tell is left out where another asks.
func Check(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil
	case err == nil && info.IsDir() && !isOurs(info):
		return nil
	case err == nil:
		if err := checkDir(dir, info); err != nil {
			return err
		}
		if err := syscall.Access(dir, mayWrite); err != nil {
			return fmt.Errorf("%s cannot be written to: %w; name a directory that bearerd's user may write to", dir, err)
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s cannot be used: %w; name a directory that bearerd's user may write to", dir, cause(err))
	}
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		info, err := os.Stat(above)
		switch {
		case errors.Is(err, fs.ErrNotExist) && above != filepath.Dir(above):
			continue
		case errors.Is(err, fs.ErrPermission), err == nil && info.IsDir() && !isOurs(info):
			return nil
		}
		if err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
		if err == nil {
			err = syscall.Access(above, mayWrite)
		}
		if err != nil {
			return fmt.Errorf("%s cannot be made: %s: %w; name a directory that bearerd's user may write to", dir, above, cause(err))
		}
		return nil
	}
}

// mayWrite is access(2)'s W_OK.
const mayWrite = 2

func checkDir(dir string, info fs.FileInfo) error {
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no directory; name one that holds only bearerd's tokens", dir)
	case !isOurs(info):
		return fmt.Errorf("%s belongs to another user, who could put tokens there; name a directory of bearerd's user", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s has mode %04o, so that others can write to it; run: chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	return nil
}

// isOurs reports whether nobody but root and bearerd's user owns it.
func isOurs(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && (owner.Uid == 0 || int(owner.Uid) == os.Geteuid())
}

func (s *Store) path(key credentials.Key, suffix string) string {
	return filepath.Join(s.dir, key.ID()+suffix)
}

// Get is credentials.Store's. A file that others can read, or that is no regular
// file, is none, and the error says so.
func (s *Store) Get(_ context.Context, key credentials.Key) (credentials.Token, error) {
	path := s.path(key, tokenSuffix)
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return credentials.Token{}, credentials.ErrMiss
	}
	if errors.Is(err, syscall.ELOOP) {
		return credentials.Token{}, fmt.Errorf("%s is a symbolic link; it will be replaced: %w", path, credentials.ErrMiss)
	}
	if err != nil {
		return credentials.Token{}, fmt.Errorf("%s cannot be opened: %w; remove it", path, cause(err))
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return credentials.Token{}, fmt.Errorf("%s: %w", path, cause(err))
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || !ok || int(owner.Uid) != os.Geteuid() {
		return credentials.Token{}, fmt.Errorf("%s has mode %v and is not for bearerd's user alone; it will be replaced: %w", path, info.Mode(), credentials.ErrMiss)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return credentials.Token{}, fmt.Errorf("reading %s: %w", path, cause(err))
	}
	return credentials.DecodeToken(key, data, time.Now())
}

// Put is credentials.Store's: the file is written beside its place, brought to the
// disk, and then put there at once.
func (s *Store) Put(_ context.Context, key credentials.Key, tok credentials.Token) error {
	data, err := credentials.EncodeToken(key, tok)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(s.dir, newPattern) // of mode 0600
	if err != nil {
		return fmt.Errorf("a file in %s cannot be made: %w", s.dir, cause(err))
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), s.path(key, tokenSuffix))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("a token cannot be written to %s: %w", s.dir, cause(err))
	}
	return nil
}

// Delete is credentials.Store's. Between its look and its removal another process
// may put a newer token there, which is then asked for again.
func (s *Store) Delete(ctx context.Context, key credentials.Key, tok credentials.Token) error {
	kept, err := s.Get(ctx, key)
	if errors.Is(err, credentials.ErrMiss) || err == nil && !kept.Same(tok) {
		return nil
	}
	if err := os.Remove(s.path(key, tokenSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a token cannot be removed from %s: %w", s.dir, cause(err))
	}
	return nil
}

// Lease is credentials.Store's: a lock on a file beside the token's, which ends
// with the process that holds it.
func (s *Store) Lease(ctx context.Context, key credentials.Key) (func(), error) {
	lock := flock.New(s.path(key, lockSuffix), flock.SetPermissions(0o600), flock.SetFlag(os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK))
	if locked, err := lock.TryLockContext(ctx, leaseRetry); err != nil || !locked {
		_ = lock.Close()
		return nil, fmt.Errorf("waiting for another process's token request: %w", err)
	}
	return sync.OnceFunc(func() { _ = lock.Close() }), nil
}

// cause drops the operation and path that the caller names, and with them a
// temporary name that says nothing.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	var linkErr *os.LinkError
	if errors.As(err, &linkErr) {
		return linkErr.Err
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}
