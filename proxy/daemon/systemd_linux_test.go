package daemon

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"bearerd/proxy"
)

// TestGate_LeavesWhoWaitsAtALastingSocketToTheNext, and does not wait for the last of
// them: with a socket that stays there is none.
func TestGate_LeavesWhoWaitsAtALastingSocketToTheNext(t *testing.T) {
	var way net.ListenConfig
	way.SetMultipathTCP(false) // as systemd opens it
	systemds, err := way.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemds.Close() }()
	file, err := systemds.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := listenerOf(file)
	if err != nil {
		t.Fatal(err)
	}
	all := newConnections(proxy.ConnectionLimits{Connections: 10, PerPeer: 10}, connectionEvents{
		changed: func(string, int) {}, shed: func(string) {}, tell: func(string, string, int) {}, failed: func(string, error) {},
	})
	g := all.gate(ours, "systemd:web", false, nil)
	accepted, ended := make(chan net.Conn), make(chan error)
	go func() { // ends with the gate
		for {
			conn, err := g.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp4", systemds.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	defer func() { _ = first.Close() }()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	g.leave(ctx)
	if ctx.Err() != nil {
		t.Error("it waited for those who are the next process's")
	}
	select {
	case err := <-ended:
		t.Errorf("the server was told (%v), and drops what it has not begun to serve", err)
	default:
	}
	waiting := dial()
	next, err := systemds.Accept()
	if err != nil || next.RemoteAddr().String() != waiting.LocalAddr().String() {
		t.Fatalf("who came after it has left is not the next process's: %v", err)
	}
	_ = next.Close()
	_ = g.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the server was told %v, want that it is closed", err)
	}
}
