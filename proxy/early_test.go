package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"bearerd/proxy"
)

// hasty is an upstream that answers as soon as it has read so much of a body, and
// closes the connection under the rest.
func hasty(t *testing.T, read int64, answer string, closes func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // until the listener closes
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReaderSize(conn, 512)
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				if req.Header.Get("Expect") != "" && read > 0 {
					_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
				}
				_, _ = io.CopyN(io.Discard, req.Body, read)
				_, _ = io.WriteString(conn, answer)
				closes(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return "http://" + l.Addr().String()
}

// An upstream may say what it thinks of an upload before it has all of it, and read no more.
func TestForward_AnEarlyAnswerToAnUploadReachesTheCaller(t *testing.T) {
	const answer = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
	for _, tt := range []struct {
		name   string
		read   int64
		closes func(*net.TCPConn)
	}{
		{"in good order", 100_000, func(c *net.TCPConn) {
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}},
		{"at once", 100_000, func(c *net.TCPConn) { _ = c.Close() }},
		{"at once, before any of it", 0, func(c *net.TCPConn) { _ = c.Close() }},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %v", tt.name, chunked), func(t *testing.T) {
				r := newRig(t, limited(to(t, hasty(t, tt.read, answer, tt.closes)), proxy.LimitsConfig{}))
				const tries = 10
				seen := 0
				for range tries {
					got := r.upload(4<<20, chunked)
					if got.status == 413 && got.body == "big" && got.code() == "" {
						seen++
					} else {
						t.Logf("answered %d %s %q", got.status, got.code(), got.body)
					}
				}
				if seen != tries {
					t.Errorf("the caller got the upstream's answer %d times of %d", seen, tries)
				}
			})
		}
	}
}
