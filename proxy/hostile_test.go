package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hostile is an answer that an upstream should not give, and what becomes of it.
type hostile struct {
	name   string
	method string // default GET
	answer string // as it goes over the wire
	closes bool   // the upstream ends the connection behind it

	// What the caller gets: with code, an answer of bearerd's own; else the status
	// line, the headers but for those of every answer, and the body. With cut the
	// connection breaks off behind that.
	code string
	want string
	cut  bool
	// kept says that the upstream's connection may be used for another request.
	kept bool
}

const ok = "HTTP/1.1 200 OK\r\n"

// hostiles are the attacks by their numbers in the catalogue of which these are tests.
var hostiles = []hostile{
	{name: "G1: early hints with a cookie", answer: "HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok",
		want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G1: a wish to go on that nobody asked for", answer: "HTTP/1.1 100 Continue\r\nSet-Cookie: a=b\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok",
		want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G1: 1xx of every kind", answer: strings.Repeat("HTTP/1.1 102 Processing\r\nX-A: b\r\n\r\nHTTP/1.1 199 Odd\r\nX-A: b\r\n\r\n", 20) + ok + "Content-Length: 2\r\n\r\nok",
		want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G2: trailers, announced and not", answer: ok + "Trailer: Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: a=b\r\nBearerd-Error: denied\r\nAccess-Control-Allow-Origin: *\r\n\r\n",
		want: ok + "\r\nok", kept: true},
	{name: "G3: early hints without end", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n", 20_000), code: "upstream_invalid"},
	{name: "G4: status 000", answer: "HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n", code: "upstream_invalid", kept: true},
	{name: "G4: status 099", answer: "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n", code: "upstream_invalid", kept: true},
	{name: "G4: status of two digits", answer: "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", code: "upstream_invalid"},
	{name: "G4: a negative status", answer: "HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n", code: "upstream_invalid"},
	{name: "G5: status 600", answer: "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n", code: "upstream_invalid", kept: true},
	{name: "G5: status 999", answer: "HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n", code: "upstream_invalid", kept: true},
	{name: "G5: status 1000", answer: "HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n", code: "upstream_invalid"},
	{name: "G6: a length and chunks", answer: ok + "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", want: ok + "\r\nok", kept: true},
	{name: "G6: line feeds alone", answer: "HTTP/1.1 200 OK\nContent-Length: 2\nX-A: b\n\nok", want: ok + "Content-Length: 2\r\nX-A: b\r\n\r\nok", kept: true},
	{name: "G6: a folded line", answer: ok + "Content-Length: 2\r\nX-A: b\r\n Set-Cookie: a=b\r\n\r\nok", want: ok + "Content-Length: 2\r\nX-A: b Set-Cookie: a=b\r\n\r\nok", kept: true},
	{name: "G6: a header folded away", answer: ok + "Content-Length: 2\r\n X-A: b\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: two lengths", answer: ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!", code: "upstream_invalid"},
	{name: "G7: two lengths in a line", answer: ok + "Content-Length: 2, 3\r\n\r\nok!", code: "upstream_invalid"},
	{name: "G7: a negative length", answer: ok + "Content-Length: -2\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: a length with a sign", answer: ok + "Content-Length: +2\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: a length beyond all numbers", answer: ok + "Content-Length: 99999999999999999999\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: a carriage return", answer: ok + "Content-Length: 2\r\nX-A: b\rSet-Cookie: a=b\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: a NUL", answer: ok + "Content-Length: 2\r\nX-A: b\x00\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: a space before the colon", answer: ok + "Content-Length: 2\r\nSet-Cookie : b\r\n\r\nok", want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G7: no colon", answer: ok + "Content-Length: 2\r\nX-A\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: no name", answer: ok + "Content-Length: 2\r\n: b\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: codings nobody knows", answer: ok + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", code: "upstream_invalid"},
	{name: "G7: chunks twice", answer: ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", code: "upstream_invalid"},
	{name: "G7: another protocol", answer: "SSH-2.0-OpenSSH_9.2\r\n\r\n", code: "upstream_invalid"},
	{name: "G7: another version", answer: "HTTP/3.9 200 OK\r\nContent-Length: 2\r\n\r\nok", want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G7: an empty line first", answer: "\r\n" + ok + "Content-Length: 2\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: half a head", answer: ok + "Content-Length: 2\r\n", closes: true, code: "upstream_unreachable"},
	{name: "G7: half a line", answer: ok + "Content-Le", closes: true, code: "upstream_unreachable"},
	{name: "G7: a status line alone", answer: ok, closes: true, code: "upstream_unreachable"},
	{name: "G7: nothing at all", answer: "", closes: true, code: "upstream_unreachable"},
	{name: "G7: a page without a head", answer: "<html>Set-Cookie: a=b</html>\r\n\r\n", closes: true, code: "upstream_invalid"},
	{name: "G7: a head of 300 KB", answer: ok + "X-A: " + strings.Repeat("b", 300_000) + "\r\nContent-Length: 2\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: a head of 300 KB in lines", answer: ok + strings.Repeat("X-A: b\r\n", 40_000) + "Content-Length: 2\r\n\r\nok", code: "upstream_invalid"},
	{name: "G7: a head of 200 KB", answer: ok + "X-A: " + strings.Repeat("b", 200_000) + "\r\nContent-Length: 2\r\n\r\nok",
		want: ok + "Content-Length: 2\r\nX-A: " + strings.Repeat("b", 200_000) + "\r\n\r\nok", kept: true},
	{name: "G8: 204 with a body", answer: "HTTP/1.1 204 No Content\r\n\r\n" + ok + "Content-Length: 6\r\n\r\npoison", want: "HTTP/1.1 204 No Content\r\n\r\n"},
	{name: "G8: 304 with a body", answer: "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\nContent-Length: 6\r\n\r\npoison", want: "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n"},
	{name: "G8: HEAD with a body", method: "HEAD", answer: ok + "Content-Length: 6\r\n\r\npoison", want: ok + "Content-Length: 6\r\n\r\n"},
	{name: "G8: another answer behind the first", answer: ok + "Content-Length: 2\r\n\r\nok" + ok + "Content-Length: 6\r\n\r\npoison", want: ok + "Content-Length: 2\r\n\r\nok"},
	{name: "G9: another protocol that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", code: "upstream_invalid"},
	{name: "G10: a body cut short", answer: ok + "Content-Length: 9\r\n\r\nok", closes: true, want: ok + "Content-Length: 9\r\n\r\nok", cut: true},
	{name: "G10: chunks cut short", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", closes: true, want: ok + "\r\nok", cut: true},
	{name: "G10: a chunk cut short", answer: ok + "Transfer-Encoding: chunked\r\n\r\n9\r\nok", closes: true, want: ok + "\r\nok", cut: true},
	{name: "G10: a chunk that is none", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-2\r\nok\r\n0\r\n\r\n", want: ok + "\r\nok", cut: true},
	{name: "G10: a chunk longer than said", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok!!\r\n0\r\n\r\n", want: ok + "\r\nok", cut: true},
	{name: "G10: trailers that are none", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie\r\n\r\n", want: ok + "\r\nok", cut: true},
	{name: "G11: what is about browsers and credentials", answer: ok + "Content-Length: 2\r\n" + strings.Join(forbiddenLines, "\r\n") + "\r\nX-Kept: b\r\n\r\nok",
		want: ok + "Content-Length: 2\r\nX-Kept: b\r\n\r\nok", kept: true},
	{name: "G11: the same in odd letters", answer: ok + "Content-Length: 2\r\n" + strings.ToLower(strings.Join(forbiddenLines, "\r\n")) + "\r\nX-KEPT: b\r\n\r\nok",
		want: ok + "Content-Length: 2\r\nX-Kept: b\r\n\r\nok", kept: true},
	{name: "G11: what a connection says is its own", answer: ok + "Content-Length: 2\r\nConnection: X-A, Content-Security-Policy\r\nX-A: b\r\nContent-Security-Policy: default-src *\r\nProxy-Connection: a\r\nUpgrade: h2c\r\nTe: trailers\r\n\r\nok",
		want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G11: so is what it names of a stream of events", answer: ok + "Content-Length: 2\r\nConnection: Content-Type\r\nContent-Type: text/event-stream\r\n\r\nok",
		want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G12: every page may read this", answer: ok + "Content-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Invented: a\r\n\r\nok",
		want: ok + "Content-Length: 2\r\n\r\nok", kept: true},
	{name: "G13: the token in a header", answer: ok + "Content-Length: 2\r\nX-Debug: Bearer " + stamped + "\r\n\r\nok", code: "upstream_invalid"},
	{name: "G14: a page", answer: ok + "Content-Length: 9\r\nContent-Type: text/html\r\nX-Content-Type-Options: no\r\nContent-Security-Policy: default-src *\r\nCross-Origin-Resource-Policy: cross-origin\r\n\r\n<script/>",
		want: ok + "Content-Length: 9\r\nContent-Type: text/html\r\n\r\n<script/>", kept: true},
	{name: "G15: what an error would quote", answer: "HTTP/1.1 200 OK\r\nX-A: b\x01" + secretBytes + "\r\n" + secretBytes + "\r\n\r\n", code: "upstream_invalid"},
	{name: "an error that is not bearerd's", answer: "HTTP/1.1 403 Forbidden\r\nBearerd-Error: denied\r\nContent-Length: 2\r\n\r\nno", want: "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", kept: true},
}

// forbiddenLines are those that no caller may be told.
var forbiddenLines = []string{
	"Set-Cookie: a=b", "Set-Cookie2: a=b", "Www-Authenticate: Bearer", "Proxy-Authenticate: Basic", "Proxy-Authentication-Info: a", "Authentication-Info: a",
	"Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: *", "Alt-Svc: h3=\":443\"", "Strict-Transport-Security: max-age=1",
	"Clear-Site-Data: \"*\"", "Refresh: 0; url=http://evil.example", "Server: evil/1", "Public-Key-Pins: a", "Nel: {}", "Report-To: {}",
	"Reporting-Endpoints: a", "Service-Worker-Allowed: /", "Sourcemap: a", "X-Sourcemap: a", "Bearerd-Error: denied",
}

// secretBytes are in no text of bearerd's own.
const secretBytes = "AgFromTheUpstream"

// everyAnswer has what bearerd says with every answer.
const everyAnswer = "Content-Security-Policy: sandbox; default-src 'none'\r\nCross-Origin-Resource-Policy: same-origin\r\nX-Content-Type-Options: nosniff\r\n"

// evil is an upstream that gives one answer to /hostile and "next" to anything else.
type evil struct {
	url    string
	answer hostile
	given  atomic.Int32  // hostile answers
	gone   chan struct{} // has one for each connection of theirs that has ended
}

func newEvil(t *testing.T, h hostile) *evil {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &evil{url: "http://" + l.Addr().String(), answer: h, gone: make(chan struct{}, 9)}
	var serving sync.WaitGroup
	var conns sync.Map
	serving.Go(func() { // until the listener closes
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, true)
			serving.Go(func() { e.serve(conn) }) // until the connection ends
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Range(func(conn, _ any) bool { return conn.(net.Conn).Close() == nil })
		serving.Wait()
	})
	return e
}

func (e *evil) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in, was := bufio.NewReader(conn), false
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			if was {
				e.gone <- struct{}{}
			}
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if req.URL.Path != "/hostile" {
			_, _ = io.WriteString(conn, ok+"Content-Length: 4\r\n\r\nnext")
			continue
		}
		was = true
		e.given.Add(1)
		_, _ = io.WriteString(conn, e.answer.answer)
		if e.answer.closes {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}
}

// TestHostile_AnswersDoNoHarm has each of them given to a caller that reads bytes, not
// HTTP: one answer and nothing before or behind it, with no header that it should not
// have, and then the right answer to the next request.
func TestHostile_AnswersDoNoHarm(t *testing.T) {
	safe := 0
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			e := newEvil(t, h)
			r := newRig(t, to(t, e.url))
			conn, err := net.Dial("tcp4", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // a hang is a failure, not a wait
			method := h.method
			if method == "" {
				method = "GET"
			}
			in := bufio.NewReader(conn)
			got, headers, broke := exact(t, conn, in, method, "/up/hostile")
			switch {
			case h.code != "" && (headers.Get("Bearerd-Error") != h.code || broke):
				t.Errorf("the caller gets\n%.1000q\nwant an answer of bearerd's own, %s", got, h.code)
			case h.code == "" && (got != h.want || broke != h.cut):
				t.Errorf("the caller gets (broken off: %v)\n%.1000q\nwant (%v)\n%.1000q", broke, got, h.cut, h.want)
			}
			for _, line := range forbiddenLines {
				name, _, _ := strings.Cut(line, ":")
				if h.code != "" && name == "Bearerd-Error" {
					continue
				}
				if values := headers.Values(name); len(values) > 0 {
					t.Errorf("the caller is told %s: %q", name, values)
				}
			}
			for _, bytes := range []string{secretBytes, stamped, "poison", "OpenSSH"} {
				if strings.Contains(got, bytes) {
					t.Errorf("the caller is told %s", bytes)
				}
			}
			asked := e.given.Load()
			if want := 1; asked != 1 && h.code != "upstream_unreachable" {
				t.Errorf("the upstream was asked %d times, want %d", asked, want)
			}
			for range asked {
				if h.kept {
					break
				}
				select {
				case <-e.gone:
				case <-time.After(10 * time.Second):
					t.Error("the upstream's connection was not let go of")
				}
			}
			if !broke {
				if got, _, broke := exact(t, conn, in, "GET", "/up/next"); broke || got != ok+"Content-Length: 4\r\n\r\nnext" {
					t.Errorf("the next request is answered with (broken off: %v)\n%.1000q", broke, got)
				}
			}
			for _, x := range r.seen() {
				if x.Code == "internal" || x.Status == 200 && h.cut && x.Err == nil {
					t.Errorf("the log has %d %s (%v)", x.Status, x.Code, x.Err)
				}
			}
			if !t.Failed() {
				safe++
			}
		})
	}
	fmt.Printf("hostile answers: %d of %d safe\n", safe, len(hostiles))
}

// exact sends a request and returns what comes as it is on the wire, but for the
// framing, the clock's header and those that every answer has: these are checked here.
// It reports whether the connection broke off before the end.
func exact(t *testing.T, conn net.Conn, in *bufio.Reader, method, target string) (text string, h http.Header, broke bool) {
	t.Helper()
	if _, err := io.WriteString(conn, method+" "+target+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	status, err := in.ReadString('\n')
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	h = http.Header{}
	var lines []string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("half an answer's head: %v", err)
		}
		if line == "\r\n" {
			break
		}
		name, value, found := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": ")
		if !found || strings.ContainsFunc(name+value, func(c rune) bool { return c < ' ' }) || strings.Trim(name, tokenLetters) != "" {
			t.Errorf("a line of the head is %q", line)
		}
		h.Add(name, value)
		switch {
		case name == "Date", name == "Transfer-Encoding":
		case strings.Contains(everyAnswer, line):
		default:
			lines = append(lines, line)
		}
	}
	for _, line := range strings.SplitAfter(everyAnswer, "\r\n") {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); strings.Join(h.Values(name), "|") != value {
			t.Errorf("%s is %q, want %q", name, h.Values(name), value)
		}
	}
	slices.Sort(lines)
	var body []byte
	switch length := h.Get("Content-Length"); {
	case method == "HEAD", strings.HasPrefix(status, "HTTP/1.1 204"), strings.HasPrefix(status, "HTTP/1.1 304"):
	case h.Get("Transfer-Encoding") == "chunked":
		if body, err = io.ReadAll(httputil.NewChunkedReader(in)); err == nil {
			if end, _ := in.ReadString('\n'); end != "\r\n" {
				t.Errorf("behind the last chunk comes %q", end)
			}
		}
	case length != "":
		n, _ := strconv.ParseInt(length, 10, 64)
		body = make([]byte, n)
		n1, err1 := io.ReadFull(in, body)
		body, err = body[:n1], err1
	default:
		t.Errorf("%q has no framing", lines)
	}
	return status + strings.Join(lines, "") + "\r\n" + string(body), h, err != nil
}

const tokenLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
