package accepting_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bearerd/test/harness"
)

// whole answers /WAY with all that it says, or with what has no end.
func whole(conn *net.TCPConn, path string) {
	head, body := "Connection: close\r\n", ""
	switch path {
	case "/length", "/chunked", "/closing":
		framing := framings[path[1:]]
		head, body = framing.head, framing.body
		if path == "/chunked" {
			body += "0\r\n\r\n"
		}
	case "/mebibyte":
		body = strings.Repeat("x", 1<<20)
	case "/more":
		body = strings.Repeat("x", 1<<20+1)
	case "/events":
		head += "Content-Type: text/event-stream\r\n"
	case "/nothing":
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head+"\r\n"+body)
}

// TestWhole_InHTTP10OverASocketAnswersHaveALength: a unix socket cannot be reset, so
// that an answer that ends with the connection could be half of one.
func TestWhole_InHTTP10OverASocketAnswersHaveALength(t *testing.T) {
	certificate, key := harness.NewAuthority(t).IssueServer()
	config := strings.Replace(fmt.Sprintf(threeListeners, serveRaw(t, whole)), "[GET]", "[GET, POST]", 1)
	b := harness.Start(t, config, harness.File("server.pem", certificate), harness.File("server-key.pem", key))
	for _, tt := range []struct {
		request, network string
		length           int64 // -1: none said
		read             int   // -1: any
		code             string
	}{
		{"GET /up/length HTTP/1.0", "unix", wholeAnswer, wholeAnswer, ""},
		{"GET /up/chunked HTTP/1.0", "unix", wholeAnswer, wholeAnswer, ""},
		{"GET /up/closing HTTP/1.0", "unix", wholeAnswer, wholeAnswer, ""},
		{"GET /up/mebibyte HTTP/1.0", "unix", 1 << 20, 1 << 20, ""},
		{"GET /up/nothing HTTP/1.0", "unix", -1, 0, ""},
		{"GET /up/empty HTTP/1.0", "unix", 0, 0, ""},
		{"GET /up/more HTTP/1.0", "unix", -1, -1, "upstream_invalid"},
		{"GET /up/events HTTP/1.0", "unix", -1, -1, "upstream_invalid"},
		{"POST /up/more HTTP/1.0", "unix", -1, -1, "outcome_unknown"},
		{"GET /up/more HTTP/1.1", "unix", -1, 1<<20 + 1, ""},
		{"GET /up/more HTTP/1.0", "tcp", -1, 1<<20 + 1, ""},
		{"GET /up/chunked HTTP/1.0", "tcp", -1, wholeAnswer, ""},
		{"GET /up/chunked HTTP/1.1\r\nConnection: close", "tcp", -1, wholeAnswer, ""},
	} {
		address := strings.TrimPrefix(b.URL, "http://")
		if tt.network == "unix" {
			address = filepath.Join(b.Dir, "b.sock")
		}
		conn, err := net.Dial(tt.network, address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, tt.request+"\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s over %s: %v", tt.request, tt.network, err)
		}
		body, err := io.ReadAll(resp.Body)
		code := resp.Header.Get("Bearerd-Error")
		if err != nil || code != tt.code || tt.read >= 0 && len(body) != tt.read {
			t.Errorf("%s over %s: %d bytes and code %q (%v), want %d and %q", tt.request, tt.network, len(body), code, err, tt.read, tt.code)
		}
		if code == "" && resp.StatusCode == 200 && resp.ContentLength != tt.length {
			t.Errorf("%s over %s: a length of %d, want %d", tt.request, tt.network, resp.ContentLength, tt.length)
		}
		if chunked := len(resp.TransferEncoding) > 0; chunked != (strings.Contains(tt.request, "HTTP/1.1") && tt.length < 0) {
			t.Errorf("%s over %s: chunked is %v", tt.request, tt.network, chunked)
		}
		_ = conn.Close()
	}
}
