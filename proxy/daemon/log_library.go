package daemon

import (
	"net/netip"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const libraryEvery = time.Second // one line of a kind

// libraryLine is what is logged of something that net/http prints.
type libraryLine struct {
	begins  string // what net/http prints begins so
	message string // and is logged so
	bug     bool   // it is bearerd's own fault
	failed  bool   // one of libraryReasons is in what follows

	reason string     // of libraryReasons; "" if there is none for it
	peer   netip.Addr // who it is about; invalid if that is not said
	at     string     // the function that printed it, or the FILE:LINE that panicked; "" if message says enough
	more   int        // how often it was held back
}

// libraryLines are what net/http is known to print. What it prints behind that is
// never logged: it may quote the bytes of a caller or of an upstream, which may
// echo a token, or be a panic's value.
var libraryLines = []libraryLine{
	{begins: "http: panic serving ", message: "a handler panicked; this is a bug", bug: true},
	{begins: "http2: panic serving ", message: "a handler panicked; this is a bug", bug: true},
	{begins: tlsHandshake, message: "a TLS handshake failed", failed: true},
	{begins: "http: Accept error: ", message: "a connection could not be accepted", failed: true},
	{begins: "Unsolicited response received on idle HTTP channel ", message: unsolicited},
	{begins: "http2: Transport received unsolicited DATA frame", message: unsolicited},
	{begins: "protocol error: ", message: "an upstream or token endpoint broke the rules of HTTP/2"},
	{begins: "http2: server", message: brokeRules},
	{begins: "http2: received GOAWAY", message: brokeRules},
	{begins: "timeout waiting for SETTINGS frames from ", message: brokeRules},
}

const (
	tlsHandshake = "http: TLS handshake error from "
	unsolicited  = "an upstream or token endpoint sent an answer that nobody asked for; its connection was closed"
	brokeRules   = "a caller broke the rules of HTTP/2"
	hungUp       = "it hung up"
)

// libraryReasons are why a handshake or accept failed, by a part of what is printed.
// The first that is found counts. A peer may choose which one, and nothing else.
var libraryReasons = []struct{ part, reason string }{
	{": client sent an HTTP request to an HTTPS server", "it spoke plain HTTP; write https:// in its URL"},
	{": remote error: tls: ", "it refused, such as for a certificate that it does not trust"},
	{": tls: client didn't provide a certificate", "it has no certificate, and client_ca wants one"},
	{": tls: failed to verify certificate: ", "its certificate is none of client_ca's"},
	{": tls: client offered only unsupported versions: ", "it speaks no TLS that is new enough"},
	{": tls: first record does not look like a TLS handshake", "it spoke no TLS"},
	{": too many open files", "too many open files; raise the limit (ulimit -n, or LimitNOFILE=)"},
	{": i/o timeout", "it took too long"},
	{": EOF", hungUp},
}

// libraryLog takes what Go's library prints to the global logger, a message each
// Write, and logs in words of bearerd's own what it was: one line of a kind in
// libraryEvery, and then how many more there were.
type libraryLog struct {
	log *logger

	mu     sync.Mutex              // guards the field below
	recent map[string]*libraryLine // by kind: the last one within libraryEvery
}

func newLibraryLog(log *logger) *libraryLog {
	return &libraryLog{log: log, recent: map[string]*libraryLine{}}
}

// Write never fails.
func (l *libraryLog) Write(printed []byte) (int, error) {
	line := readLibraryLine(string(printed))
	kind := line.message + line.reason + line.at // each of a few
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, isRecent := l.recent[kind]; isRecent {
		line.more = before.more + 1
	} else {
		l.write(line)
		l.again(kind)
	}
	l.recent[kind] = &line
	return len(printed), nil
}

// again has the lines of a kind written that come within libraryEvery, as one.
func (l *libraryLog) again(kind string) {
	time.AfterFunc(libraryEvery, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		line := l.recent[kind]
		if line.more == 0 {
			delete(l.recent, kind)
			return
		}
		l.write(*line)
		line.more = 0
		l.again(kind)
	})
}

func (l *libraryLog) write(line libraryLine) {
	event := l.log.Warn()
	switch {
	case line.bug:
		event = l.log.Error()
	case line.reason == hungUp: // as a probe of the port does
		event = l.log.Debug()
	}
	if line.peer.IsValid() {
		event.Str("peer", line.peer.String())
	}
	if line.reason != "" {
		event.Str("reason", line.reason)
	}
	if line.at != "" {
		event.Str("at", line.at)
	}
	if line.more > 0 {
		event.Int("times", line.more)
	}
	event.Msg(line.message)
}

// readLibraryLine makes of what was printed what may be logged of it.
func readLibraryLine(printed string) libraryLine {
	function, panicked := printers()
	for _, line := range libraryLines {
		rest, is := strings.CutPrefix(printed, line.begins)
		if !is {
			continue
		}
		if line.bug {
			line.at = panicked
		}
		for _, known := range libraryReasons {
			if line.failed && strings.Contains(rest, known.part) {
				line.reason = known.reason
				break
			}
		}
		if line.begins == tlsHandshake {
			address, _, _ := strings.Cut(rest, ": ")
			at, _ := netip.ParseAddrPort(address) // a unix socket's peer has none
			line.peer = at.Addr().Unmap().WithZone("")
		}
		return line
	}
	return libraryLine{message: "Go's HTTP library complains of something that bearerd has no words for", at: function}
}

// printers returns which function has called the global logger, and where the
// panic began that it tells of: as package.function, and FILE:LINE.
func printers() (function, panicked string) {
	var counters [64]uintptr
	// Not of interest are Callers, this function, its caller, and Write.
	frames := runtime.CallersFrames(counters[:runtime.Callers(4, counters[:])])
	panicking := false
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		name := path.Base(frame.Function)
		switch {
		case frame.Function == "runtime.gopanic":
			panicking = true
		case panicking && !strings.HasPrefix(name, "runtime."):
			return function, path.Base(frame.File) + ":" + strconv.Itoa(frame.Line)
		case function == "" && !strings.HasPrefix(name, "log.") && !strings.HasPrefix(name, "slog."):
			function = name
		}
	}
	return function, ""
}
