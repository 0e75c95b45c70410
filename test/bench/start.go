//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a program may take to listen.
const patience = 20 * time.Second

// process is a program that bench started.
type process struct {
	addr string
	pid  int
	stop func() // ends it, and waits for that

	accepted func() (int, error) // how many connections it has; nil if it is not ours
}

// startChild starts this program in another role.
func startChild(ctx context.Context, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"child", role}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // or a test's takes a second to end
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() {
		_ = in.Close()
		_ = cmd.Wait() // how it ended is of no account
	}
	lines := bufio.NewReader(out)
	addr, err := lines.ReadString('\n')
	if err != nil {
		stop()
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	accepted := func() (int, error) {
		if _, err := in.Write([]byte("\n")); err != nil {
			return 0, err
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line))
	}
	return &process{strings.TrimSpace(addr), cmd.Process.Pid, stop, accepted}, nil
}

// startProgram starts another program, whose files are in dir, and waits until it
// listens at addr. It ends with bench, however that ends.
func startProgram(ctx context.Context, dir, addr, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	go func() { // ends with the program, which stop ends
		_ = cmd.Wait() // how it ended is of no account
		close(exited)
	}()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-exited
		}
	}
	for giveUp := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return &process{addr: addr, pid: cmd.Process.Pid, stop: stop}, nil
		}
		select {
		case <-exited:
		case <-time.After(5 * time.Millisecond):
			if time.Now().Before(giveUp) {
				continue
			}
		}
		stop()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%s does not listen at %s: %s", program, addr, text)
	}
}

// freeAddress is one that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// buildBearerd builds it as it ships.
func buildBearerd(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, "bearerd")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", path, "bearerd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building bearerd: %w: %s", err, out)
	}
	return path, nil
}
