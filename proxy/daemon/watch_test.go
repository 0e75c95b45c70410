package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/proxy"
	"bearerd/test/harness"
)

// watchPatience is for what should be there at once.
const watchPatience = 10 * time.Second

// pair is a connection of the system's, over what is listened at.
func pair(t *testing.T, network, address string) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if theirs, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

// watches reports whether such a connection is to be watched: always on Linux.
func watches(c net.Conn) bool { return runtime.GOOS == "linux" || canPeek(c) }

// arrives waits until that is what comes next, which is on its way over loopback.
func arrives(t *testing.T, c net.Conn, next ahead) {
	t.Helper()
	for range 10_000_000 { // for the time of a bubble stands still
		if peek(c) == next {
			return
		}
	}
	t.Fatalf("what comes next is not %d", next)
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func TestWatch_TellsThatACallerHasLeft(t *testing.T) {
	if own, _ := pair(t, "tcp4", "127.0.0.1:0"); !watches(own) {
		t.Skip("net/http watches on this system")
	}
	for _, tt := range []struct {
		name string
		does func(t *testing.T, w *watch, ours, theirs net.Conn)
		want bool
	}{
		{"who stays is not told of", func(*testing.T, *watch, net.Conn, net.Conn) {}, false},
		{"nor who has sent the next request", func(t *testing.T, _ *watch, ours, theirs net.Conn) {
			_, _ = io.WriteString(theirs, "GET")
			arrives(t, ours, something)
		}, false},
		{"nor who leaves when the answer is there", func(t *testing.T, w *watch, ours, theirs net.Conn) {
			w.end()
			_ = theirs.Close()
			arrives(t, ours, itsEnd)
		}, false},
		{"who closes is", func(t *testing.T, _ *watch, ours, theirs net.Conn) {
			_ = theirs.Close()
			arrives(t, ours, itsEnd)
		}, true},
		{"who resets is", func(t *testing.T, _ *watch, ours, theirs net.Conn) {
			reset(theirs)
			arrives(t, ours, itsEnd)
		}, true},
		{"who is closed here is", func(_ *testing.T, _ *watch, ours, _ net.Conn) { _ = ours.Close() }, true},
		{"who leaves in a later request is", func(t *testing.T, w *watch, ours, theirs net.Conn) {
			w.end()
			time.Sleep(watchAfter / 2)
			w.begin()
			w.replaces(make([]byte, 1))
			_ = theirs.Close()
			arrives(t, ours, itsEnd)
		}, true},
		{"who leaves in a request that comes after a pause is", func(t *testing.T, w *watch, ours, theirs net.Conn) {
			w.end()
			time.Sleep(time.Hour)
			w.begin()
			w.replaces(make([]byte, 1))
			_ = theirs.Close()
			arrives(t, ours, itsEnd)
		}, true},
	} {
		for _, after := range []time.Duration{0, watchAfter + time.Millisecond, time.Hour} {
			for _, network := range [][2]string{{"tcp4", "127.0.0.1:0"}, {"unix", filepath.Join(t.TempDir(), "socket")}} {
				t.Run(tt.name+" after "+after.String()+" over "+network[0], func(t *testing.T) {
					ours, theirs := pair(t, network[0], network[1])
					synctest.Test(t, func(t *testing.T) {
						var at time.Time
						w := &watch{conn: ours, left: func() { at = time.Now() }}
						w.begin()
						if !w.replaces(make([]byte, 1)) {
							t.Fatal("the read that is to watch would be made")
						}
						time.Sleep(after)
						tt.does(t, w, ours, theirs)
						since := time.Now()
						time.Sleep(watchEvery)
						synctest.Wait()
						if told := !at.IsZero(); told != tt.want {
							t.Errorf("told within %v: %v, want %v", watchEvery, told, tt.want)
						}
						if tt.want && after == 0 && at.Sub(since) > watchAfter {
							t.Errorf("told after %v, want %v", at.Sub(since), watchAfter)
						}
						w.end() // and the timer
						time.Sleep(watchEvery)
					})
				})
			}
		}
	}
}

// shownAs is a connection over which the system is asked about something else.
type shownAs struct {
	net.Conn
	other *os.File
}

func (s shownAs) SyscallConn() (syscall.RawConn, error) { return s.other.SyscallConn() }

// TestWatch_WhoCannotBeLookedAtStays: the system may not tell, as where a filter of
// system calls forbids it.
func TestWatch_WhoCannotBeLookedAtStays(t *testing.T) {
	ours, _ := pair(t, "tcp4", "127.0.0.1:0")
	noSocket, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = noSocket.Close() }()
	if next := peek(shownAs{ours, noSocket}); next != nothingYet {
		t.Errorf("what comes next is %d, want %d: nothing that is known", next, nothingYet)
	}
}

