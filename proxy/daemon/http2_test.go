package daemon

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/proxy"
	"bearerd/test/harness"
)

// streaming is a server that speaks HTTP/2, as d.listen makes one.
type streaming struct {
	all    *connections
	client *tls.Config
}

func newStreaming(t *testing.T, l net.Listener, handler http.HandlerFunc) *streaming {
	t.Helper()
	authority := harness.NewAuthority(t)
	files := newTLSFiles(t)
	files.put(twice(authority.IssueServer())(""))
	c, err := newCertificates(files.config(false), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	s := &streaming{client: &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"}}
	count := new(counter)
	s.all = newConnections(proxy.ConnectionLimits{Connections: 100, PerPeer: 100}, connectionEvents{func(string, int) {}, count.turnedAway, count.tell, nil})
	server := newServer(handler)
	server.ConnState, server.ErrorLog = noteState, log.New(io.Discard, "", 0)
	var serving sync.WaitGroup
	gate := s.all.gate(l, "here", true, nil)
	serving.Go(func() { _ = server.Serve(tls.NewListener(gate, c.config())) })
	t.Cleanup(func() {
		_ = gate.Close()
		_ = server.Close()
		serving.Wait()
	})
	return s
}

func listenHere(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func get(path string, more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", path}, more...)
}

func TestHTTP2_IsOfferedBesideHTTP11(t *testing.T) {
	l := listenHere(t)
	s := newStreaming(t, l, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	for _, tt := range []struct {
		offers []string
		want   string
	}{
		{[]string{"h2", "http/1.1"}, "HTTP/2.0"},
		{[]string{"http/1.1", "h2"}, "HTTP/2.0"},
		{[]string{"http/1.1"}, "HTTP/1.1"},
		{nil, "HTTP/1.1"},
	} {
		settings := s.client.Clone()
		settings.NextProtos = tt.offers
		transport := &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: len(tt.offers) > 1}
		resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != tt.want || resp.Proto != tt.want {
			t.Errorf("who offers %v is served in %s and answered in %s (%v), want %s", tt.offers, body, resp.Proto, err, tt.want)
		}
		transport.CloseIdleConnections()
	}
}

func TestHTTP2_WhatAConnectionMayCostIsBounded(t *testing.T) {
	l := listenHere(t)
	answer := make(chan bool)
	s := newStreaming(t, l, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-answer
		}
	})
	f := harness.DialFrames(t, l.Addr().String(), s.client)
	for setting, want := range map[uint16]uint32{3: 100, 4: 64 << 10, 5: 16 << 10, 6: 28<<10 + 320} {
		if got := f.Settings[setting]; got != want {
			t.Errorf("setting %d is %d, want %d", setting, got, want)
		}
	}
	const most = 100
	for i := range uint32(most) {
		f.Ask(2*i+1, false, get("/wait")...)
	}
	f.Ask(2*most+1, false, get("/")...)
	if one := f.Answered(2*most + 1); one.Reset == nil {
		t.Errorf("one more than %d at once was answered %d", most, one.Status)
	}
	close(answer)
	f.Ask(2*most+3, false, get("/", "x-long", strings.Repeat("x", 15<<10), "x-longer", strings.Repeat("x", 14<<10))...)
	if long := f.Answered(2*most + 3); long.Status != http.StatusRequestHeaderFieldsTooLarge && !f.Closed && f.GoneAway == nil {
		t.Errorf("a head of 29 KiB was answered %d", long.Status)
	}
}

// A request counts until its answer was taken, of whichever connection it is.
func TestHTTP2_RequestsOfAllConnectionsAreBounded(t *testing.T) {
	l := listenHere(t)
	s := newStreaming(t, l, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") })
	s.all.use(proxy.ConnectionLimits{Connections: 2, PerPeer: 2})
	var stuck [2]*harness.Frames
	for i := range stuck {
		stuck[i] = harness.DialFrames(t, l.Addr().String(), s.client)
		stuck[i].Send(harness.FrameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0}) // no window to begin with
		stuck[i].Ask(1, false, get("/")...)
		stuck[i].Until(func() bool { return stuck[i].Streams[1] != nil && stuck[i].Streams[1].Status == http.StatusOK })
	}
	stuck[1].Ask(3, false, get("/")...)
	if one := stuck[1].Answered(3); one.Reset == nil {
		t.Errorf("while two are under way, a third was answered %+v", one)
	}
	for _, f := range stuck {
		f.Send(harness.FrameWindowUpdate, 0, 1, []byte{0, 0, 0, 6})
		if one := f.Answered(1); one.Body != "answer" {
			t.Errorf("one that had been stuck was answered %+v", one)
		}
	}
	stuck[0].Send(harness.FrameSettings, 0, 0, []byte{0, 4, 0, 0, 255, 255})
	stuck[0].Ask(3, false, get("/")...)
	if one := stuck[0].Answered(3); one.Body != "answer" {
		t.Errorf("when none is under way, another was answered %+v", one)
	}
}

func TestHTTP2_BodiesThatNobodyReadsHoldUpNoOther(t *testing.T) {
	l := listenHere(t)
	read := make(chan bool)
	s := newStreaming(t, l, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			<-read
		}
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	})
	f := harness.DialFrames(t, l.Addr().String(), s.client)
	post := func(id uint32, path string, size int) {
		fields := get(path, "content-length", strconv.Itoa(size))
		fields[1] = "POST"
		f.Ask(id, true, fields...)
		for ; size > 0; size -= 16 << 10 {
			f.Send(harness.FrameData, map[bool]byte{true: harness.EndStream}[size <= 16<<10], id, make([]byte, min(size, 16<<10)))
		}
	}
	const stuck = 60
	for i := range uint32(stuck) {
		post(2*i+1, "/stuck", 64<<10)
	}
	post(2*stuck+1, "/", 10)
	if one := f.Answered(2*stuck + 1); one.Body != "10" {
		t.Errorf("behind %d bodies that nobody reads, one was answered %+v", stuck, one)
	}
	close(read)
	for i := range uint32(stuck) {
		if one := f.Answered(2*i + 1); one.Body != "65536" {
			t.Errorf("one of those was answered %+v later", one)
		}
	}
}

