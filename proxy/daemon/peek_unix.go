//go:build linux || darwin

package daemon

import (
	"errors"
	"net"
	"syscall"
)

// canPeek reports whether peek can tell of a connection.
func canPeek(c net.Conn) bool {
	_, ok := c.(syscall.Conn)
	return ok
}

// peek tells what comes next on a connection, and leaves it there.
func peek(c net.Conn) (next ahead) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nothingYet
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nothingYet
	}
	next = itsEnd // if it is closed, when the following is not called
	_ = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
			next = nothingYet
		case err == nil && n > 0:
			next = something
		}
	})
	return next
}
