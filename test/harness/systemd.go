package harness

import (
	"context"
	"net"
	"os"
	"testing"
)

// Socket has bearerd get a socket as systemd passes one, with a FileDescriptorName.
// The test keeps its own descriptor, as systemd does.
func Socket(name string, socket *os.File) Option {
	return func(s *setup) { s.sockets, s.socketNames = append(s.sockets, socket), append(s.socketNames, name) }
}

// ListenAsSystemd opens a socket as a .socket unit does, until the test ends. The file
// is for Socket.
func ListenAsSystemd(t testing.TB, network, address string) (net.Listener, *os.File) {
	t.Helper()
	var way net.ListenConfig
	way.SetMultipathTCP(false) // which Go would offer, and systemd does not
	socket, err := way.Listen(context.Background(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket, FileOf(t, socket)
}

// FileOf returns a descriptor of a socket, until the test ends.
func FileOf(t testing.TB, socket any) *os.File {
	t.Helper()
	file, err := socket.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}
