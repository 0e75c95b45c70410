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
	connected atomic.Bool // by the last attempt
	kept      bool        // its connection had been used before

	cancel context.CancelCauseFunc
	conn   *early // its connection; nil with HTTP/2, where streams that were refused did nothing
	before int64  // what conn had sent already

	ends atomic.Int32 // of the two that its connection is left after: the answer was read to its end, and is in hand
	left sync.Once
}

// errBrokeAgain is that the transport would send again what had left already.
var errBrokeAgain = errors.New("a kept connection broke under the request")

// follow returns a request that t watches. What it takes ends with the request's context.
func (t *trip) follow(req *http.Request) *http.Request {
	ctx, cancel := context.WithCancelCause(req.Context())
	t.cancel = cancel
	return req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:     func(string) { t.connected.Store(false) },
		GotConn:     t.gotConn,
		PutIdleConn: t.putIdle,
	}))
}

func (t *trip) gotConn(info httptrace.GotConnInfo) {
	t.connected.Store(true)
	conn := earlyOf(info.Conn)
	if conn != nil {
		conn.take(info.Conn)
	}
	if t.conn != nil && t.conn.sent.Load() > t.before {
		t.cancel(errBrokeAgain)
		_ = info.Conn.Close() // the transport may write before it looks at the context
		return
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
