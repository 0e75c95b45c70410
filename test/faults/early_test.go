package faults_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"bearerd/test/harness"
)

const (
	upload   = 50 << 20
	tooLarge = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large"
)

// rude answers an upload before its end. By the path it answers
// /head: before it takes any of it;
// /abrupt: after 1 MiB, and closes on what is still to come, which resets the connection;
// /kind: after 1 MiB, and reads on before it closes.
func rude(t *testing.T) (url string) {
	return serveRaw(t, func(conn *net.TCPConn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		if r.URL.Path != "/head" {
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
		}
		_, _ = io.WriteString(conn, tooLarge)
		if r.URL.Path != "/abrupt" {
			_ = conn.CloseWrite()
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
}

// send is a caller that sends all of its upload before it reads, or tries to, and
// returns what it is answered.
func send(addr, path string) answer {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return answer{broke: true}
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "POST /up%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", path, upload); err != nil {
		return answer{broke: true}
	}
	_, _ = io.CopyN(conn, endless{}, upload) // as far as it gets
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{broke: true}
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Bearerd-Error"), string(body), resp.Header, err != nil}
}

// curl is the same by curl.
func curl(t *testing.T, url string, more ...string) answer {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		harness.Missing(t, "curl is not installed")
	}
	var out bytes.Buffer
	cmd := exec.Command(path, append([]string{"-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "-w", "\n%{exitcode} %{http_code}", "-X", "POST", "-T", "-", url}, more...)...)
	cmd.Stdin, cmd.Stdout = io.LimitReader(endless{}, upload), &out
	_ = cmd.Run() // how it ends is in what it writes
	body, last, _ := strings.Cut(out.String(), "\n")
	code, status, _ := strings.Cut(last, " ")
	got := answer{body: body, broke: code != "0"}
	got.status, _ = strconv.Atoi(status)
	return got
}

// TestEarly_AnAnswerBeforeTheUploadsEndReachesTheCaller sends 50 MiB to an upstream
// that wants none or little of it.
func TestEarly_AnAnswerBeforeTheUploadsEndReachesTheCaller(t *testing.T) {
	b := start(t, rude(t), "limits: {body: unlimited}, breaker: {enabled: false}")
	addr := strings.TrimPrefix(b.URL, "http://")
	for _, tt := range []struct {
		how, path string
		times     int
		ask       func(path string) answer
	}{
		{"raw", "/head", 5, func(path string) answer { return send(addr, path) }},
		{"raw", "/abrupt", 20, func(path string) answer { return send(addr, path) }},
		{"raw", "/kind", 5, func(path string) answer { return send(addr, path) }},
		{"curl", "/head", 5, func(path string) answer { return curl(t, b.URL+"/up"+path) }},
		{"curl", "/abrupt", 20, func(path string) answer { return curl(t, b.URL+"/up"+path) }},
		{"curl", "/abrupt", 5, func(path string) answer { return curl(t, b.URL+"/up"+path, "-H", "Expect:") }},
		{"curl", "/kind", 5, func(path string) answer { return curl(t, b.URL+"/up"+path) }},
	} {
		began := time.Now()
		var got tally
		inParallel(tt.times, 4, func(int) {
			a := tt.ask(tt.path)
			if got.add(a); a.status == 413 && a.body != "too large" {
				t.Errorf("%s %s: the answer's body is %q", tt.how, tt.path, a.body)
			}
		})
		if got.of("413") != tt.times {
			t.Errorf("%s %s: %v, want 413 each time", tt.how, tt.path, &got)
		}
		t.Logf("early answer: %s, %s: %d of %d callers got it (%.1f s)", tt.how, strings.TrimPrefix(tt.path, "/"), got.of("413"), tt.times, time.Since(began).Seconds())
	}
}
