package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/harness"
)

// connectBy has a wire connect by dial, to what is none of the system's.
func connectBy(w wire, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	h := w.(*http1)
	h.connect = func(to *url.URL) (*socket, net.Conn, *url.URL, error) {
		conn, err := dial(context.Background(), "tcp", to.Host)
		if err != nil {
			return nil, nil, nil, err
		}
		s := newSocket(&outbound{Conn: conn, patience: h.tuning.BodyIdle})
		return s, s, nil, nil
	}
}

// conversed answers the requests of a connection and returns why there are no more.
func conversed(c net.Conn, say func(*http.Request) string) error {
	in := bufio.NewReader(c)
	for {
		if _, err := in.Peek(1); err != nil {
			return err
		}
		req, err := http.ReadRequest(in)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if _, err := io.WriteString(c, say(req)); err != nil {
			return err
		}
	}
}

// inMemory is a wire to an upstream that waits before each answer, on connections
// that are none of the system's, for virtual time.
func inMemory(t *testing.T, idle, wait time.Duration) (w *http1, opened func() int, ended chan error) {
	w = newWire(TransportConfig{Private: true, Tuning: TuningConfig{Idle: idle}}).(*http1)
	ended = make(chan error, 100)
	var serving sync.WaitGroup
	n := new(atomic.Int32)
	connectBy(w, func(context.Context, string, string) (net.Conn, error) {
		n.Add(1)
		here, there := net.Pipe()
		serving.Go(func() {
			ended <- conversed(there, func(r *http.Request) string {
				time.Sleep(wait)
				return noContent(r)
			})
		})
		return here, nil
	})
	t.Cleanup(func() {
		w.retire()
		serving.Wait()
	})
	return w, func() int { return int(n.Load()) }, ended
}

func TestHTTP1_ClosesWhatNobodyUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 30 * time.Second
		w, opened, ended := inMemory(t, idle, 3*idle/2) // longer to answer than a connection is kept
		for range 3 {
			if _, err := post(t, w, "http://up.example/"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(idle - time.Second)
		}
		if len(ended) != 0 || opened() != 1 {
			t.Fatalf("%d connections were opened, %d closed; want 1 that is used again and again", opened(), len(ended))
		}
		time.Sleep(2 * time.Second)
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("the connection ended with %v, want it closed", err)
		}
		if _, err := post(t, w, "http://up.example/"); err != nil || opened() != 2 {
			t.Errorf("%v, %d connections; want another", err, opened())
		}
	})
}

// Timers stand still while a machine sleeps, and the upstream's do not.
func TestHTTP1_ClosesWhatIsOlderThanItsTimerKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened, ended := inMemory(t, time.Minute, 0)
		for range 3 {
			if _, err := post(t, w, "http://up.example/"); err != nil {
				t.Fatal(err)
			}
			for _, c := range w.idle {
				c.until = c.until.Add(-time.Hour)
			}
		}
		if opened() != 3 || len(ended) != 2 {
			t.Errorf("%d connections were opened, %d closed; want 3, 2", opened(), len(ended))
		}
	})
}

func TestHTTP1_RetiredKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened, ended := inMemory(t, time.Minute, time.Second)
		var sending sync.WaitGroup
		for range 3 {
			sending.Go(func() {
				if _, err := post(t, w, "http://up.example/"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		w.retire()
		if len(ended) != 0 {
			t.Errorf("%d connections in use were closed", len(ended))
		}
		sending.Wait()
		synctest.Wait()
		if opened() != 3 || len(ended) != 3 || len(w.idle) != 0 {
			t.Errorf("of %d connections %d were closed, %d are kept; want 3, 3, 0", opened(), len(ended), len(w.idle))
		}
	})
}

// hearing counts what is read.
type hearing struct {
	net.Conn
	n int
}

func (h *hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.n += n
	return n, err
}

// TLS says when it ends (RFC 8446 §6.1).
func TestHTTP1_TakesLeaveOfTLS(t *testing.T) {
	authority := harness.NewAuthority(t)
	pair := authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	ended := make(chan int, 1)
	address, _ := serving(t, func(c net.Conn) {
		heard, before := &hearing{Conn: c}, 0
		_ = conversed(tls.Server(heard, &tls.Config{Certificates: []tls.Certificate{pair}}), func(r *http.Request) string {
			before = heard.n
			return noContent(r)
		})
		ended <- heard.n - before
	})
	w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}, Tuning: TuningConfig{Idle: time.Minute}})
	if _, err := post(t, w, "https://"+address+"/"); err != nil {
		t.Fatal(err)
	}
	w.(*http1).closeUsed()
	if n := <-ended; n == 0 {
		t.Error("the connection ended without a word")
	}
}

