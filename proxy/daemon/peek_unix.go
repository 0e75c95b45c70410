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
		case err == nil && n > 0:
			next = something
		case err == nil, errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ETIMEDOUT):
			next = itsEnd
		default: // that there is nothing yet, or such as that looking is forbidden
			next = nothingYet
		}
	})
	return next
}