func TestWatch_ReplacesOneReadOfARequestOnly(t *testing.T) {
	w := &watch{left: func() {}}
	one, more := make([]byte, 1), make([]byte, 2)
	defer w.end()
	for _, step := range []struct {
		name string
		do   func()
		p    []byte
		want bool
	}{
		{"before a request", func() {}, one, false},
		{"of more bytes, which may be a body's", w.begin, more, false},
		{"of one", func() {}, one, true},
		{"of another", func() {}, one, false},
		{"of the next request", w.begin, one, true},
		{"when it is answered", w.end, one, false},
		{"answered before it came", func() { w.begin(); w.end() }, one, false},
		{"where net/http is to watch", func() { w.left = nil; w.begin() }, one, false},
	} {
		step.do()
		if got := w.replaces(step.p); got != step.want {
			t.Errorf("a read %s: replaced %v, want %v", step.name, got, step.want)
		}
	}
}

// TestWatch_RequestsEndWithTheirCaller has net/http serve, in whose place the watch is:
// it may come to read otherwise.
func TestWatch_RequestsEndWithTheirCaller(t *testing.T) {
	for _, over := range []string{"tcp4", "unix", "tls"} {
		for what, request := range map[string]string{
			"a first request":    "GET /watched HTTP/1.1\r\nHost: h\r\n\r\n",
			"a second":           "GET /first HTTP/1.1\r\nHost: h\r\n\r\nGET /watched HTTP/1.1\r\nHost: h\r\n\r\n",
			"one with a body":    "POST /watched HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
			"one with one piece": "POST /watched HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		} {
			for name, leave := range map[string]func(*http.Server, net.Conn){
				"closes":       func(_ *http.Server, c net.Conn) { _ = c.Close() },
				"resets":       func(_ *http.Server, c net.Conn) { reset(c) },
				"is cut off":   func(s *http.Server, _ net.Conn) { _ = s.Close() },
				"is cut below": nil, // as at the end of a drain
			} {
				t.Run(over+", "+what+", who "+name, func(t *testing.T) { testWatched(t, over, request, leave) })
			}
		}
	}
}

func testWatched(t *testing.T, over, request string, leave func(*http.Server, net.Conn)) {
	network, address := "tcp4", "127.0.0.1:0"
	if over == "unix" {
		network, address = over, filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	begun, ended := make(chan struct{}), make(chan bool, 1)
	server := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/watched" {
			return
		}
		close(begun)
		select {
		case <-r.Context().Done():
			ended <- true
		case <-time.After(watchPatience):
			ended <- false
		}
	}))
	server.ConnState, server.ConnContext, server.ErrorLog = noteState, connContext, log.New(io.Discard, "", 0)
	all := newConnections(proxy.ConnectionLimits{Connections: 100, PerPeer: 100}, connectionEvents{changed: func(string, int) {}})
	var outer net.Listener = all.gate(l, "here", over == "tls", nil)
	authority := harness.NewAuthority(t)
	if over == "tls" {
		outer = tls.NewListener(outer, &tls.Config{Certificates: []tls.Certificate{authority.Pair(x509.Certificate{DNSNames: []string{"localhost"}})}})
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(outer) })
	defer serving.Wait()
	defer func() { _ = server.Close() }()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	said := c
	if over == "tls" {
		said = tls.Client(c, &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"})
	}
	if _, err := io.WriteString(said, request); err != nil {
		t.Fatal(err)
	}
	<-begun
	if over != "tls" {
		watched(t, all)
	}
	if leave == nil {
		all.cut()
		if over == "unix" { // which cannot be reset, and is closed with its server
			_ = server.Close()
		}
	} else {
		leave(server, c)
	}
	if !<-ended {
		t.Error("the request's context did not end")
	}
}

// watched waits until the one connection that is open is watched.
func watched(t *testing.T, all *connections) {
	t.Helper()
	for giveUp := time.Now().Add(watchPatience); time.Now().Before(giveUp); {
		all.mu.Lock()
		for c := range all.open {
			c.watch.mu.Lock()
			is := !c.watch.since.IsZero()
			c.watch.mu.Unlock()
			if is || !watches(c.Conn) {
				all.mu.Unlock()
				return
			}
		}
		all.mu.Unlock()
	}
	t.Error("net/http reads what comes while a request is answered, which costs twice")
}

// Who looked after a connection between its requests would do so for as long as it is kept.
func TestWatch_ANextRequestIsWaitedForUnwatched(t *testing.T) {
	for _, state := range []http.ConnState{http.StateIdle, http.StateHijacked, http.StateClosed} {
		c := &conn{watch: watch{left: func() {}}}
		noteState(c, http.StateActive)
		if !c.watch.replaces(make([]byte, 1)) || c.watch.since.IsZero() {
			t.Fatal("a request is not watched")
		}
		noteState(c, state)
		if !c.watch.since.IsZero() || c.watch.replaces(make([]byte, 1)) {
			t.Errorf("it is still when its connection is %v", state)
		}
	}
}
