//go:build linux

package main

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"bearerd/test/harness"
)

// protocol is what an upstream speaks: HTTP/1.1, the same over TLS, or HTTP/2 alone.
type protocol string

const (
	plain   protocol = "plain"
	secured protocol = "tls"
	http2   protocol = "tls2"
)

func (p protocol) scheme() string {
	if p == plain {
		return "http"
	}
	return "https"
}

// serveUpstream answers every request alike, with so many bytes.
func serveUpstream(l net.Listener, size int, p protocol) error {
	switch p {
	case http2:
		only := new(http.Protocols)
		only.SetHTTP2(true)
		server := http.Server{Handler: answers(size), TLSConfig: upstreamTLS("h2"), Protocols: only, ReadHeaderTimeout: patience}
		server.ErrorLog = log.New(io.Discard, "", 0) // of connections that a proxy did not need after all
		return server.ServeTLS(l, "", "")
	case secured:
		l = tls.NewListener(l, upstreamTLS("http/1.1"))
	}
	return serveRaw(l, answer(size))
}

// upstreamTLS is the certificate that httptest has, for 127.0.0.1.
func upstreamTLS(protocols ...string) *tls.Config {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: protocols, MinVersion: tls.VersionTLS13}
}

// authorityPEM is the certificate of the upstream, which signed itself.
func authorityPEM() string {
	pair := upstreamTLS().Certificates[0]
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
}

// What an answer has beside its body: 14 headers, with its length.
const (
	answerDate   = "Wed, 25 Nov 2026 12:00:00 GMT"
	answerHeader = "3f1c9a5e-6f1d-4a43-8e4d"
	answerCount  = 11 // of those headers
)

// answer is a whole answer, with so many bytes of body.
func answer(size int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %s\r\n", size, answerDate)
	for i := range answerCount {
		fmt.Fprintf(&b, "X-Answer-%d: %s\r\n", i, answerHeader)
	}
	b.WriteString("\r\n" + strings.Repeat("j", size))
	return []byte(b.String())
}

// serveRaw answers at as little cost as there can be.
func serveRaw(l net.Listener, whole []byte) error {
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

// answers is the same for HTTP/2, by net/http.
func answers(size int) http.Handler {
	body := []byte(strings.Repeat("j", size))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("Content-Length", strconv.Itoa(size))
		header.Set("Date", answerDate)
		for i := range answerCount {
			header.Set("X-Answer-"+strconv.Itoa(i), answerHeader)
		}
		_, _ = w.Write(body) // a proxy that went away is told of by its caller
	})
}

// serveStore answers a GET with as many bytes as the path says, and swallows all else.
func serveStore(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		_, _ = io.Copy(io.Discard, r.Body) // who sends it knows best whether all of it went
		return
	}
	size, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/")) // what is no number is 0
	w.Header().Set("Content-Length", strconv.Itoa(size))
	chunk := make([]byte, 64<<10)
	for left := size; left > 0; left -= len(chunk) {
		if _, err := w.Write(chunk[:min(left, len(chunk))]); err != nil {
			return
		}
	}
}
