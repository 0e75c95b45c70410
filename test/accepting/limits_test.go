package accepting_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bearerd/test/harness"
)

// open connects without asking for anything, until the test ends.
func open(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a request on a connection and returns the answer's status and code.
func ask(conn net.Conn) (status int, code string, err error) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET /up/x HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Bearerd-Error"), err
}

// TestLimits_OneConnectionTooManyIsTurnedAway, and a reload changes what is too many.
func TestLimits_OneConnectionTooManyIsTurnedAway(t *testing.T) {
	config := strings.Replace(fmt.Sprintf(drainConfig, quick(t), "0s"), "proxy:\n", "proxy:\n  limits: {connections: 10}\n", 1)
	b := harness.Start(t, config)
	address := strings.TrimPrefix(b.URL, "http://")
	var inside []net.Conn
	for range 10 {
		conn := open(t, address)
		if status, code, err := ask(conn); status != 200 {
			t.Fatalf("one of ten: answered %d %s (%v)", status, code, err)
		}
		inside = append(inside, conn)
	}
	for range 20 {
		if status, code, err := ask(open(t, address)); status != 503 || code != "overloaded" {
			t.Fatalf("one more: answered %d %q (%v), want 503 overloaded", status, code, err)
		}
	}
	for _, conn := range inside {
		if status, _, err := ask(conn); status != 200 {
			t.Errorf("meanwhile one of the ten is answered %d (%v)", status, err)
		}
	}
	metrics := metricsOf(t, b)
	for _, want := range []string{`bearerd_connections{listener="127.0.0.1:0"} 10`, `bearerd_connections_shed_total{listener="127.0.0.1:0"} 20`} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics have no %s", want)
		}
	}
	told := b.WaitLog(func(line map[string]any) bool {
		return line["message"] == "too many connections or requests in HTTP/2, turned away"
	})
	if told["limit"] != "connections" {
		t.Errorf("the log says %v", told)
	}
	b.Replace("config.yaml", strings.Replace(config, "connections: 10", "connections: 11", 1)+"admin: {address: \"127.0.0.1:0\"}\n")
	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "config reloaded" })
	if status, code, err := ask(open(t, address)); status != 200 {
		t.Errorf("with a higher limit: answered %d %s (%v)", status, code, err)
	}
	if status, code, _ := ask(open(t, address)); status != 503 {
		t.Errorf("beyond the higher limit: answered %d %s", status, code)
	}
}

func metricsOf(t *testing.T, b *harness.Bearerd) string {
	t.Helper()
	resp, err := http.Get(b.AdminURL("address") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLimits_FewDescriptorsAreNoReasonToFail floods a bearerd that may open 64 files.
func TestLimits_FewDescriptorsAreNoReasonToFail(t *testing.T) {
	b := harness.Start(t, fmt.Sprintf(drainConfig, quick(t), "0s"), harness.Descriptors(64))
	warned := b.WaitLog(func(line map[string]any) bool {
		message, _ := line["message"].(string)
		return strings.HasPrefix(message, "too few descriptors for proxy.limits.connections")
	})
	most := int(warned["connections"].(float64))
	t.Logf("descriptors: of 64, %d connections are left; %v would do for 4096", most, warned["needed"])
	if most < 8 || most > 24 {
		t.Fatalf("the limit on connections is %d, want one that fits into 64 and is of use", most)
	}
	address := strings.TrimPrefix(b.URL, "http://")
	inside, shed := 0, 0
	var callers []net.Conn
	for range 300 { // each with a request under way, as far as they get in
		conn := open(t, address)
		switch status, code, err := ask(conn); {
		case status == 200:
			inside++
			callers = append(callers, conn)
		case status == 503 && code == "overloaded":
			shed++
		default:
			t.Fatalf("answered %d %s (%v), want an answer or 503", status, code, err)
		}
	}
	for _, conn := range callers {
		if status, _, err := ask(conn); status != 200 {
			t.Errorf("a caller inside is answered %d (%v)", status, err)
		}
	}
	t.Logf("descriptors: of 300 connections %d were let in and answered, %d turned away; at most %d descriptors open", inside, shed, descriptorsOf(t, b))
	if inside != most || inside+shed != 300 {
		t.Errorf("%d were let in, want %d", inside, most)
	}
	if lines := b.Lines("a connection could not be accepted"); len(lines) > 0 {
		t.Errorf("accepting failed: %v", lines)
	}
	for _, conn := range callers {
		_ = conn.Close()
	}
	for giveUp := time.Now().Add(patience); ; { // until bearerd has heard that they left
		status, _, err := ask(open(t, address))
		if status == 200 {
			break
		}
		if time.Now().After(giveUp) {
			t.Fatalf("when they have left: answered %d (%v)", status, err)
		}
	}
}

// descriptorsOf returns how many a bearerd has open.
func descriptorsOf(t *testing.T, b *harness.Bearerd) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(b.PID), "fd"))
	if err != nil {
		return -1 // not on this system
	}
	return len(entries)
}
