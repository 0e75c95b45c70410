package daemon

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// takeSockets takes what systemd passed to this process (sd_listen_fds(3)), once: the
// variables that tell are gone then, and the descriptors are none of our children's.
func takeSockets() *passedSockets {
	pid := os.Getenv("LISTEN_PID")
	passed := &passedSockets{astray: pid != "" && pid != strconv.Itoa(os.Getpid())}
	for _, file := range activation.Files(true) {
		s := &passedSocket{name: file.Name()}
		s.listener, s.err = listenerOf(file)
		passed.sockets = append(passed.sockets, s)
	}
	return passed
}

// listenerOf makes a listener of a descriptor, which it closes.
func listenerOf(file *os.File) (*lasting, error) {
	defer func() { _ = file.Close() }() // the listener has one of its own
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var wrong error
	if err := raw.Control(func(fd uintptr) { wrong = checkListening(int(fd)) }); err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, wrong
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, errors.New("neither TCP nor a unix socket; write ListenStream= with an address and port or a path into its .socket unit")
	}
	if socket, ok := l.(*net.UnixListener); ok {
		socket.SetUnlinkOnClose(false) // the file is systemd's
	}
	return &lasting{l}, nil
}

// checkListening says what a descriptor is, if not a listening stream socket.
func checkListening(fd int) error {
	option := func(name int) int {
		value, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, name)
		if err != nil {
			return -1
		}
		return value
	}
	family := option(syscall.SO_DOMAIN)
	isTCP := family == syscall.AF_INET || family == syscall.AF_INET6
	switch {
	case family < 0:
		return errors.New("no socket; write ListenStream= into its .socket unit, and no other Listen")
	case option(syscall.SO_TYPE) != syscall.SOCK_STREAM:
		return errors.New("no stream socket; write ListenStream= into its .socket unit, not ListenDatagram= or another")
	case option(syscall.SO_ACCEPTCONN) != 1:
		return errors.New("one connection and no listening socket; write Accept=no into its .socket unit")
	case isTCP && option(syscall.SO_PROTOCOL) != syscall.IPPROTO_TCP: // see listenTCP
		return errors.New("no plain TCP, and connections of Multipath TCP cannot be reset; leave SocketProtocol= out of its .socket unit")
	}
	return nil
}
