package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/credentials"
)

// piece is what an upstream writes after a pause.
type piece struct {
	pause time.Duration
	text  string
}

// times is the same piece over and over.
func times(n int, p piece) []piece {
	pieces := make([]piece, n)
	for i := range pieces {
		pieces[i] = p
	}
	return pieces
}

// scripted is an authorize in front of an upstream that answers each request on its
// connection as told, and then says no more. Gone is closed when the upstream's
// connection, of which there is one, was let go of. All is in the bubble.
func scripted(t *testing.T, patience time.Duration, answers ...[]piece) (send func() (*http.Response, *Exchange, error), gone chan struct{}) {
	gone = make(chan struct{})
	var serving sync.WaitGroup
	dials := 0
	transport := &http.Transport{DisableCompression: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		script := answers[min(dials, len(answers)-1)]
		dials++
		last := dials == len(answers)
		serving.Go(func() { // until the transport closes the connection
			in := bufio.NewReader(there)
			req, err := http.ReadRequest(in)
			if err != nil {
				t.Error(err)
				return
			}
			_ = req.Body.Close()
			for _, p := range script {
				time.Sleep(p.pause)
				if _, err = io.WriteString(there, p.text); err != nil {
					break
				}
			}
			_, _ = in.ReadByte()
			if last {
				close(gone)
			}
		})
		return here, nil
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		serving.Wait()
	})
	authorizer := &renewable{}
	line := &Upstream{name: "up", patience: patience}
	return func() (*http.Response, *Exchange, error) {
		req, err := http.NewRequest("GET", "http://up.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		x := &Exchange{Upstream: "up", line: line, bound: bound{authorizer: authorizer, origin: "http://up.example:80"}}
		resp, err := authorize{next: transport}.RoundTrip(carrying(req, x))
		return resp, x, err
	}, gone
}

// renewable is an Authorizer to which it helps to give a token back.
type renewable struct{ credentials.Authorizer }

func (renewable) Authorize(req *http.Request) (credentials.Token, error) {
	static, err := credentials.AccessToken(credentials.NewSecret("AgStaticTestToken"))
	if err != nil {
		return credentials.Token{}, err
	}
	return static.Authorize(req)
}

func (renewable) Rejected(credentials.Token) bool { return true }

func head(status, header string) piece {
	return piece{text: "HTTP/1.1 " + status + "\r\n" + header + "\r\n"}
}

func TestAnswer_EndsWhenItHasBroughtNothingForSoLong(t *testing.T) {
	const (
		chunked = "Transfer-Encoding: chunked\r\n"
		events  = "Content-Type: text/event-stream; charset=utf-8\r\n" + chunked
		chunk   = "4\r\nbyte\r\n"
		end     = "0\r\n\r\n"
	)
	for _, tt := range []struct {
		name     string
		patience time.Duration
		answer   []piece
		reader   time.Duration // what the caller takes before each read
		body     int           // bytes that come
		cut      bool
		after    time.Duration // the last of them
	}{
		{"nothing after the head", 30 * time.Second, []piece{head("200 OK", chunked)}, 0, 0, true, 30 * time.Second},
		{"nothing after the head, of known length", 30 * time.Second, []piece{head("200 OK", "Content-Length: 4\r\n")}, 0, 0, true, 30 * time.Second},
		{"nothing after some bytes", 30 * time.Second, []piece{head("200 OK", chunked), {20 * time.Second, chunk}}, 0, 4, true, 50 * time.Second},
		{"patience of its own", time.Second, []piece{head("200 OK", chunked), {time.Second / 2, chunk}}, 0, 4, true, time.Second * 3 / 2},
		{"bytes for hours, each just in time", 30 * time.Second,
			append(append([]piece{head("200 OK", chunked)}, times(500, piece{29 * time.Second, chunk})...), piece{29 * time.Second, end}), 0, 2000, false, 501 * 29 * time.Second},
		{"a caller who reads slowly", 30 * time.Second,
			append(append([]piece{head("200 OK", chunked)}, times(5, piece{0, chunk})...), piece{0, end}), 10 * time.Minute, 20, false, 60 * time.Minute},
		{"events, with a pause", 30 * time.Second, []piece{head("200 OK", events), {299 * time.Second, chunk}, {0, end}}, 0, 4, false, 299 * time.Second},
		{"events that never come", 30 * time.Second, []piece{head("200 OK", events)}, 0, 0, true, 5 * time.Minute},
		{"events, with more patience yet", time.Hour, []piece{head("200 OK", events)}, 0, 0, true, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				send, gone := scripted(t, tt.patience, tt.answer)
				begun := time.Now()
				resp, x, err := send()
				if err != nil {
					t.Fatal(err)
				}
				body := 0
				for buffer := make([]byte, 4); err == nil; {
					time.Sleep(tt.reader)
					var n int
					n, err = resp.Body.Read(buffer)
					body += n
				}
				if took := time.Since(begun); body != tt.body || took != tt.after {
					t.Errorf("%d bytes in %v, want %d in %v", body, took, tt.body, tt.after)
				}
				var own *Error
				if !tt.cut && (!errors.Is(err, io.EOF) || x.cut != nil) {
					t.Errorf("it ended with %v, and the log has %v", err, x.cut)
				}
				if tt.cut && (!errors.As(x.cut, &own) || own.Code != "upstream_timeout" || !errors.Is(err, own)) {
					t.Errorf("it ended with %v, and the log has %v", err, x.cut)
				}
				if tt.cut {
					<-gone // or the bubble is stuck
				}
				_ = resp.Body.Close()
			})
		})
	}
}

