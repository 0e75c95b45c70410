package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// logged is a bearerd whose log goes to a file of the test's own.
type logged struct {
	*harness.Bearerd
	g      *harness.Globus
	client *http.Client
	admin  string // URL
}

func startLogged(t *testing.T, to *os.File, drainDelay string) *logged {
	t.Helper()
	g := harness.NewGlobus(t, emulator.Config{})
	address, admin := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	config := strings.Replace(harness.Config(g), `{address: "127.0.0.1:0"}`, fmt.Sprintf("{address: %q}", address), 1)
	config = strings.Replace(config, `admin: {address: "127.0.0.1:0"}`, fmt.Sprintf("admin: {address: %q}", admin), 1)
	config = strings.Replace(config, "drain: {delay: 0s}", "drain: {delay: "+drainDelay+"}", 1)
	b := harness.Start(t, config, harness.LogTo(to))
	b.URL = "http://" + address
	b.WaitReady("http://" + admin)
	return &logged{b, g, newClient(t), "http://" + admin}
}

// send sends n requests, eight at a time, and returns how many were not answered
// with 200. It returns when all of them were logged, or lost.
func (l *logged) send(t *testing.T, n int) (failed int) {
	t.Helper()
	before := l.metric(t, "bearerd_requests_total")
	var left, missed atomic.Int64
	left.Store(int64(n))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				if status, _ := get(t, l.client, l.URL+taskList); status != http.StatusOK {
					missed.Add(1)
				}
			}
		})
	}
	wait.Wait()
	// A request is logged, and then counted, once its answer is on its way.
	for start := time.Now(); l.metric(t, "bearerd_requests_total") < before+n; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%d requests counted, want %d", l.metric(t, "bearerd_requests_total")-before, n)
		}
	}
	return int(missed.Load())
}