// asking is a request to somewhere.
func asking(t *testing.T, method, target string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// told sends a request and reads its answer to the end.
func told(w wire, req *http.Request) (status int, body string, err error) {
	resp, err := w.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), err
}

// piped is a wire to an upstream on connections in memory, each of which serve has.
func piped(t *testing.T, tuning TuningConfig, serve func(net.Conn)) (w *http1, opened func() int) {
	w = newWire(TransportConfig{Private: true, Tuning: tuning}).(*http1)
	var running sync.WaitGroup
	var open sync.Map
	n := new(atomic.Int32)
	connectBy(w, func(context.Context, string, string) (net.Conn, error) {
		n.Add(1)
		here, there := net.Pipe()
		open.Store(there, true)
		running.Go(func() {
			defer func() { _ = there.Close() }()
			serve(there)
		})
		return here, nil
	})
	t.Cleanup(func() {
		w.retire()
		open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return w, func() int { return int(n.Load()) }
}

// dialing has a wire connect as before once dial has returned nil, which is told how
// often that was asked for; and counts.
func dialing(w *http1, dial func(nth int) error) (dials func() int) {
	connect, n := w.connect, new(atomic.Int32)
	w.connect = func(to *url.URL) (*socket, net.Conn, *url.URL, error) {
		if err := dial(int(n.Add(1))); err != nil {
			return nil, nil, nil, err
		}
		return connect(to)
	}
	return func() int { return int(n.Load()) }
}

func TestHTTP1_WhoWaitsTakesWhatSomebodyIsDoneWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened, _ := inMemory(t, time.Minute, time.Second)
		dials := dialing(w, func(nth int) error {
			if nth > 1 {
				time.Sleep(10 * time.Second)
			}
			return nil
		})
		var asked sync.WaitGroup
		ask := func(want time.Duration) {
			asked.Go(func() {
				begun := time.Now()
				if _, err := post(t, w, "http://up.example/"); err != nil || time.Since(begun) != want {
					t.Errorf("%v after %v, want an answer after %v", err, time.Since(begun), want)
				}
			})
			synctest.Wait()
		}
		ask(time.Second)
		ask(2 * time.Second) // on the same connection, in place of the one that opens for 10 s
		asked.Wait()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(w.idle) != 2 {
			t.Errorf("%d connections are kept, want the one that opened too late, too", len(w.idle))
		}
		ask(time.Second)
		ask(time.Second)
		asked.Wait()
		if dials() != 2 || opened() != 2 {
			t.Errorf("%d dials, want 2", dials())
		}
	})
}