// What is looked at before the caller hears of it may not keep the caller waiting for
// long, and is whole all the same.
func TestAnswer_IsLookedAtForSomeSecondsOnly(t *testing.T) {
	const drops = 60
	text := `{"code":"` + strings.Repeat("b", drops-2-len(`{"code":"`)) + `"}`
	var dripping []piece
	for i := range text {
		dripping = append(dripping, piece{time.Second, text[i : i+1]})
	}
	const length = "Content-Type: application/json\r\nContent-Length: 60\r\n"
	for _, tt := range []struct {
		name   string
		answer []piece
		head   time.Duration // within which the caller has the head
		body   int
	}{
		{"in drops", append([]piece{head("400 Bad Request", length)}, dripping...), 6 * time.Second, drops},
		{"and never ending", append([]piece{head("400 Bad Request", length)}, dripping[:3]...), 33 * time.Second, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				send, _ := scripted(t, 30*time.Second, tt.answer)
				begun := time.Now()
				resp, x, err := send()
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took > tt.head {
					t.Errorf("the head came after %v, want %v at most", took, tt.head)
				}
				body, err := io.ReadAll(resp.Body)
				if string(body) != text[:tt.body] || (err == nil) != (tt.body == drops) || (x.cut == nil) != (tt.body == drops) {
					t.Errorf("the body is %q (%v), and the log has %v", body, err, x.cut)
				}
				_ = resp.Body.Close()
			})
		})
	}
}

// A refusal that nobody will see does not hold up the second attempt.
func TestAnswer_OfARefusedTokenIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := append([]piece{head("401 Unauthorized", "Content-Length: 60\r\n")}, times(60, piece{time.Second / 3, "b"})...)
		send, _ := scripted(t, 30*time.Second, refusal, []piece{head("200 OK", "Content-Length: 2\r\n"), {0, "ok"}})
		begun := time.Now()
		resp, x, err := send()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if took := time.Since(begun); resp.StatusCode != 200 || string(body) != "ok" || err != nil || x.cut != nil || took > discardTime {
			t.Errorf("answered %d %q (%v) after %v; the log has %v", resp.StatusCode, body, err, took, x.cut)
		}
		_ = resp.Body.Close()
	})
}

// TestAnswer_IsWatchedAtNoCost in HTTP/1; in HTTP/2 but for a timer, and what that calls.
func TestAnswer_IsWatchedAtNoCost(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	s := newSocket(&outbound{Conn: here})
	own := &http1Body{ReadCloser: bytesForever{}}
	own.conn.Store(newHTTP1Conn(nil, s, s, new(url.URL), nil))
	line, buffer := &Upstream{patience: time.Minute}, make([]byte, 64)
	for most, body := range map[float64]io.ReadCloser{0: own, 3: bytesForever{}} {
		resp := &http.Response{}
		exchanges := make([]Exchange, 102)
		got := testing.AllocsPerRun(100, func() {
			x := &exchanges[0]
			exchanges = exchanges[1:]
			x.line, x.ctx, resp.Body = line, context.Background(), body
			x.watch(resp)
			for range 10 {
				_, _ = resp.Body.Read(buffer)
			}
		})
		if got > most {
			t.Errorf("watching an answer allocates %v times, want %v", got, most)
		}
	}
}

type bytesForever struct{}

func (bytesForever) Read(p []byte) (int, error) { return len(p), nil }

func (bytesForever) Close() error { return nil }
