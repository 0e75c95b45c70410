package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/harness"
)

// dialed makes the connections of a dial members of a pool, as dialer does.
func dialed(p *pool, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		made := newEarly(conn)
		p.add(made, 0)
		return made, nil
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

// postTraced is post with an eye on what the transport does.
func postTraced(t *testing.T, w *wire, target string, trace *httptrace.ClientTrace) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", target, strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	return resp, err
}

// inMemory is a wire to an upstream that waits before each answer, on connections
// that are none of the system's, for virtual time.
func inMemory(t *testing.T, idle, wait time.Duration) (w *wire, opened func() int, ended chan error) {
	w = newWire(TransportConfig{Private: true, Tuning: TuningConfig{Idle: idle}})
	ended = make(chan error, 100)
	var serving sync.WaitGroup
	n := new(atomic.Int32)
	l := w.link.Load()
	l.DialContext = dialed(l.pool, func(context.Context, string, string) (net.Conn, error) {
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

// The transport tells of a connection that it counts as idle before it hands over the
// answer that was read from it. Whatever happens to it then, the answer is not lost.
func TestPool_AnAnswerOutlivesItsConnection(t *testing.T) {
	const idle = 30 * time.Second
	for name, happens := range map[string]func(*testing.T, *wire){
		"idle for long enough":           func(*testing.T, *wire) {},
		"closed with all others":         func(_ *testing.T, w *wire) { w.link.Load().closeUsed() },
		"of an upstream that is no more": func(_ *testing.T, w *wire) { w.retire() },
		"taken by who leaves": func(t *testing.T, w *wire) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			go func() { // ends with its connection
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, "POST", "http://up.example/", strings.NewReader("another"))
				if _, err := w.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) { //nolint:bodyclose // there is none
					t.Errorf("the other request ended with %v, want its time over", err)
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, _ := inMemory(t, idle, 0)
				resp, err := postTraced(t, w, "http://up.example/", &httptrace.ClientTrace{PutIdleConn: func(error) {
					happens(t, w)
					time.Sleep(idle + time.Second)
				}})
				if err != nil || resp.StatusCode != 204 {
					t.Errorf("the answer was lost: %v", err)
				}
				if _, err := post(t, w, "http://up.example/"); err != nil {
					t.Errorf("the next request: %v", err)
				}
			})
		})
	}
}

func TestPool_ClosesWhatNobodyUses(t *testing.T) {
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
func TestPool_ClosesWhatIsOlderThanItsTimerKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened, ended := inMemory(t, time.Minute, 0)
		for range 3 {
			if _, err := post(t, w, "http://up.example/"); err != nil {
				t.Fatal(err)
			}
			for _, m := range w.link.Load().pool.all() {
				m.since = m.since.Add(-time.Hour)
			}
		}
		if opened() != 3 || len(ended) != 2 {
			t.Errorf("%d connections were opened, %d closed; want 3, 2", opened(), len(ended))
		}
	})
}

func TestPool_RetiredKeepsNothing(t *testing.T) {
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
		if opened() != 3 || len(ended) != 3 || len(w.link.Load().pool.all()) != 0 {
			t.Errorf("of %d connections %d were closed, %d are known of; want 3, 3, 0", opened(), len(ended), len(w.link.Load().pool.all()))
		}
	})
}

// A connection may be closed for being idle when a request has it already.
func TestPool_WhatCouldNotBeWrittenIsUnsent(t *testing.T) {
	address, accepted := serving(t, answerTo(noContent))
	w := made(t, TransportConfig{Private: true})
	closing := func() (kept bool, err error) { // the first connection that the request gets
		first := true
		_, err = postTraced(t, w, "http://"+address+"/", &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			if first {
				first, kept = false, info.Reused
				_ = info.Conn.Close()
			}
		}})
		return kept, err
	}
	if kept, err := closing(); kept || !isUnsent(err) || !mayPass(err) {
		t.Errorf("on a new connection: %v, want it unsent", err)
	}
	lost := 0
	for range 20 {
		if _, err := post(t, w, "http://"+address+"/"); err != nil {
			t.Fatal(err)
		}
		kept, err := closing()
		switch {
		case kept && err != nil:
			t.Errorf("on a kept connection: %v, want another tried", err)
		case !kept && (!isUnsent(err) || !mayPass(err)):
			t.Errorf("on a new connection: %v, want it unsent", err)
		case !kept: // net/http keeps none whose writer had no CPU for 50 ms
			lost++
		}
	}
	if n := accepted.Load(); n < 22 || n > 22 && lost == 0 {
		t.Errorf("%d connections, %d of which were not kept; want 22", n, lost)
	}
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
func TestPool_TakesLeaveOfTLS(t *testing.T) {
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
	w.link.Load().closeUsed()
	if n := <-ended; n == 0 {
		t.Error("the connection ended without a word")
	}
}

// When one connection broke the others are as old, but those that are new: for each of
// them a request may wait.
func TestPool_SparesWhatIsNew(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	p, c := newPool(time.Minute), newEarly(here)
	p.add(c, time.Minute)
	p.closeUsed()
	if len(p.all()) != 1 {
		t.Error("a connection was closed that nobody had used")
	}
	c.take(c)
	c.leave()
	p.closeUsed()
	if len(p.all()) != 0 {
		t.Error("a connection was kept that is as old as another that broke")
	}
}