func TestHTTP1_ADialThatFailsFailsOneWhoWaits(t *testing.T) {
	errDown := errors.New("down")
	for _, tt := range []struct {
		name   string
		first  bool // a connection is in use, and is given back before the dial fails
		failed int
	}{
		{"of three", false, 1},
		{"of three, one of whom was served otherwise", true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, _ := inMemory(t, time.Minute, time.Second)
				fails := 1
				dials := dialing(w, func(nth int) error {
					if tt.first && nth == 1 {
						fails = 2
						return nil
					}
					time.Sleep(time.Duration(nth) * 750 * time.Millisecond)
					if nth == fails {
						return errDown
					}
					return nil
				})
				var asked sync.WaitGroup
				failed := new(atomic.Int32)
				for range 3 {
					asked.Go(func() {
						_, err := post(t, w, "http://up.example/")
						switch {
						case errors.Is(err, errDown) && isUnsent(err):
							failed.Add(1)
						case err != nil:
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				asked.Wait()
				time.Sleep(time.Minute)
				synctest.Wait()
				if int(failed.Load()) != tt.failed || dials() != 3 || w.opening != 0 || len(w.waiting) != 0 {
					t.Errorf("of three requests %d failed, by %d dials; %d wait, %d open; want %d, 3, 0, 0", failed.Load(), dials(), len(w.waiting), w.opening, tt.failed)
				}
			})
		})
	}
}

func TestHTTP1_WhoGivesUpWaitingLeavesTheDialToTheNext(t *testing.T) {
	errGone := errors.New("gone")
	synctest.Test(t, func(t *testing.T) {
		w, opened, _ := inMemory(t, time.Minute, 0)
		dials := dialing(w, func(int) error { time.Sleep(10 * time.Second); return nil })
		ctx, leave := context.WithCancelCause(t.Context())
		body := &touched{Reader: strings.NewReader("a body")}
		time.AfterFunc(time.Second, func() { leave(errGone) })
		begun := time.Now()
		_, _, err := told(w, asking(t, "POST", "http://up.example/", body).WithContext(ctx))
		if !errors.Is(err, errGone) || !isUnsent(err) || time.Since(begun) != time.Second || body.reads != 0 || body.closes != 1 {
			t.Errorf("%v after %v, unsent %v; the body was read %d times, closed %d", err, time.Since(begun), isUnsent(err), body.reads, body.closes)
		}
		if len(w.waiting) != 0 {
			t.Errorf("%d still wait", len(w.waiting))
		}
		if _, err := post(t, w, "http://up.example/"); err != nil || time.Since(begun) != 10*time.Second {
			t.Errorf("the next: %v after %v, want an answer by the connection that was opening", err, time.Since(begun))
		}
		if dials() != 2 {
			t.Errorf("%d dials, want 2: the first might have met a packet that was lost", dials())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if opened() != 2 || len(w.idle) != 2 {
			t.Errorf("%d connections, %d are kept; want 2", opened(), len(w.idle))
		}
	})
}

// touched is a body that tells what is done with it.
type touched struct {
	io.Reader
	reads, closes int
}

func (b *touched) Read(p []byte) (int, error) { b.reads++; return b.Reader.Read(p) }
func (b *touched) Close() error               { b.closes++; return nil }

func TestHTTP1_DialsAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened, _ := inMemory(t, time.Minute, time.Second)
		w.most = 8
		dials := dialing(w, func(int) error { time.Sleep(3 * time.Second); return nil })
		var asked sync.WaitGroup
		ask := func(n int, patience time.Duration) {
			for range n {
				asked.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					_, _, err := told(w, asking(t, "GET", "http://up.example/", nil).WithContext(ctx))
					if gaveUp := patience < time.Minute; errors.Is(err, context.DeadlineExceeded) != gaveUp || !gaveUp && err != nil {
						t.Errorf("with %v: %v", patience, err)
					}
				})
			}
		}
		for range 2 {
			ask(5, time.Second)
			asked.Wait()
		}
		ask(8, time.Minute)
		asked.Wait()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if dials() != 8 || opened() != 8 || w.opening != 0 || len(w.idle) != 8 {
			t.Errorf("%d dials for ten requests that gave up and eight that did not, want 8: as many as are kept", dials())
		}
	})
}

func TestHTTP1_NoOtherPlaceIsReachedByItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened, _ := inMemory(t, time.Minute, 0)
		if _, err := post(t, w, "http://up.example/"); err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{"http://other.example/", "https://up.example/", "http://up.example:8080/"} {
			body := &touched{Reader: strings.NewReader("a body")}
			_, _, err := told(w, asking(t, "POST", target, body))
			if !errors.Is(err, errAnotherPlace) || !isUnsent(err) || body.reads != 0 || body.closes != 1 {
				t.Errorf("%s: %v; the body was read %d times, closed %d", target, err, body.reads, body.closes)
			}
		}
		if _, err := post(t, w, "http://up.example/"); err != nil || opened() != 1 {
			t.Errorf("where it leads: %v on %d connections, want 1", err, opened())
		}
	})
}

// received waits until something has come over a connection, be it its end, and leaves
// it there.
func received(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return !errors.Is(err, syscall.EAGAIN)
	})
	_ = c.SetReadDeadline(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
}

