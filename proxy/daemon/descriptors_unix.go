//go:build unix

package daemon

import (
	"math"
	"syscall"
)

// maxDescriptors returns how many the process may have open. Go has raised that to
// the most it is allowed to be.
func maxDescriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt // nothing is known of a limit
	}
	return int(min(limit.Cur, math.MaxInt32))
}
