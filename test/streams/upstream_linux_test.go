package streams_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// store is an upstream that gives away and takes in zeros.
type store struct {
	url      string
	refusals atomic.Pointer[refusal] // what is answered to the next request; nil: as usual
	asked    atomic.Int64
	received atomic.Int64 // bytes of bodies
}

// refusal is an answer before anything of the body was read.
type refusal struct{ answer string }

func newStore(t *testing.T) *store {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{url: "http://" + l.Addr().String()}
	var serving sync.WaitGroup
	var conns sync.Map
	serving.Go(func() { // until the listener closes
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, true)
			serving.Go(func() { s.serve(conn) }) // until the connection ends
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Range(func(conn, _ any) bool { return conn.(net.Conn).Close() == nil })
		serving.Wait()
	})
	return s
}

func (s *store) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		s.asked.Add(1)
		if refused := s.refusals.Swap(nil); refused != nil {
			_, _ = io.WriteString(conn, refused.answer)
			if strings.Contains(refused.answer, "Connection: close") {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
		} else if s.answer(conn, req) != nil {
			return
		}
		// Whatever comes of a body that was refused counts, too.
		n, err := io.Copy(io.Discard, req.Body)
		s.received.Add(n)
		if err != nil || req.Close {
			return
		}
	}
}

// answer takes in what it is sent, and gives as many bytes as the path says.
func (s *store) answer(conn net.Conn, req *http.Request) error {
	if req.Header.Get("Expect") != "" {
		if _, err := io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	n, err := io.Copy(io.Discard, req.Body)
	if err != nil {
		return err
	}
	s.received.Add(n)
	kind, text, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	size, _ := strconv.ParseInt(text, 10, 64)
	connection := "keep-alive"
	if req.Close {
		connection = "close"
	}
	const piece = 64 << 10
	zeros := make([]byte, piece)
	framing, before, behind, end := fmt.Sprintf("Content-Length: %d", size), "", "", ""
	if kind == "chunked" {
		framing, before, behind, end = "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n", piece), "\r\n", "0\r\n\r\n"
	}
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: %s\r\n%s\r\n\r\n", connection, framing); err != nil {
		return err
	}
	for ; size > 0; size -= piece { // which sizes are multiples of
		pieces := net.Buffers{[]byte(before), zeros, []byte(behind)}
		if _, err := pieces.WriteTo(conn); err != nil {
			return err
		}
	}
	_, err = io.WriteString(conn, end)
	return err
}