// gathered sends at once what was written to it since it holds it.
type gathered struct {
	net.Conn
	holds bool
	held  bytes.Buffer
}

func (g *gathered) Write(p []byte) (int, error) {
	if g.holds {
		return g.held.Write(p)
	}
	return g.Conn.Write(p)
}

func (g *gathered) release() {
	g.holds = false
	_, _ = g.Conn.Write(g.held.Bytes())
	g.held.Reset()
}

// spoiling is an upstream whose first connection has one answer, with something in the
// same segment, and spoil once it is told to. What it speaks over is the socket or TLS.
// Other connections have each request answered with its path.
func spoiling(t *testing.T, secured *tls.Config, answer, with string, spoil func(over, socket net.Conn)) (address string, tell func(), accepted *atomic.Int32) {
	now := make(chan struct{})
	tell = sync.OnceFunc(func() { close(now) })
	var conns atomic.Int32
	address, accepted = serving(t, func(c net.Conn) {
		nth, together := conns.Add(1), &gathered{Conn: c}
		over := net.Conn(together)
		if secured != nil {
			over = tls.Server(together, secured)
		}
		own := func(r *http.Request) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.URL.Path), r.URL.Path)
		}
		if nth == 1 {
			if _, err := http.ReadRequest(bufio.NewReader(over)); err != nil {
				return
			}
			together.holds = true
			_, _ = io.WriteString(over, answer)
			_, _ = io.WriteString(over, with)
			together.release()
			<-now
			if spoil != nil {
				spoil(over, c)
			}
		}
		_ = conversed(over, own)
	})
	t.Cleanup(tell)
	return address, tell, accepted
}

// What comes over a connection that nobody has asked anything is nobody's answer.
func TestHTTP1_NothingUnaskedIsAnAnswer(t *testing.T) {
	authority := harness.NewAuthority(t)
	pair := authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	const (
		unasked = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked"
		five    = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
		empty   = "HTTP/1.1 204 No Content\r\n\r\n"
		chunks  = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"
	)
	long := "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("first", 20_000)
	says := func(what string) func(over, _ net.Conn) {
		return func(over, _ net.Conn) { _, _ = io.WriteString(over, what) }
	}
	for _, tt := range []struct {
		name         string
		answer, with string
		spoil        func(over, socket net.Conn)
	}{
		{"a byte at once", five, "x", nil},
		{"a byte at once after an answer without a body", empty, "x", nil},
		{"an answer at once", five, unasked, nil},
		{"an answer at once after one without a body", empty, unasked, nil},
		{"an answer at once after one in chunks", chunks, unasked, nil},
		{"an answer at once after a long one", long, unasked, nil},
		{"a byte later", five, "", says("x")},
		{"an answer later", five, "", says(unasked)},
		{"an answer later after one without a body", empty, "", says(unasked)},
		{"an answer later after a long one", long, "", says(unasked)},
		{"the end of what is sent", five, "", func(_, socket net.Conn) { _ = socket.(*net.TCPConn).CloseWrite() }},
		{"the end", five, "", func(over, _ net.Conn) { _ = over.Close() }},
		{"a reset", five, "", func(_, socket net.Conn) { _ = socket.(*net.TCPConn).SetLinger(0); _ = socket.Close() }},
		{"the end, in words alone", five, "", func(over, socket net.Conn) {
			if secured, ok := over.(*tls.Conn); ok {
				_ = secured.CloseWrite()
				return
			}
			_ = socket.Close()
		}},
	} {
		for _, version := range []uint16{0, tls.VersionTLS12, tls.VersionTLS13} {
			scheme, secured := "http", (*tls.Config)(nil)
			if version != 0 {
				scheme, secured = "https", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version}
			}
			t.Run(fmt.Sprintf("%s, %s %x", tt.name, scheme, version), func(t *testing.T) {
				address, tell, accepted := spoiling(t, secured, tt.answer, tt.with, tt.spoil)
				w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}}).(*http1)
				x := new(Exchange)
				_, body, err := told(w, carrying(asking(t, "GET", scheme+"://"+address+"/first", nil), x))
				if err != nil || !strings.Contains(tt.answer, body) {
					t.Fatalf("the first: %q, %v", body, err)
				}
				tell()
				if tt.spoil != nil {
					received(t, w.idle[0].socket.Conn)
				}
				for _, path := range []string{"/second", "/third"} {
					if _, body, err := told(w, carrying(asking(t, "GET", scheme+"://"+address+path, nil), x)); body != path || err != nil {
						t.Errorf("%s is answered %q, %v", path, body, err)
					}
				}
				if ends := strings.HasPrefix(tt.name, "the end") || tt.name == "a reset"; (x.Warning == "") != ends {
					t.Errorf("the log has the warning %q", x.Warning)
				}
				if accepted.Load() != 2 {
					t.Errorf("%d connections, want 2", accepted.Load())
				}
			})
		}
	}
}

