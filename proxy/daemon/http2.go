package daemon

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync"
)

// bounds2 are what a connection in HTTP/2 may cost. What is held of bodies that nobody
// reads is of all its streams together, so that it takes several to keep the others
// waiting.
var bounds2 = http.HTTP2Config{
	MaxConcurrentStreams:          100, // RFC 9113 §6.5.2 asks for no fewer
	MaxReadFrameSize:              16 << 10,
	MaxReceiveBufferPerStream:     128 << 10,
	MaxReceiveBufferPerConnection: 512 << 10,
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
	}
	streams.TLSNextProto["h2"](server, outer, handler)
}
