package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bearerd/proxy"
)

const (
	// shedLinger is how long a connection that was turned away stays, so that what it
	// sends meanwhile does not take the answer away from it.
	shedLinger = 500 * time.Millisecond
	tellEvery  = time.Second // of connections turned away, at most
	// adminConnections is how many connections the admin section's addresses have.
	adminConnections = 128
)

// connectionEvents are told of connections. All must be set.
type connectionEvents struct {
	changed func(listener string, delta int)       // one more or one less is open
	shed    func(listener string)                  // one was turned away
	tell    func(listener, limit string, shed int) // so many since the last time; once in a while
	failed  func(listener string, err error)       // one could not be accepted; once in a while
}

// connections are those that are open on some listeners. They are counted all
// together and by peer, and what is too much is turned away. Requests in HTTP/2, of which
// a connection may have many, are counted in the same way, and have the same limits.
type connections struct {
	events connectionEvents

	mu        sync.Mutex // guards the fields below
	limits    proxy.ConnectionLimits
	open      map[*conn]struct{}
	sockets   tally // of those
	streams   tally // of requests in HTTP/2
	lingering int
	untold    int // turned away since it was last told
	toldAt    time.Time
	failedAt  time.Time // when it was last told that none could be accepted
}

func newConnections(limits proxy.ConnectionLimits, events connectionEvents) *connections {
	return &connections{events: events, limits: limits, open: map[*conn]struct{}{}}
}

// tally is how many there are of something, in all and by peer. The peer that is not
// bounded is the zero one.
type tally struct {
	all   int
	peers map[netip.Addr]int
}

// take counts one more, or says which limit is in its way.
func (t *tally) take(peer netip.Addr, limits proxy.ConnectionLimits) (limit string) {
	switch {
	case t.all >= limits.Connections:
		return "connections"
	case peer.IsValid() && t.peers[peer] >= limits.PerPeer:
		return "per_peer"
	}
	t.all++
	if peer.IsValid() {
		if t.peers == nil {
			t.peers = map[netip.Addr]int{}
		}
		t.peers[peer]++
	}
	return ""
}

// leave counts one less.
func (t *tally) leave(peer netip.Addr) {
	t.all--
	if peer.IsValid() {
		if t.peers[peer]--; t.peers[peer] == 0 {
			delete(t.peers, peer)
		}
	}
}

// connectionEvents are for the log and the metrics.
func (d *daemon) connectionEvents() connectionEvents {
	return connectionEvents{
		changed: d.metrics.Connection, shed: d.metrics.Shed,
		tell: func(listener, limit string, shed int) {
			d.log.Warn().Str("address", listener).Str("limit", limit).Int("connections", shed).Msg("too many connections or requests in HTTP/2, turned away")
		},
		failed: func(listener string, err error) {
			d.log.Error().Str("address", listener).AnErr("err", err).Msg("a connection could not be accepted")
		},
	}
}

// use takes other limits. They hold for connections to come.
func (a *connections) use(limits proxy.ConnectionLimits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = limits
}

// most returns how many may be open at once.
func (a *connections) most() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limits.Connections
}

// noteState is for http.Server.ConnState.
func noteState(outer net.Conn, state http.ConnState) {
	if c := connOf(outer); c != nil {
		c.setIdle(state == http.StateIdle)
		if state == http.StateActive {
			c.watch.begin()
		} else {
			c.watch.end()
		}
	}
}

// connOf returns what a gate let in, beneath TLS; nil if none did.
func connOf(outer net.Conn) *conn {
	for {
		if c, ok := outer.(*conn); ok {
			return c
		}
		above, ok := outer.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		outer = above.NetConn()
	}
}

// goAway tells those in HTTP/2 to send nothing new.
func (a *connections) goAway() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.open {
		c.goAway()
	}
}

