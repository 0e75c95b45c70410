package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// trip watches one round trip of the transport, which by itself tries one kept
// connection after the other: what net/http takes for idempotent it would send on each
// of them, for as long as they break. Here it may as long as nothing of the request
// left. The rest is for repeat to decide.
type trip struct {
	within    tripContext
	trace     httptrace.ClientTrace
	connected atomic.Bool // by the last attempt
	kept      bool        // its connection had been used before

	conn   *early // its connection; nil with HTTP/2, where streams that were refused did nothing
	before int64  // what conn had sent already

	ends atomic.Int32 // of the two that its connection is left after: the answer was read to its end, and is in hand
	left sync.Once
}

// tripContext is the context of a request that a trip watches, and part of that.
type tripContext struct {
	context.Context
	t *trip
}

type tripKey struct{}

func (c *tripContext) Value(key any) any {
	if key == (tripKey{}) {
		return c.t
	}
	return c.Context.Value(key)
}

// errBrokeAgain is that the transport would send again what had left already.
var errBrokeAgain = errors.New("a kept connection broke under the request")

// follow returns the trip of a request, and a copy of the request that the trip
// watches, within the context that the request came in with.
func follow(req *http.Request) (*trip, *http.Request) {
	var t *trip
	within := req.Context()
	if x, known := within.Value(exchangeKey{}).(*Exchange); known {
		within = x.ctx
		if x.trip.within.t == nil {
			t = &x.trip
		}
	}
	if t == nil {
		t = new(trip)
	}
	t.within = tripContext{within, t}
	t.trace = httptrace.ClientTrace{GotConn: t.gotConn, PutIdleConn: t.putIdle}
	return t, req.WithContext(httptrace.WithClientTrace(&t.within, &t.trace))
}

// mayAttempt is called before the transport looks for a connection, for the first time
// and again. It returns an error if it may not.
func mayAttempt(req *http.Request) error {
	t, _ := req.Context().Value(tripKey{}).(*trip)
	if t == nil {
		return nil // of a token endpoint
	}
	if t.conn != nil && t.conn.sent.Load() > t.before {
		return errBrokeAgain // and connected stays: the upstream may have it
	}
	t.connected.Store(false)
	return nil
}

func (t *trip) gotConn(info httptrace.GotConnInfo) {
	t.connected.Store(true)
	conn := earlyOf(info.Conn)
	if conn != nil {
		conn.take(info.Conn)
	}
	t.kept, t.conn = info.Reused, conn
	if conn != nil {
		t.before = conn.sent.Load()
	}
}

// sentNothing reports that nothing of the request left by its connection.
func (t *trip) sentNothing() bool { return t.conn != nil && t.conn.sent.Load() == t.before }

// putIdle is told when the answer was read to its end, and by err whether the
// connection can be used again. If it has no body that is before it is handed over.
func (t *trip) putIdle(err error) {
	if err == nil {
		t.end()
	}
}

// end is called for each of the two ends.
func (t *trip) end() {
	if t.ends.Add(1) == 2 && t.conn != nil {
		t.left.Do(t.conn.leave)
	}
}

// fail is for a round trip that came to nothing, and closed its connection.
func (t *trip) fail() {
	if t.conn != nil {
		t.left.Do(t.conn.drop)
	}
}

// earlyOf is what of a connection in HTTP/1 is beneath TLS.
func earlyOf(conn net.Conn) *early {
	for {
		secured, ok := conn.(*tls.Conn)
		if !ok {
			break
		}
		if secured.ConnectionState().NegotiatedProtocol == "h2" {
			return nil
		}
		conn = secured.NetConn()
	}
	plain, _ := conn.(*early)
	return plain
}