// TestHTTP2_WhoTakesEverythingBackIsLetGo: requests that were taken back at once count
// as long as they are served.
func TestHTTP2_WhoTakesEverythingBackIsLetGo(t *testing.T) {
	l := listenHere(t)
	answer := make(chan bool)
	var serving, most atomic.Int64
	s := newStreaming(t, l, func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), serving.Add(1)))
		<-answer
		serving.Add(-1)
	})
	f := harness.DialFrames(t, l.Addr().String(), s.client)
	for i := range uint32(1000) {
		f.Ask(2*i+1, false, get("/")...)
		f.Send(harness.FrameReset, 0, 2*i+1, []byte{0, 0, 0, 8})
	}
	f.Until(func() bool { return f.GoneAway != nil })
	const calm = 11 // ENHANCE_YOUR_CALM
	if f.GoneAway != nil && f.GoneAway.Error != calm || most.Load() > 100 {
		t.Errorf("of 1000 requests that were taken back %d were served at once, and the connection ended so: %+v", most.Load(), f.GoneAway)
	}
	close(answer)
}

// TestHTTP2_GoAwayLosesNothing: what was asked before is answered, and nothing waits
// for who asks no more; HTTP/1.1 goes on.
func TestHTTP2_GoAwayLosesNothing(t *testing.T) {
	l := listenHere(t)
	asked, answer := make(chan bool), make(chan bool)
	s := newStreaming(t, l, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			asked <- true
			<-answer
		}
	})
	busy := harness.DialFrames(t, l.Addr().String(), s.client)
	busy.Ask(1, false, get("/wait")...)
	<-asked
	idle := harness.DialFrames(t, l.Addr().String(), s.client)
	idle.Ask(1, false, get("/")...)
	idle.Answered(1)
	old, err := tls.Dial("tcp4", l.Addr().String(), s.client)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	_ = old.SetDeadline(time.Now().Add(20 * time.Second)) // a hang is a failure, not a wait

	s.all.goAway()
	for name, f := range map[string]*harness.Frames{"busy": busy, "idle": idle} {
		f.Until(func() bool { return f.GoneAway != nil })
		if f.GoneAway == nil || *f.GoneAway != (harness.GoneAway{Last: 1}) {
			t.Errorf("one that is %s is told %+v, want that stream 1 is the last", name, f.GoneAway)
		}
	}
	idle.Until(func() bool { return false })
	for range 2 {
		_, _ = io.WriteString(old, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(old), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("in HTTP/1.1: %v", err)
		}
	}
	left := make(chan bool)
	go func() { // ends with the connections
		s.all.leave(t.Context())
		close(left)
	}()
	late := harness.DialFrames(t, l.Addr().String(), s.client)
	late.Ask(1, false, get("/")...)
	if got := late.Answered(1); got.Status != 200 {
		t.Errorf("the first request of one that connects while bearerd leaves is answered %+v, want 200", *got)
	}
	late.Until(func() bool { return false })
	if late.GoneAway == nil {
		t.Error("and then it is not told to go away")
	}
	close(answer)
	if got := busy.Answered(1); got.Status != 200 {
		t.Errorf("what was under way is answered %+v, want 200", got)
	}
	<-left
}

