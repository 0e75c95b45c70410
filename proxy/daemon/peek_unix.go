//go:build linux || darwin

package daemon

import (
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
		look := func() (int, error) {
			n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return n, err
		}
		n, err := look()
		if err != nil {
			n, err = look() // what a connection broke by is told once, and then its end
		}
		switch {
		case err != nil: // that there is nothing yet, or such as that looking is forbidden
			next = nothingYet
		case n > 0:
			next = something
		}
	})
	return next
}
