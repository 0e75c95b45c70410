//go:build !unix

package daemon

import "os"

// reloadSignals: no reload here, restart instead. signal.Notify with none would mean
// every signal, so this is one that never arrives.
var reloadSignals = []os.Signal{os.Kill}

// outliveLog: nothing ends a process here because the reader of its log went away.
func outliveLog() {}
