// Package redis starts real Redis servers for tests.
package redis

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"bearerd/test/harness"
)

// Server is a redis-server on a free port of loopback, which keeps nothing on disk.
type Server struct {
	URL string // redis://127.0.0.1:PORT

	t    testing.TB
	port int
	dir  string
	cmd  *exec.Cmd
}

// Start starts one; it ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		harness.Missing(t, "redis-server is not installed")
	}
	port := harness.FreePort(t)
	s := &Server{t: t, port: port, dir: t.TempDir(), URL: "redis://127.0.0.1:" + strconv.Itoa(port)}
	s.start()
	t.Cleanup(s.Kill)
	return s
}

func (s *Server) start() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"))
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if s.Do("PING") == "+PONG" {
			return
		}
		if time.Since(start) > 10*time.Second {
			s.t.Fatal("redis-server did not start")
		}
	}
}

// Do sends one command on a connection of its own and returns the first line of
// the answer; "" where there is none within a second.
func (s *Server) Do(words ...string) string {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(s.port), time.Second)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return ""
	}
	answer := make([]byte, 64<<10)
	n, _ := conn.Read(answer)
	for i := range n {
		if answer[i] == '\r' {
			return string(answer[:i])
		}
	}
	return ""
}

// Kill ends it at once.
func (s *Server) Kill() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Restart starts it anew on its port, with nothing in it.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.start()
}

// Pause stops it: connections stay, and nothing answers.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Flush empties it.
func (s *Server) Flush() { s.Do("FLUSHALL") }

func (s *Server) signal(what syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(what); err != nil {
		s.t.Fatal(err)
	}
}
