//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"

	"bearerd/test/harness"
)

// child is what a process of ours is that bench started: it says where it listens, and
// for each line of its standard input how many connections it has accepted. It ends
// when that does.
func child(role string, args []string) error {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l := &counting{Listener: inner}
	fmt.Println(l.Addr())
	failed := make(chan error, 1)
	go func() { // ends with the process
		failed <- serveAs(role, args, l)
	}()
	ended := make(chan struct{})
	go func() { // likewise
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(l.accepted.Load())
		}
		close(ended)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

// counting counts what it accepts.
type counting struct {
	net.Listener
	accepted atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.accepted.Add(1)
	}
	return conn, err
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
		handler, _ := harness.Bare(base, trusting())
		return http.Serve(l, handler) //nolint:gosec // likewise
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
				if _, _, err := harness.ReadMessage(c, room); err != nil {
					return
				}
				if _, err := c.Write(whole); err != nil {
					return
				}
			}
		}()
	}
}

// naive is what one writes first.
func naive(base *url.URL) http.Handler {
	p := httputil.NewSingleHostReverseProxy(base)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trusting()
	p.Transport = transport
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", harness.BareToken)
		p.ServeHTTP(w, r)
	})
}

// trusting is for the upstream on this machine, whose certificate is everybody's.
func trusting() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // see above
}
