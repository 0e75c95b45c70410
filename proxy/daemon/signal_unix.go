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
// The signal is taken rather than ignored, which would be handed on to a child.
func outliveLog() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// childSignals are what somebody sends to a command, and here to what runs it.
var childSignals = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
}

// keyboardSignals come from a terminal, which sends them to the child too.
var keyboardSignals = []os.Signal{syscall.SIGINT, syscall.SIGQUIT}

// exitCode is a shell's for a command that ended: its own, or 128 and the signal
// that killed it.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
