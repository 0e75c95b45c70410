package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// trip watches one round trip of the transport, which by itself tries one kept
// connection after the other: what net/http takes for idempotent it would send on each
// of them, for as long as they break. Here it may as long as nothing of the request
// left. The rest is for repeat to decide.
type trip struct {
	connected atomic.Bool // by the last attempt
	kept      bool        // its connection had been used before

	conn   *early // its connection; nil with HTTP/2, where streams that were refused did nothing
	before int64  // what conn had sent already
}

type tripKey struct{}

// errBrokeAgain is that the transport would send again what had left already.
var errBrokeAgain = errors.New("a kept connection broke under the request")

// follow returns the trip of a request, and a copy of the request that the trip
// watches, within the context that the request came in with.
func follow(req *http.Request) (*trip, *http.Request) {
	t := new(trip)
	within := req.Context()
	if x, known := within.Value(exchangeKey{}).(*Exchange); known {
		within = x.ctx
	}
	within = httptrace.WithClientTrace(context.WithValue(within, tripKey{}, t), &httptrace.ClientTrace{GotConn: t.gotConn})
	return t, req.WithContext(within)
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
	t.kept, t.conn = info.Reused, conn
	if conn != nil {
		t.before = conn.sent.Load()
	}
}

// sentNothing reports that nothing of the request left by its connection.
func (t *trip) sentNothing() bool { return t.conn != nil && t.conn.sent.Load() == t.before }

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
