package battery_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bearerd/test/battery"
	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// An early answer is a request that is answered before its body is read, or
// without the upstream.
type early struct {
	code   string // what it is answered
	method string
	target string
	header []string
}

// Those of a bearerd with battery.Config.
var earlies = []early{
	{"method_refused", "TRACE", "/plain/inbox", nil},
	{"method_refused", "FOO", "/plain/inbox", nil},
	{"method_refused", "CONNECT", "localhost:80", nil},
	{"request_ambiguous", "POST", "http://localhost/plain/inbox", nil},
	{"request_ambiguous", "POST", "/plain/../inbox", nil},
	{"request_ambiguous", "POST", "/plain/inbox%2f", nil},
	{"request_ambiguous", "POST", "/plain/inbox?_method=DELETE", nil},
	{"request_ambiguous", "POST", "/plain/inbox", []string{"X_A: b"}},
	{"request_ambiguous", "POST", "/plain/inbox", []string{"Connection: authorization"}},
	{"request_ambiguous", "POST", "/plain/inbox", []string{"X-HTTP-Method-Override: PUT"}},
	{"request_ambiguous", "POST", "/plain/inbox", []string{"X-A: \xff"}},
	{"request_ambiguous", "GET", "/plain/public/a", nil},
	{"request_ambiguous", "HEAD", "/plain/public/a", nil},
	{"request_too_long", "POST", "/plain/inbox/" + strings.Repeat("x", 5000), nil},
	{"request_too_long", "POST", "/plain/inbox", strings.Split(strings.Repeat("A: b|", 200)+"A: b", "|")},
	{"host_refused", "POST", "/plain/inbox", []string{"Host: evil.example"}},
	{"browser_refused", "POST", "/plain/inbox", []string{"Origin: null"}},
	{"browser_refused", "POST", "/plain/inbox", []string{"Sec-Fetch-Site: cross-site"}},
	{"no_upstream", "POST", "/nowhere", nil},
	{"denied", "POST", "/plain/admin", nil},
	{"denied", "PUT", "/based/task/1", nil},
}

// TestExpect_NoEarlyAnswerSwallowsTheNextRequest because a sender that waits for
// 100 Continue and is refused may send its next request at once: it must not be
// taken for the body that never came. Of each early answer, with and without the
// body, short and long, by length and in chunks.
func TestExpect_NoEarlyAnswerSwallowsTheNextRequest(t *testing.T) {
	var sum tally
	t.Run("refused", func(t *testing.T) { // by battery.Config
		r := start(t)
		for _, e := range earlies {
			sum.try(t, r.addr, e)
		}
		for _, a := range r.upstream.Take() {
			t.Errorf("%.100q arrived", a.Line())
		}
	})
	t.Run("caller unknown", func(t *testing.T) {
		g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
		config := strings.Replace(battery.Config(g, upstream.URL), "policy:\n", "policy:\n  callers: [{name: ci, key: file:keys}]\n", 1)
		keys := strings.Repeat("0", 64) + "\n"
		b := harness.Start(t, config, harness.File("keys", keys))
		sum.try(t, addrOf(b), early{"caller_unknown", "POST", "/plain/inbox", []string{"X-Api-Key: wrong"}})
	})
	t.Run("no token for now", func(t *testing.T) {
		g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
		g.CloseAuth()
		b := harness.Start(t, battery.Config(g, upstream.URL))
		sum.try(t, addrOf(b), early{"token_unavailable", "POST", "/plain/inbox", nil})
	})
	t.Run("no token for good", func(t *testing.T) {
		g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
		b := harness.Start(t, battery.Config(g, upstream.URL), harness.Secret("of last year"))
		sum.try(t, addrOf(b), early{"token_rejected", "POST", "/plain/inbox", nil})
	})
	t.Run("no upstream to reach", func(t *testing.T) {
		g := harness.NewGlobus(t, emulator.Config{})
		b := harness.Start(t, battery.Config(g, fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))))
		sum.try(t, addrOf(b), early{"upstream_unreachable", "POST", "/plain/inbox", nil})
	})
	t.Run("an upstream that refuses", func(t *testing.T) {
		g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
		config := strings.Replace(battery.Config(g, upstream.URL), "credential: transfer}", "credential: transfer, inbound_authorization: refuse}", 1)
		b := harness.Start(t, config)
		sum.try(t, addrOf(b), early{"request_ambiguous", "POST", "/plain/inbox", []string{"Authorization: Bearer x"}})
	})
	t.Run("a body that is too long", func(t *testing.T) {
		g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
		config := strings.Replace(battery.Config(g, upstream.URL), "credential: transfer}", "credential: transfer, limits: {body: 16B}}", 1)
		b := harness.Start(t, config)
		sum.try(t, addrOf(b), early{"body_too_large", "POST", "/plain/inbox", nil})
		for _, a := range upstream.Take() {
			t.Errorf("%.100q arrived", a.Line())
		}
	})
	fmt.Printf("Expect: 100-continue: %d early answers; after %d the next request was answered, after %d the connection was closed, %d were swallowed\n",
		sum.answered+sum.closed+sum.swallowed, sum.answered, sum.closed, sum.swallowed)
}