// metric returns the sum of a metric's values.
func (l *logged) metric(t *testing.T, name string) int {
	t.Helper()
	_, body := get(t, l.client, l.admin+"/metrics")
	sum := 0.0
	for _, found := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (.*)$`).FindAllStringSubmatch(body, -1) {
		value, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += value
	}
	return int(sum)
}

// logLines takes a log apart; each line must be whole.
func logLines(t *testing.T, data []byte) (lines []map[string]any) {
	t.Helper()
	for text := range bytes.Lines(data) {
		var line map[string]any
		if err := json.Unmarshal(text, &line); err != nil || text[len(text)-1] != '\n' {
			t.Errorf("the line %q is no line: %v", text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = reader.Close()
		_ = writer.Close()
	})
	return reader, writer
}

// The pipe is full, and so is the queue, however long that lasts.
func TestLog_APipeThatNobodyReadsCostsLinesAndNoRequest(t *testing.T) {
	reader, writer := pipe(t)
	b := startLogged(t, writer, "0s")
	_ = writer.Close() // bearerd has its own
	const requests = 5_000
	begin := time.Now()
	failed := b.send(t, requests)
	took := time.Since(begin)
	dropped := b.metric(t, "bearerd_log_dropped_total")
	if dropped == 0 {
		t.Errorf("nothing was dropped of %d lines: the pipe was not full", requests)
	}

	var data bytes.Buffer
	read := make(chan struct{})
	go func() { // ends with bearerd
		_, _ = io.Copy(&data, reader)
		close(read)
	}()
	failed += b.send(t, 100)
	dropped = b.metric(t, "bearerd_log_dropped_total")
	b.Stop()
	<-read
	harness.CheckNoSecrets(t, data.Bytes(), b.g)
	lines, told := 0, 0
	for _, line := range logLines(t, data.Bytes()) {
		switch line["message"] {
		case "request":
			lines++
		case "log lines were lost":
			told += int(line["lines"].(float64))
		}
	}
	served := b.g.Count("transfer", "/v0.10/task_list")
	if failed != 0 || served != lines+dropped || told != dropped {
		t.Errorf("%d requests failed; %d served, %d lines read, %d dropped, %d told of", failed, served, lines, dropped, told)
	}
	t.Logf("log pipe blocked: %d requests in %v, %d failed, %d lines dropped, %d told of, %d read", requests, took.Round(time.Millisecond), failed, dropped, told, lines)
}

// Whoever stops bearerd must not have to kill it.
func TestLog_APipeThatNobodyReadsDoesNotKeepItFromStopping(t *testing.T) {
	for _, tt := range []struct {
		name, drainDelay string
		signals          []syscall.Signal
		want             int
	}{
		{"one signal", "0s", []syscall.Signal{syscall.SIGTERM}, 0},
		{"two signals", "1m", []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, 130}, // of which it tells, too
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, writer := pipe(t)
			b := startLogged(t, writer, tt.drainDelay)
			if failed := b.send(t, 1_000); failed != 0 {
				t.Errorf("%d of 1000 requests failed", failed)
			}
			begin := time.Now()
			for _, one := range tt.signals {
				b.Signal(one)
			}
			if code := b.Wait(); code != tt.want {
				t.Errorf("it exited with %d, want %d", code, tt.want)
			}
			t.Logf("log pipe blocked, %s: it stopped within %v", tt.name, time.Since(begin).Round(time.Millisecond))
		})
	}
}

// A disk that is full, and a pipe whose reader has gone.
func TestLog_WhatCannotBeWrittenCostsLinesAndNoRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(t *testing.T) *os.File
	}{
		{"closed", func(t *testing.T) *os.File {
			reader, writer := pipe(t)
			_ = reader.Close()
			return writer
		}},
		{"disk full", func(t *testing.T) *os.File {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip(err) // Linux has it
			}
			t.Cleanup(func() { _ = full.Close() })
			return full
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := startLogged(t, tt.open(t), "0s")
			const requests = 2_000
			failed := b.send(t, requests)
			// All of them are lost once what waits was tried, and those of the start are, too.
			due := requests + b.metric(t, "bearerd_token_renewals_total") + len([]string{"listening", "admin listening"})
			dropped := 0
			for start := time.Now(); dropped < due && time.Since(start) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
				dropped = b.metric(t, "bearerd_log_dropped_total")
			}
			if failed != 0 || dropped != due {
				t.Errorf("%d requests failed, %d lines dropped of %d", failed, dropped, due)
			}
			t.Logf("log %s: %d requests, %d failed, %d lines dropped", tt.name, requests, failed, dropped)
		})
	}
}

func TestLog_ADaemonWithoutStandardErrorServes(t *testing.T) {
	null, err := os.Open(os.DevNull) // for reading: whoever writes to it is told EBADF, as of a closed one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	b := startLogged(t, null, "0s")
	if failed := b.send(t, 100); failed != 0 {
		t.Errorf("%d of 100 requests failed", failed)
	}
}

// echo is an upstream that answers, and then once more with the token that it got.
func echo(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with l
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"+
					"HTTP/1.1 200 OK\r\nX-Echo: %s\r\nX-Canary: canary\r\nContent-Length: 0\r\n\r\n", req.Header.Get("Authorization"))
			}
			_ = conn.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestLog_AnAnswerThatNobodyAskedForIsToldWithoutAByteOfIt(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, strings.Replace(harness.Config(g), g.TransferURL, echo(t), 1))
	if status, body := get(t, newClient(t), b.URL+taskList); status != http.StatusOK || body != "{}" {
		t.Errorf("answered %d %q", status, body)
	}
	b.WaitLog(func(line map[string]any) bool {
		message, _ := line["message"].(string)
		return line["level"] == "warn" && strings.Contains(message, "sent an answer that nobody asked for")
	})
	if bytes.Contains(b.Output(), []byte("canary")) || bytes.Contains(b.Output(), []byte("X-Echo")) {
		t.Error("the log quotes the upstream")
	}
}

func TestLog_ACallerThatSpeaksPlainHTTPToTLSIsTold(t *testing.T) {
	certificate, key := harness.NewAuthority(t).IssueServer()
	config := strings.Replace(harness.Config(harness.NewGlobus(t, emulator.Config{})), `{address: "127.0.0.1:0"}`,
		`{address: "127.0.0.1:0", tls: {certificate: file:tls.crt, key: file:tls.key}}`, 1)
	b := harness.Start(t, config, harness.File("tls.crt", certificate), harness.File("tls.key", key))
	if status, _ := get(t, newClient(t), b.URL+"/canary?canary"); status != http.StatusBadRequest {
		t.Errorf("answered %d, want 400", status)
	}
	b.WaitLog(func(line map[string]any) bool {
		reason, _ := line["reason"].(string)
		return line["message"] == "a TLS handshake failed" && strings.Contains(reason, "plain HTTP")
	})
	if bytes.Contains(b.Output(), []byte("canary")) {
		t.Error("the log quotes the caller")
	}
}