// Servers send session tickets when they like (RFC 8446 §4.6.1).
func TestHTTP1_TicketsThatComeLateLeaveAConnectionAsItIs(t *testing.T) {
	authority := harness.NewAuthority(t)
	pair := authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	now := make(chan struct{})
	tickets := make(chan int, 1)
	address, accepted := serving(t, func(c net.Conn) {
		together := &gathered{Conn: c}
		secured := tls.Server(together, &tls.Config{
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
			ClientAuth:       tls.RequestClientCert, // or the tickets come with the handshake
			VerifyConnection: func(tls.ConnectionState) error { together.holds = true; return nil },
		})
		if secured.Handshake() != nil {
			return
		}
		<-now
		tickets <- together.held.Len()
		together.release()
		_ = conversed(secured, noContent)
	})
	w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}}).(*http1)
	w.to = &url.URL{Scheme: "https", Host: address}
	w.opening++
	w.open(w.to) // for somebody who has left
	close(now)
	if n := <-tickets; n == 0 {
		t.Fatal("there were no tickets")
	}
	received(t, w.idle[0].socket.Conn)
	for range 2 {
		if _, err := post(t, w, "https://"+address+"/"); err != nil || accepted.Load() != 1 {
			t.Errorf("%v on %d connections, want 1", err, accepted.Load())
		}
	}
}

// failingWrites writes so many bytes of what is written once it fails.
type failingWrites struct {
	net.Conn
	fails atomic.Bool
	after int
}

func (f *failingWrites) Write(p []byte) (int, error) {
	if !f.fails.Load() {
		return f.Conn.Write(p)
	}
	n, _ := f.Conn.Write(p[:f.after])
	return n, &net.OpError{Op: "write", Err: syscall.EPIPE}
}

// small is a body that is here as a whole.
func small(text string) *counted {
	c := &counted{x: new(Exchange)}
	c.bytes.Reset([]byte(text))
	return c
}

func TestHTTP1_WhatCouldNotBeWrittenIsWrittenToAnotherConnection(t *testing.T) {
	type body struct {
		name   string
		opened func() io.ReadCloser
		again  bool // it can be had again
	}
	stream := func() io.ReadCloser { return io.NopCloser(strings.NewReader("a body")) }
	whole := func() io.ReadCloser { return small("a body") }
	none := func() io.ReadCloser { return http.NoBody }
	bodies := []body{{"no body", none, true}, {"a whole body", whole, true}, {"a whole body, once", whole, false}, {"a stream", stream, true}, {"a stream, once", stream, false}}
	for _, tt := range []struct {
		name   string
		kept   bool
		after  int
		unsent bool // unless it is written elsewhere
	}{
		{"nothing sent, on a kept connection", true, 0, true},
		{"a byte sent, on a kept connection", true, 1, false},
		{"nothing sent, on a new connection", false, 0, true},
		{"a byte sent, on a new connection", false, 1, false},
	} {
		for _, body := range bodies {
			t.Run(tt.name+", "+body.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var got []string // one request after the other
					var conns []*failingWrites
					w, _ := piped(t, TuningConfig{}, func(c net.Conn) {
						_ = conversed(c, func(r *http.Request) string { got = append(got, r.URL.Path); return noContent(r) })
					})
					connect := w.connect
					w.connect = func(to *url.URL) (*socket, net.Conn, *url.URL, error) {
						s, over, through, err := connect(to)
						f := &failingWrites{Conn: s.Conn, after: tt.after}
						f.fails.Store(!tt.kept && len(conns) == 0)
						s.outbound.Conn, conns = f, append(conns, f)
						return s, over, through, err
					}
					want := 0
					if tt.kept {
						if _, _, err := told(w, asking(t, "GET", "http://up.example/first", nil)); err != nil {
							t.Fatal(err)
						}
						conns[0].fails.Store(true)
						want++
					}
					req := asking(t, "POST", "http://up.example/second", nil)
					req.Body = body.opened()
					if req.Body != http.NoBody {
						req.ContentLength = int64(len("a body"))
					}
					if body.again {
						req.GetBody = func() (io.ReadCloser, error) { return body.opened(), nil }
					}
					able := tt.kept && tt.after == 0 && (body.again || req.Body == http.NoBody)
					if able {
						want++
					}
					begun := time.Now()
					_, _, err := told(w, req)
					if took := time.Since(begun); took > lastWords {
						t.Errorf("%v after %v, want it after %v", err, took, lastWords)
					}
					if (err == nil) != able || err != nil && (isUnsent(err) != tt.unsent || !errors.Is(err, syscall.EPIPE)) || len(got) != want {
						t.Errorf("%v, unsent %v, the upstream was asked %q; want an answer: %v, or unsent: %v", err, isUnsent(err), got, able, tt.unsent)
					}
				})
			})
		}
	}
}

