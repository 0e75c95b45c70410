package daemon

import (
	"context"
	"crypto/tls"
	"net/http"
)

// bounds2 are what a connection in HTTP/2 may cost. Of bodies that nobody reads as
// much is held as connReceive, so that it takes several to keep the others waiting.
var bounds2 = http.HTTP2Config{
	MaxConcurrentStreams:          100, // RFC 9113 §6.5.2 asks for no fewer
	MaxReadFrameSize:              16 << 10,
	MaxReceiveBufferPerStream:     128 << 10,
	MaxReceiveBufferPerConnection: 512 << 10,
}

// speakHTTP2 has a server speak HTTP/2 to those who agreed on it within TLS. What it
// returns tells all of them, by GOAWAY, to send nothing new: what they have sent is
// answered, and then their connections end. http.Server.Shutdown would do so too, but
// close connections in HTTP/1.1 under the next request. So net/http's HTTP/2 belongs
// to a server of its own here, which serves nothing else.
func speakHTTP2(server *http.Server) (goAway func()) {
	streams := &http.Server{IdleTimeout: server.IdleTimeout}
	_ = streams.ServeTLS(nil, "", "") // sets HTTP/2 up, and ends for want of a certificate
	speak := streams.TLSNextProto["h2"]
	server.HTTP2 = &bounds2
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(server *http.Server, outer *tls.Conn, handler http.Handler) {
			if c := connOf(outer); c != nil {
				c.setStreams()
			}
			speak(server, outer, handler)
		},
	}
	return func() { _ = streams.Shutdown(context.Background()) } // which has nothing to wait for
}

// goAway tells callers in HTTP/2 to send nothing new on the connections they have.
func (d *daemon) goAway() {
	for _, tell := range d.goAways {
		tell()
	}
}