// leave returns when none is open, or ctx is done. Those that wait for a request are
// ended.
func (a *connections) leave(ctx context.Context) {
	for a.count() > 0 {
		a.mu.Lock()
		for c := range a.open {
			c.leave()
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (a *connections) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open)
}

// cut resets those that are still open, below TLS: an answer that is cut off must not
// look like a whole one.
func (a *connections) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.open {
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
	}
}

// peerOf is what counts as one peer; the zero one for those that are not bounded.
func (g *gate) peerOf(c net.Conn) netip.Addr {
	at, isTCP := c.RemoteAddr().(*net.TCPAddr)
	if !isTCP {
		return netip.Addr{}
	}
	addr := at.AddrPort().Addr().Unmap().WithZone("")
	if addr.IsLoopback() || slices.ContainsFunc(*g.trusted.Load(), func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return netip.Addr{}
	}
	if addr.Is6() { // whoever has one address of it has them all
		return netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}

// admit counts a connection, or turns it away and returns nil.
func (a *connections) admit(g *gate, accepted net.Conn) *conn {
	peer := g.peerOf(accepted)
	c := &conn{Conn: accepted}
	c.ask = func() (answered func(), ok bool) { return a.ask(g, peer) }
	c.closed = func() {
		a.mu.Lock()
		delete(a.open, c)
		a.sockets.leave(peer)
		a.mu.Unlock()
		a.events.changed(g.name, -1)
	}
	a.mu.Lock()
	limit := a.sockets.take(peer, a.limits)
	if limit == "" {
		a.open[c] = struct{}{}
	}
	a.mu.Unlock()
	if limit != "" {
		a.turnAway(g, accepted, limit)
		return nil
	}
	a.events.changed(g.name, 1)
	return c
}

// ask counts a request in HTTP/2 until it is answered, or tells that it is too much.
func (a *connections) ask(g *gate, peer netip.Addr) (answered func(), ok bool) {
	a.mu.Lock()
	limit := a.streams.take(peer, a.limits)
	a.mu.Unlock()
	if limit != "" {
		a.events.shed(g.name)
		a.tell(g, limit)
		return nil, false
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.streams.leave(peer)
	}, true
}

// turnAway answers and closes, and never waits: a new socket has room for the
// answer. Nothing is read, and in TLS nothing can be said.
func (a *connections) turnAway(g *gate, accepted net.Conn, limit string) {
	a.events.shed(g.name)
	a.tell(g, limit)
	if g.tls {
		_ = accepted.Close()
		return
	}
	_ = accepted.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, _ = accepted.Write(proxy.TooMany)
	half, canHalf := accepted.(interface{ CloseWrite() error })
	a.mu.Lock()
	stays := canHalf && a.lingering < lingerers(a.limits.Connections)
	if stays {
		a.lingering++
	}
	a.mu.Unlock()
	if !stays {
		_ = accepted.Close()
		return
	}
	_ = half.CloseWrite()
	time.AfterFunc(shedLinger, func() {
		_ = accepted.Close()
		a.mu.Lock()
		a.lingering--
		a.mu.Unlock()
	})
}

// lingerers is how many that were turned away may stay a moment.
func lingerers(connections int) int { return min(64, 1+connections/16) }

// tell tells that connections were turned away.
func (a *connections) tell(g *gate, limit string) {
	a.mu.Lock()
	a.untold++
	n, due := a.untold, time.Since(a.toldAt) >= tellEvery
	if due {
		a.untold, a.toldAt = 0, time.Now()
	}
	a.mu.Unlock()
	if due {
		a.events.tell(g.name, limit, n)
	}
}

// failed tells that a connection could not be accepted, such as for want of
// descriptors. net/http waits a moment and tries again.
func (a *connections) failed(g *gate, err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	a.mu.Lock()
	due := time.Since(a.failedAt) >= tellEvery
	if due {
		a.failedAt = time.Now()
	}
	a.mu.Unlock()
	if due {
		a.events.failed(g.name, err)
	}
}
