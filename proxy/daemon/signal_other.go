//go:build !unix

package daemon

import "os"

// reloadSignals: no reload here, restart instead. signal.Notify with none would mean
// every signal, so this is one that never arrives.
var reloadSignals = []os.Signal{os.Kill}

// outliveLog: nothing ends a process here because the reader of its log went away.
func outliveLog() {}

// childSignals are what somebody sends to a command, and here to what runs it.
var childSignals = []os.Signal{os.Interrupt}

// keyboardSignals come from a terminal, which sends them to the child too.
var keyboardSignals = []os.Signal{os.Interrupt}

// exitCode is the child's own.
func exitCode(state *os.ProcessState) int { return state.ExitCode() }
