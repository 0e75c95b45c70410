//go:build unix

package proxy

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// glance is a read that waits for nothing.
type glance struct {
	raw  syscall.RawConn // nil for what is no socket of the system's
	once func(fd uintptr) bool

	into []byte
	n    int
	err  error
}

func (g *glance) init(c net.Conn) {
	if held, ok := c.(syscall.Conn); ok {
		g.raw, _ = held.SyscallConn() // fails where reading does
	}
	g.once = func(fd uintptr) bool {
		for g.n, g.err = syscall.Read(int(fd), g.into); errors.Is(g.err, syscall.EINTR); {
			g.n, g.err = syscall.Read(int(fd), g.into)
		}
		return true // in place of waiting
	}
}

// readNow is Read, but returns errNothingCame where that would wait.
func (s *socket) readNow(p []byte) (int, error) {
	g := &s.glance
	if g.raw == nil {
		return s.readWithin(0, p)
	}
	g.into = p
	err := g.raw.Read(g.once)
	g.into = nil
	switch {
	case err != nil: // such as that reading has ended by its deadline
		return 0, err
	case errors.Is(g.err, syscall.EAGAIN):
		return 0, errNothingCame
	case g.err != nil:
		return 0, g.err
	case g.n == 0:
		return 0, io.EOF
	}
	return g.n, nil
}
