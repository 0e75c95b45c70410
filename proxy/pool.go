package proxy

import (
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pool is one transport's connections in HTTP/1, as seen from beneath it. It lets go
// of those that nobody uses, in place of the transport, and sees to it that each is one
// request's at a time.
//
// By itself the transport may lose an answer that it has: where there is no body, it
// counts a connection as idle a moment before it hands the answer over, and forgets the
// answer if the connection is closed in that moment: by its timer, which runs on while
// a request is under way; by CloseIdleConnections; or since the next request, which has
// the connection already, is cancelled. (Go 1.26, net/http, persistConn.readLoop.) To
// close beneath it takes nothing from an answer that was read, and a request that is
// about to be written finds that it cannot be, for which the transport takes another
// connection.
type pool struct {
	idle time.Duration // that a connection is kept for

	retired atomic.Bool
	mu      sync.Mutex // guards the field below
	members map[*member]struct{}
}

func newPool(idle time.Duration) *pool {
	return &pool{idle: idle, members: map[*member]struct{}{}}
}

// member is a connection of a pool. A nil one is in none.
type member struct {
	pool  *pool
	timer *time.Timer

	turn  chan struct{} // has one element while somebody has the connection, whose the fields below are then
	conn  net.Conn      // as it is to be closed: with TLS around it
	used  bool
	since time.Time // it is idle
}

// add makes a connection a member. It is closed if nobody takes it for so much longer
// than others are kept.
func (p *pool) add(c *early, longer time.Duration) {
	if p == nil {
		return
	}
	m := &member{pool: p, turn: make(chan struct{}, 1), conn: c, since: time.Now().Add(longer)}
	c.member = m
	m.timer = time.AfterFunc(p.idle+longer, m.closeIdle)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members[m] = struct{}{}
}

// remove is for a connection that is closed.
func (m *member) remove() {
	if m == nil {
		return
	}
	m.timer.Stop()
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	delete(m.pool.members, m)
}

// take is for a request that is about to be written. It waits for the one before to
// have its answer. Where the machine has slept in between, the connection may be older
// than the timer knows, and is closed.
func (m *member) take(conn net.Conn) {
	if m == nil {
		return
	}
	m.turn <- struct{}{}
	m.timer.Stop()
	m.used, m.conn = true, conn
	if time.Now().Round(0).Sub(m.since.Round(0)) > m.pool.idle {
		_ = m.conn.Close()
	}
}

// leave is for who took it and leaves it to others.
func (m *member) leave() {
	if m == nil {
		return
	}
	m.since = time.Now()
	m.timer.Reset(m.pool.idle)
	m.drop()
	if m.pool.retired.Load() {
		m.closeIdle()
	}
}

// drop is for who took it and broke it.
func (m *member) drop() {
	if m != nil {
		<-m.turn
	}
}

// closeIdle closes the connection unless somebody has it.
func (m *member) closeIdle() {
	select {
	case m.turn <- struct{}{}:
		_ = m.conn.Close()
		<-m.turn
	default:
	}
}

// closeUsed is closeIdle but for a connection that is new, for which somebody may wait.
func (m *member) closeUsed() {
	select {
	case m.turn <- struct{}{}:
		if m.used {
			_ = m.conn.Close()
		}
		<-m.turn
	default:
	}
}

// all are its members for now.
func (p *pool) all() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.members))
}

// closeUsed closes the idle connections but those that are new.
func (p *pool) closeUsed() {
	for _, m := range p.all() {
		m.closeUsed()
	}
}

// retire closes the idle connections, and the others as soon as they are left.
func (p *pool) retire() {
	p.retired.Store(true)
	for _, m := range p.all() {
		m.closeIdle()
	}
}
