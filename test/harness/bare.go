package harness

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// BareToken is what other proxies put on requests, to measure bearerd by. It opens
// nothing.
const BareToken = "Bearer placeholder"

// Bare is what bearerd is built on, a ReverseProxy set up as well as it can be, in front
// of base; settings are for its TLS, nil the usual. It speaks HTTP/2 with who offers that
// over TLS. Release lets go of its connections.
func Bare(base *url.URL, settings *tls.Config) (handler http.Handler, release func()) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true, TLSClientConfig: settings, ForceAttemptHTTP2: true}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Header.Set("Authorization", BareToken)
		},
		Transport:  transport,
		BufferPool: &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}, transport.CloseIdleConnections
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return b.pool.Get().(*[32 << 10]byte)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }

// errTooLong is that a message does not fit.
var errTooLong = errors.New("the message is longer than the buffer")

// ReadMessage reads a request or an answer with a Content-Length, or without a body,
// into room, where it must fit. It returns the first line, and how many bytes the body
// has. It allocates nothing, so that all that is allocated meanwhile is a proxy's.
func ReadMessage(from io.Reader, room []byte) (line []byte, size int, err error) {
	for n, whole := 0, 0; ; {
		if n == len(room) {
			return nil, 0, errTooLong
		}
		more, err := from.Read(room[n:])
		n += more
		if whole == 0 {
			if end := bytes.Index(room[:n], []byte("\r\n\r\n")); end >= 0 {
				size = lengthIn(room[:end])
				whole = end + 4 + size
			}
		}
		if whole > 0 && n >= whole {
			return room[:bytes.IndexByte(room, '\r')], size, nil
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

var lengthName = []byte("content-length:")

// lengthIn is what Content-Length in a head says; 0 without one.
func lengthIn(head []byte) (length int) {
	for {
		at := bytes.IndexByte(head, '\n')
		if at < 0 {
			return 0
		}
		head = head[at+1:]
		if len(head) > len(lengthName) && bytes.EqualFold(head[:len(lengthName)], lengthName) {
			break
		}
	}
	for _, c := range head[len(lengthName):] {
		switch {
		case '0' <= c && c <= '9':
			length = 10*length + int(c-'0')
		case c != ' ':
			return length
		}
	}
	return length
}
