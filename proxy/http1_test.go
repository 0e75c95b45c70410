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
	"net/url"
	"sync"
	"sync/atomic"
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
