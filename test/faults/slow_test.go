package faults_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// script is what an upstream does on a connection after it has taken a request whole.
// Between two steps it waits, and at the end until the other side closes.
type script struct {
	steps []string
	pause time.Duration
	close bool // at the end
	reset bool // the same
}

const (
	okHead   = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
	tenBytes = okHead + "Content-Length: 10\r\n\r\n"
	chunks   = okHead + "Transfer-Encoding: chunked\r\n\r\n"
)

func (s script) play(conn *net.TCPConn) {
	for i, step := range s.steps {
		if i > 0 {
			time.Sleep(s.pause) // what is slow is the upstream
		}
		if _, err := io.WriteString(conn, step); err != nil {
			return
		}
	}
	if s.reset {
		reset(conn)
	}
	if !s.close && !s.reset {
		_, _ = conn.Read(make([]byte, 1))
	}
}

// TestSlow_AnswersAreWaitedForWhileTheyMove has answers that come late, in drops, in
// part and not at all, and writes down what becomes of each.
func TestSlow_AnswersAreWaitedForWhileTheyMove(t *testing.T) {
	t.Parallel()
	inDrops := strings.Split(tenBytes, "")
	for _, tt := range []struct {
		name   string
		does   script
		get    string // what its caller is told
		gets   int    // deliveries
		post   string
		posts  int
		logged string // of why it broke off
	}{
		{"a head that never comes", script{},
			"504 upstream_timeout", 1, "504 upstream_timeout", 1, ""},
		{"a head in good time", script{steps: []string{"", tenBytes + "0123456789"}, pause: 500 * time.Millisecond},
			"200", 1, "200", 1, ""},
		{"half a head, and nothing more", script{steps: []string{okHead + "Content-Le"}},
			"504 upstream_timeout", 1, "504 upstream_timeout", 1, ""},
		{"a head in drops", script{steps: inDrops, pause: 100 * time.Millisecond},
			"504 upstream_timeout", 1, "504 upstream_timeout", 1, ""},
		{"half a head, and the end", script{steps: []string{okHead}, close: true},
			"502 upstream_unreachable", 2, "502 outcome_unknown", 1, ""},
		{"half a head, and a reset", script{steps: []string{okHead}, reset: true},
			"502 upstream_unreachable", 2, "502 outcome_unknown", 1, ""},
		{"half a line of a head, and the end", script{steps: []string{okHead + "Content-Le"}, close: true},
			"502 upstream_unreachable", 2, "502 outcome_unknown", 1, ""},
		{"something that is not HTTP", script{steps: []string{"SSH-2.0-OpenSSH_9.2\r\n\r\n"}, close: true},
			"502 upstream_invalid", 1, "502 upstream_invalid", 1, ""},
		{"a body in drops", script{steps: strings.SplitAfter(tenBytes+"0123456789", "\r\n\r\n"), pause: 500 * time.Millisecond},
			"200", 1, "200", 1, ""},
		{"a body in drops that takes longer than a pause may", script{steps: append([]string{tenBytes}, strings.Split("0123456789", "")...), pause: 200 * time.Millisecond},
			"200", 1, "200", 1, ""},
		{"half a body, and nothing more", script{steps: []string{tenBytes + "01234"}},
			"broken off", 1, "broken off", 1, "nothing came"},
		{"half a body, and the end", script{steps: []string{tenBytes + "01234"}, close: true},
			"broken off", 1, "broken off", 1, "broke its answer off"},
		{"half a body, and a reset", script{steps: []string{tenBytes + "01234"}, reset: true},
			"broken off", 1, "broken off", 1, "broke its answer off"},
		{"half a chunk, and the end", script{steps: []string{chunks + "5\r\n01234\r\n5\r\n01"}, close: true},
			"broken off", 1, "broken off", 1, "broke its answer off"},
		{"chunks without their last, and the end", script{steps: []string{chunks + "5\r\n01234\r\n"}, close: true},
			"broken off", 1, "broken off", 1, "broke its answer off"},
		{"chunks without their last, and nothing more", script{steps: []string{chunks + "5\r\n01234\r\n"}},
			"broken off", 1, "broken off", 1, "nothing came"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var done ledger
			url := serveRaw(t, func(conn *net.TCPConn) {
				if r, ok := receive(conn, bufio.NewReader(conn)); ok {
					done.note(r)
					tt.does.play(conn)
				}
			})
			b := start(t, url, "tuning: {response_header: 1s, body_idle: 1s}")
			c := newCaller(t, b)
			for _, sent := range []struct {
				method, want string
				times        int
			}{{"GET", tt.get, tt.gets}, {"POST", tt.post, tt.posts}} {
				var body io.Reader
				if sent.method == http.MethodPost {
					body = strings.NewReader("body")
				}
				path := "/" + sent.method
				if got := c.do(sent.method, path, body).String(); got != sent.want {
					t.Errorf("a %s was answered by %s, want %s", sent.method, got, sent.want)
				}
				if n := done.times(path); n != sent.times {
					t.Errorf("a %s was delivered %d times, want %d", sent.method, n, sent.times)
				}
			}
			for _, line := range b.Requests(2) {
				if err, _ := line["err"].(string); !strings.Contains(err, tt.logged) {
					t.Errorf("the log says %q of a %v, want %q", err, line["method"], tt.logged)
				}
			}
			done.check(t)
		})
	}
}

// TestSlow_UploadsAreTakenWhileTheyMove has upstreams that read a body slowly, and
// not at all.
func TestSlow_UploadsAreTakenWhileTheyMove(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tt := range []struct {
		name string
		size int
		read func(body io.Reader) error
		want string
	}{
		{"slowly", 48 * mib, func(body io.Reader) error {
			for {
				if _, err := io.CopyN(io.Discard, body, mib); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond) // what is slow is the upstream
			}
		}, "200"},
		{"never", 50 * mib, func(io.Reader) error {
			return io.ErrUnexpectedEOF
		}, "504 upstream_timeout"},
		{"at first", 50 * mib, func(body io.Reader) error {
			_, _ = io.CopyN(io.Discard, body, mib)
			return io.ErrUnexpectedEOF
		}, "504 upstream_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var done ledger
			ended := make(chan struct{})
			url := serveRaw(t, func(conn *net.TCPConn) {
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
				if tt.read(r.Body) != nil {
					<-ended
					return
				}
				done.note(r)
				_, _ = io.WriteString(conn, tenBytes+"0123456789")
			})
			t.Cleanup(func() { close(ended) })
			c := newCaller(t, start(t, url, "limits: {body: unlimited}, tuning: {response_header: 2s, body_idle: 1s}")) // sockets hold what is read in a second and more
			began := time.Now()
			got := c.do("POST", "/up", io.LimitReader(endless{}, int64(tt.size)))
			if got.String() != tt.want {
				t.Errorf("answered was %v, want %s", got, tt.want)
			}
			if n := done.times("/up"); n != strings.Count(tt.want, "200") {
				t.Errorf("it was delivered whole %d times", n)
			}
			t.Logf("%v after %.1f s", got, time.Since(began).Seconds())
		})
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'b'
	}
	return len(p), nil
}