var errSwallowed = errors.New("the next request was swallowed")

func addrOf(b *harness.Bearerd) string { return strings.TrimPrefix(b.URL, "http://") }

type tally struct{ answered, closed, swallowed int }

// try sends a request in each form, and another one behind its answer.
func (sum *tally) try(t *testing.T, addr string, e early) {
	t.Helper()
	for _, long := range []bool{false, true} {
		for _, inChunks := range []bool{false, true} {
			for _, sent := range []bool{false, true} {
				name := fmt.Sprintf("%s %s %.40q: long %v, in chunks %v, body sent %v", e.code, e.method, e.target, long, inChunks, sent)
				answered, err := expect(addr, e, long, inChunks, sent)
				switch {
				case err != nil:
					if errors.Is(err, errSwallowed) {
						sum.swallowed++
					}
					t.Errorf("%s: %v", name, err)
				case answered:
					sum.answered++
				default:
					sum.closed++
				}
			}
		}
	}
}

// expect sends one request that waits for 100 Continue, its body at once if sent
// says so and otherwise where it is asked for, and then another request. It
// reports whether that one was answered; otherwise the connection was closed.
func expect(addr string, e early, long, inChunks, sent bool) (answered bool, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false, err
	}
	var writing sync.WaitGroup
	defer func() {
		_ = conn.Close()
		writing.Wait()
	}()
	_ = conn.SetDeadline(time.Now().Add(patience))
	head, body := e.message(long, inChunks)
	rest := ""
	if sent {
		rest = body
	}
	writing.Go(func() { _, _ = io.WriteString(conn, head+rest) }) // until the connection closes at the latest
	in := bufio.NewReader(conn)
	resp, err := final(in, e.method, func() {
		if !sent {
			writing.Go(func() { _, _ = io.WriteString(conn, body) })
		}
	})
	switch {
	case err != nil:
		return false, fmt.Errorf("no answer: %w", err)
	case resp.Header.Get("Bearerd-Error") != e.code:
		return false, fmt.Errorf("answered %d %q", resp.StatusCode, resp.Header.Get("Bearerd-Error"))
	}
	writing.Wait()
	_, _ = io.WriteString(conn, "GET /nowhere/next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if resp.Close { // as it said, nobody reads that one
		_ = conn.(*net.TCPConn).CloseWrite()
		if extra, _ := io.ReadAll(in); len(extra) > 0 {
			return false, fmt.Errorf("%d bytes follow the last answer", len(extra))
		}
		return false, nil
	}
	resp, err = final(in, http.MethodGet, func() {})
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return false, errSwallowed
	case err != nil:
		return false, nil
	case resp.Header.Get("Bearerd-Error") != "no_upstream" || !resp.Close:
		return false, fmt.Errorf("the next request was answered %d %q", resp.StatusCode, resp.Header.Get("Bearerd-Error"))
	}
	return true, nil
}

// message is the request's head and its body with its framing.
func (e early) message(long, inChunks bool) (head, body string) {
	body = "a body, of which none is a request\r\n\r\n"
	if long { // longer than is read to keep a connection
		body = strings.Repeat("x", 600<<10)
	}
	lines := []string{e.method + " " + e.target + " HTTP/1.1"}
	if !strings.HasPrefix(strings.Join(e.header, ""), "Host:") {
		lines = append(lines, "Host: localhost")
	}
	lines = append(append(lines, e.header...), "Expect: 100-continue")
	if inChunks {
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		lines = append(lines, "Transfer-Encoding: chunked")
	} else {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n", body
}

// final reads an answer and its body. At 100 Continue it calls asked.
func final(in *bufio.Reader, method string, asked func()) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusContinue {
			asked()
			continue
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return resp, err
	}
}
