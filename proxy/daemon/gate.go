package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// quiet is how long nobody may have come for a listener to be taken for one that
// nobody waits at.
const quiet = 20 * time.Millisecond

// gate is a listener whose connections are counted. It stands below TLS, and loses
// none that was connected when it is closed.
type gate struct {
	net.Listener
	all     *connections
	name    string // what the configuration calls it
	tls     bool
	trusted atomic.Pointer[[]netip.Prefix] // proxies, which are not bounded by peer

	leaving  atomic.Bool
	empty    chan struct{} // closed when nobody waits any more
	closed   chan struct{}
	closing  sync.Once
	emptying sync.Once
}

func (a *connections) gate(l net.Listener, name string, tls bool, trusted []netip.Prefix) *gate {
	g := &gate{Listener: l, all: a, name: name, tls: tls, empty: make(chan struct{}), closed: make(chan struct{})}
	g.trusted.Store(&trusted)
	return g
}

// Accept returns the next connection that is not too much.
func (g *gate) Accept() (net.Conn, error) {
	for unused := 0; ; {
		if g.leaving.Load() {
			g.expire(quiet)
		}
		accepted, err := g.Listener.Accept()
		switch {
		case err == nil:
			unused = 0
			if c := g.all.admit(g, accepted); c != nil {
				return c, nil
			}
		case !g.leaving.Load():
			g.all.failed(g, err)
			return nil, err
		case errors.Is(err, os.ErrDeadlineExceeded) && unused == 0:
			unused++ // it may have expired before it looked
		default:
			g.emptying.Do(func() { close(g.empty) })
			<-g.closed // until then the server goes on as if nothing were
			return nil, net.ErrClosed
		}
	}
}

// leave lets nobody new connect, and when all who had were accepted, or ctx is done,
// takes the listener away. The server is not told: it would drop what it has not
// begun to serve.
func (g *gate) leave(ctx context.Context) {
	if _, ok := g.Listener.(*lasting); ok {
		// Nobody who waits is lost with a socket that outlives us, and new ones do not
		// cease to come: all who are not accepted yet are the next process's.
		g.leaving.Store(true)
		_ = g.Listener.Close()
		return
	}
	if socket, ok := g.Listener.(*socket); ok {
		socket.withdraw()
	} else {
		refuseNew(g.Listener)
	}
	g.leaving.Store(true)
	g.expire(quiet) // for an Accept that waits already
	select {
	case <-g.empty:
	case <-g.closed:
	case <-ctx.Done():
	}
	_ = g.Listener.Close()
}

func (g *gate) expire(after time.Duration) {
	if l, ok := g.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(time.Now().Add(after))
	}
}

// Close ends the listener.
func (g *gate) Close() error {
	g.closing.Do(func() { close(g.closed) })
	return g.Listener.Close()
}
