//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package daemon

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lockPatience is how long others may hold the lock of a directory, who are done
// in a moment. After that it is somebody's who only wants us to wait.
const lockPatience = 2 * time.Second

// lockDirectory keeps other bearerds from doing the same in a directory, until
// unlock is called or the process ends. Without the lock there is no harm but that
// of two that start at the same time both may think to have a path.
func lockDirectory(dir string) (unlock func()) {
	file, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	for end := time.Now().Add(lockPatience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
	}
	return func() { _ = file.Close() } // and with it the lock
}
