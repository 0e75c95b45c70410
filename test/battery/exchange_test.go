package battery_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"bearerd/test/battery"
)

// patience is how long bearerd may take for an answer, which takes it milliseconds.
const patience = 20 * time.Second

// next is the plain request after each case that leaves its connection open.
const next = "/plain/public/next"

// A reply is what came back of a case on its connection.
type reply struct {
	answers  []*http.Response // to what Raw holds, without 100 Continue; their bodies are in bodies
	bodies   []string
	closed   bool           // the connection ended behind them
	followed *http.Response // the answer to a plain request sent after them; nil if the connection ended before
	err      error          // a connection that ends where it should not, or hangs
}

// exchange sends a case to an address and reads what comes back, wanted answers
// and what may follow them.
func exchange(addr string, c battery.Case) (r reply) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	written := make(chan struct{})
	go func() { // ends with the connection at the latest; waited for below
		defer close(written)
		_, _ = io.WriteString(conn, c.Raw) // what is refused early is not read to its end
		if c.Half {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}()
	defer func() {
		_ = conn.Close()
		<-written
	}()
	in := bufio.NewReader(conn)
	for i := range c.Wants {
		if err := r.read(in, method(c, i)); err != nil {
			r.closed, r.err = true, unexpected(err)
			return r
		}
	}
	if last := r.answers[len(r.answers)-1]; last.Close || c.Half {
		r.closed = true
		if rest, err := io.ReadAll(in); len(rest) > 0 {
			r.err = fmt.Errorf("%d bytes follow the last answer", len(rest))
		} else if unexpected(err) != nil {
			r.err = err
		}
		return r
	}
	if _, err := io.WriteString(conn, "GET "+next+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		r.closed = true
		return r
	}
	wanted := len(r.answers)
	if err := r.read(in, http.MethodGet); err != nil {
		r.closed, r.err = true, unexpected(err)
		return r
	}
	r.followed = r.answers[wanted]
	if body := r.bodies[wanted]; r.followed.StatusCode != http.StatusOK || !strings.Contains(body, "GET "+strings.TrimPrefix(next, "/plain")+`"`) {
		r.err = fmt.Errorf("the next request was answered %d %.200q", r.followed.StatusCode, body)
	}
	r.answers, r.bodies = r.answers[:wanted], r.bodies[:wanted]
	return r
}

func (r *reply) read(in *bufio.Reader, method string) error {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return err
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		r.answers, r.bodies = append(r.answers, resp), append(r.bodies, string(body))
		return err
	}
}

// unexpected is nil for the ways in which a connection ends.
func unexpected(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer, and the connection stays open")
	}
	return nil
}

// method is that of the request for the i-th answer, as far as reading it matters.
func method(c battery.Case, i int) string {
	line := c.Wants[i].Line
	if line == "" && i == 0 {
		line = c.Raw
	}
	if strings.HasPrefix(line, "HEAD ") {
		return http.MethodHead
	}
	return http.MethodGet
}