// lateWord is a connection whose writer hears late that it has written.
type lateWord struct {
	net.Conn
	late atomic.Bool
}

func (l *lateWord) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	if l.late.Load() {
		time.Sleep(time.Millisecond)
	}
	return n, err
}

// The end of a connection may be read before who writes the request knows that it was sent.
func TestHTTP1_WhatIsBeingWrittenCountsAsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string // one request after the other
		w, opened := piped(t, TuningConfig{}, func(c net.Conn) {
			in := bufio.NewReader(c)
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				got = append(got, req.URL.Path)
				if req.URL.Path == "/lost" {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(c, noContent(req))
			}
		})
		connect, late := w.connect, new(lateWord)
		w.connect = func(to *url.URL) (*socket, net.Conn, *url.URL, error) {
			s, over, through, err := connect(to)
			late = &lateWord{Conn: s.Conn}
			s.outbound.Conn = late
			return s, over, through, err
		}
		if _, err := post(t, w, "http://up.example/"); err != nil {
			t.Fatal(err)
		}
		late.late.Store(true)
		defer time.Sleep(time.Second) // for who writes
		if _, err := post(t, w, "http://up.example/lost"); err == nil || isUnsent(err) || len(got) != 2 || opened() != 1 {
			t.Errorf("%v, unsent %v; the upstream was asked %q, on %d connections", err, isUnsent(err), got, opened())
		}
	})
}

func TestHTTP1_WhatComesAsItsCallerGivesUpIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened, _ := inMemory(t, time.Minute, 0)
		if _, err := post(t, w, up); err != nil {
			t.Fatal(err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		for range 100 { // select has no preference
			c, err := w.take(asking(t, "GET", up, nil))
			if err != nil {
				t.Fatal(err)
			}
			here := make(chan arrival, 1)
			here <- arrival{conn: c}
			if got, err := w.wait(gone, here); err == nil {
				w.done(got)
			}
		}
		if len(w.idle) != 1 || opened() != 1 {
			t.Errorf("%d connections are kept of %d", len(w.idle), opened())
		}
	})
}

// When one connection broke the others are as old, but those that are new: for each of
// them a request may wait.
func TestHTTP1_SparesWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, ended := inMemory(t, time.Minute, 0)
		w.to = &url.URL{Scheme: "http", Host: "up.example"}
		w.opening++
		w.open(w.to) // for somebody who has left
		w.closeUsed()
		synctest.Wait()
		if len(w.idle) != 1 || len(ended) != 0 {
			t.Error("a connection was closed that nobody had used")
		}
		if _, err := post(t, w, "http://up.example/"); err != nil {
			t.Fatal(err)
		}
		w.closeUsed()
		synctest.Wait()
		if len(w.idle) != 0 || len(ended) != 1 {
			t.Error("a connection was kept that is as old as another that broke")
		}
	})
}
