//go:build unix

package daemon

import (
	"os"
	"os/signal"
	"syscall"
)

var reloadSignals = []os.Signal{syscall.SIGHUP}

// outliveLog keeps bearerd running when the reader of its log goes away, as in
// `bearerd run 2>&1 | head`: Go would end the process on such a write.
func outliveLog() { signal.Ignore(syscall.SIGPIPE) }