// one is a listener for one connection.
type one struct {
	net.Listener
	accepted chan net.Conn
	closed   context.Context
}

func (o one) Accept() (net.Conn, error) {
	select {
	case c := <-o.accepted:
		return c, nil
	case <-o.closed.Done():
		return nil, net.ErrClosed
	}
}

// newStreamingInMemory is a server, and a connection to it that has yet to greet.
func newStreamingInMemory(t *testing.T) (*streaming, *harness.Frames) {
	t.Helper()
	ours, theirs := net.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	l := one{accepted: make(chan net.Conn, 1), closed: ctx}
	l.accepted <- from{theirs, loopback}
	s := newStreaming(t, closing{l, stop}, func(http.ResponseWriter, *http.Request) {})
	settings := s.client.Clone()
	settings.NextProtos = []string{"h2"}
	secured := tls.Client(ours, settings)
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	return s, harness.NewFrames(t, secured)
}

// TestHTTP2_WhoHasJustComeMayAskOnce in virtual time: bearerd leaves, and waits for a
// first request as long as it would for one in HTTP/1.1.
func TestHTTP2_WhoHasJustComeMayAskOnce(t *testing.T) {
	for _, asks := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, f := newStreamingInMemory(t)
			f.Greet()
			left := make(chan time.Duration)
			go func() { // ends with the connection
				start := time.Now()
				s.all.leave(t.Context())
				left <- time.Since(start)
			}()
			time.Sleep(readHeaderTimeout / 2)
			if asks {
				f.Ask(1, false, get("/")...)
				if got := f.Answered(1); got.Status != 200 {
					t.Errorf("its first request is answered %+v, want 200", *got)
				}
			}
			f.Until(func() bool { return false })
			took := <-left
			if least := readHeaderTimeout; f.GoneAway == nil || took > least+2*time.Second || (took < least) != asks {
				t.Errorf("one that asks (%v) is told %+v, and bearerd leaves after %v", asks, f.GoneAway, took)
			}
		})
	}
}

// TestHTTP2_WhoSendsNoRequestIsLetGo in virtual time.
func TestHTTP2_WhoSendsNoRequestIsLetGo(t *testing.T) {
	half := harness.HeaderBlock(get("/")...)
	for _, tt := range []struct {
		name   string
		greets bool
		then   func(f *harness.Frames) // within a goroutine of its own
		within time.Duration
	}{
		{"nothing at all", false, func(*harness.Frames) {}, 11 * time.Second},
		{"nothing but the greeting", true, func(*harness.Frames) {}, 62 * time.Second},
		{"half a head", true, func(f *harness.Frames) { f.Send(harness.FrameHeaders, harness.EndStream, 1, half) }, 62 * time.Second},
		{"a ping now and then", true, func(f *harness.Frames) {
			for range 100 {
				time.Sleep(time.Second)
				f.Send(harness.FramePing, 0, 0, make([]byte, 8))
			}
		}, 62 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, f := newStreamingInMemory(t)
				start := time.Now()
				if tt.greets {
					f.Greet()
				}
				go tt.then(f)
				f.Until(func() bool { return false })
				if took := time.Since(start); took > tt.within || took < 5*time.Second {
					t.Errorf("it was let go of after %v, want within %v", took, tt.within)
				}
				time.Sleep(2 * time.Minute) // the end of what was sent
			})
		})
	}
}

// closing is a listener that is closed by a function.
type closing struct {
	net.Listener
	stop func()
}

func (c closing) Close() error   { c.stop(); return nil }
func (c closing) Addr() net.Addr { return loopback }

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1234}
