//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// child is what a process of ours is that bench started: it says where it listens, and
// ends when its standard input does.
func child(role string, args []string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	failed := make(chan error, 1)
	go func() { // ends with the process
		failed <- serveAs(role, args, l)
	}()
	ended := make(chan struct{})
	go func() { // likewise
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

func serveAs(role string, args []string, l net.Listener) error {
	switch role {
	case "upstream": // SIZE tls|plain
		size, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		if args[1] == "tls" {
			l = tls.NewListener(l, upstreamTLS())
		}
		return serveUpstream(l, answer(size))
	case "naive", "tuned": // URL
		base, err := url.Parse(args[0])
		if err != nil {
			return err
		}
		if role == "naive" {
			return http.Serve(l, naive(base)) //nolint:gosec // it is what it is
		}
		debug.SetGCPercent(400)
		return http.Serve(l, tuned(base)) //nolint:gosec // likewise
	}
	return errors.New("no such role: " + role)
}

// upstreamTLS is the certificate that httptest has, for 127.0.0.1.
func upstreamTLS() *tls.Config {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13}
}

// answer is a whole answer with 14 headers and so many bytes of body.
func answer(size int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: Wed, 25 Nov 2026 12:00:00 GMT\r\n", size)
	for i := range 11 {
		fmt.Fprintf(&b, "X-Answer-%d: 3f1c9a5e-6f1d-4a43-8e4d\r\n", i)
	}
	b.WriteString("\r\n" + strings.Repeat("j", size))
	return []byte(b.String())
}

// serveUpstream answers every request alike, at as little cost as there can be.
func serveUpstream(l net.Listener, whole []byte) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the connection
			defer func() { _ = c.Close() }()
			room := make([]byte, 64<<10)
			for {
				if _, _, err := readMessage(c, room); err != nil {
					return
				}
				if _, err := c.Write(whole); err != nil {
					return
				}
			}
		}()
	}
}

// errTooLong is that a message does not fit.
var errTooLong = errors.New("the message is longer than the buffer")

// readMessage reads a request or an answer with a length, or none, and returns its
// first line and how long the rest is. It allocates nothing.
func readMessage(c io.Reader, room []byte) (line []byte, size int, err error) {
	for n, whole := 0, 0; ; {
		if n == len(room) {
			return nil, 0, errTooLong
		}
		more, err := c.Read(room[n:])
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

const placeholder = "Bearer placeholder"

// naive is what one writes first.
func naive(base *url.URL) http.Handler {
	p := httputil.NewSingleHostReverseProxy(base)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trusting()
	p.Transport = transport
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", placeholder)
		p.ServeHTTP(w, r)
	})
}

// tuned is a ReverseProxy set up as well as it can be.
func tuned(base *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Header.Set("Authorization", placeholder)
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true, TLSClientConfig: trusting()},
		BufferPool: &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}
}

// trusting is for the upstream on this machine, whose certificate is everybody's.
func trusting() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // see above
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return b.pool.Get().(*[32 << 10]byte)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
