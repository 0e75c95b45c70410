package daemon

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync"
)

// bounds2 are what a connection in HTTP/2 may cost. What is held of bodies that nobody
// reads is of all its streams together: it takes 63 that are stuck to keep the others
// waiting, and net/http allows no more.
var bounds2 = http.HTTP2Config{
	MaxConcurrentStreams:          100, // RFC 9113 §6.5.2 asks for no fewer
	MaxReadFrameSize:              16 << 10,
	MaxReceiveBufferPerStream:     64 << 10,
	MaxReceiveBufferPerConnection: 63 * 64 << 10,
}

// serveStreams serves a connection in HTTP/2. It is for http.Server's TLSNextProto.
//
// To tell a caller by GOAWAY to send nothing new, net/http has http.Server.Shutdown
// alone, which tells all, and closes connections in HTTP/1.1 under the next request.
// So HTTP/2 is that of a server which has nothing but this connection.
func serveStreams(server *http.Server, outer *tls.Conn, handler http.Handler) {
	streams := &http.Server{IdleTimeout: server.IdleTimeout}
	_ = streams.ServeTLS(nil, "", "") // sets HTTP/2 up, and ends for want of a certificate
	if c := connOf(outer); c != nil {
		c.setStreams(sync.OnceFunc(func() { _ = streams.Shutdown(context.Background()) })) // it waits for nothing
		handler = bounded{handler, c}
	}
	streams.TLSNextProto["h2"](server, outer, handler)
}

// bounded is the handler of one connection in HTTP/2. A request that is too much is
// reset, as an answer may be the very thing that gets stuck.
type bounded struct {
	http.Handler
	conn *conn
}

func (h bounded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answered, ok := h.conn.ask()
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer answered()
	h.Handler.ServeHTTP(w, r)
	_ = http.NewResponseController(w).Flush() // or net/http would wait for who takes nothing after this
}

// BaseContext is for net/http, which asks the handler that it made for what belongs to
// the connection.
func (h bounded) BaseContext() context.Context {
	if own, ok := h.Handler.(interface{ BaseContext() context.Context }); ok {
		return own.BaseContext()
	}
	return context.Background()
}
