package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bearerd/policy"
	"bearerd/test/harness"
)

// needRoot skips tests of other users' processes where they cannot be made.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		harness.Missing(t, "only root can be another user")
	}
}

// as runs do on a thread of another user, which ends with it.
func as(t *testing.T, uid, gid int, groups []uint32, do func() error) {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		first := uintptr(0)
		if len(groups) > 0 {
			first = uintptr(unsafe.Pointer(&groups[0]))
		}
		// Of the thread alone: the functions of package syscall change the process.
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS, uintptr(len(groups)), first, 0},
			{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				failed <- errno
				return
			}
		}
		failed <- do()
	}()
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// pair returns both ends of a connection that dial makes as another user.
func pair(t *testing.T, l net.Listener, uid int, dial func() (net.Conn, error)) (client, own net.Conn) {
	t.Helper()
	as(t, uid, uid, nil, func() (err error) {
		if client, err = dial(); err != nil {
			client = nil
		}
		return err
	})
	if client == nil {
		t.FailNow()
	}
	own, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = own.Close()
	})
	return client, own
}

func listenOn(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		harness.Missing(t, fmt.Sprintf("no %s here: %v", network, err))
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// mapped connects an IPv6 socket to an IPv4 address, as Java does.
func mapped(to net.Addr) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	at := to.(*net.TCPAddr).AddrPort()
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: int(at.Port()), Addr: netip.AddrFrom16(at.Addr().As16()).As16()}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "mapped")
	defer func() { _ = file.Close() }()
	return net.FileConn(file)
}

const nobody = 65534

func TestPeerUser_IsWhoseProcessConnected(t *testing.T) {
	needRoot(t)
	socket := filepath.Join(t.TempDir(), "s")
	for _, tt := range []struct {
		name, network, address string
		dial                   func(net.Listener) (net.Conn, error)
	}{
		{"IPv4", "tcp4", "127.0.0.1:0", nil},
		{"another address of IPv4 loopback", "tcp4", "127.8.9.10:0", nil},
		{"IPv6", "tcp6", "[::1]:0", nil},
		{"IPv4 from an IPv6 socket", "tcp4", "127.0.0.1:0", func(l net.Listener) (net.Conn, error) { return mapped(l.Addr()) }},
		{"IPv4 to a listener of both", "tcp", ":0", func(l net.Listener) (net.Conn, error) {
			return net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port))
		}},
		{"IPv6 to a listener of both", "tcp", ":0", func(l net.Listener) (net.Conn, error) {
			return net.Dial("tcp6", fmt.Sprintf("[::1]:%d", l.Addr().(*net.TCPAddr).Port))
		}},
		{"an IPv6 socket's IPv4 to a listener of both", "tcp", ":0", func(l net.Listener) (net.Conn, error) {
			return mapped(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Addr().(*net.TCPAddr).Port})
		}},
		{"unix", "unix", socket, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := listenOn(t, tt.network, tt.address)
			if tt.network == "unix" {
				openWide(t, socket)
			}
			if tt.dial == nil {
				tt.dial = func(l net.Listener) (net.Conn, error) { return net.Dial(tt.network, l.Addr().String()) }
			}
			for _, uid := range []int{nobody, 0, 4711} {
				_, own := pair(t, l, uid, func() (net.Conn, error) { return tt.dial(l) })
				ctx := ConnContext(t.Context(), own)
				user := peerUser(ctx)
				if user == nil || user.UID != uint32(uid) || user.Self != (uid == 0) {
					t.Errorf("uid %d is taken for %+v", uid, user)
				}
				if peerUser(ctx) != user {
					t.Error("asked again, it is looked up again")
				}
			}
		})
	}
}

// openWide lets every user connect to a socket in a directory of t.TempDir.
func openWide(t *testing.T, socket string) {
	t.Helper()
	dir := filepath.Dir(socket)
	if err := errors.Join(os.Chmod(socket, 0o777), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func TestPeerUser_OfAUnixSocketHasTheProcesssGroups(t *testing.T) {
	needRoot(t)
	socket := filepath.Join(t.TempDir(), "s")
	l := listenOn(t, "unix", socket)
	openWide(t, socket)
	many := make([]uint32, 200) // more than a first look has room for
	for i := range many {
		many[i] = uint32(10_000 + i)
	}
	for _, groups := range [][]uint32{nil, {42, 43}, many} {
		var client net.Conn
		as(t, 4711, 4712, groups, func() (err error) {
			client, err = net.Dial("unix", socket)
			return err
		})
		own, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		user := peerUser(ConnContext(t.Context(), own))
		if want := append([]uint32{4712}, groups...); user == nil || !slices.Equal(user.GIDs, want) {
			t.Errorf("groups are %+v, want %v", user, want)
		}
		_, _ = client.Close(), own.Close()
	}
}

// TestPeerUser_OfAnotherProgram with a process of its own, that is no thread of this one.
func TestPeerUser_OfAnotherProgram(t *testing.T) {
	needRoot(t)
	curl, err := exec.LookPath("curl")
	if err != nil {
		harness.Missing(t, "curl is not installed")
	}
	socket := filepath.Join(t.TempDir(), "s")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := peerUser(r.Context()); user != nil {
			_, _ = fmt.Fprintf(w, "%d %v %v", user.UID, user.GIDs[:min(1, len(user.GIDs))], user.Self)
		}
	})
	server := &http.Server{Handler: handler, ConnContext: ConnContext}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer func() { _ = server.Close() }()
	for _, tt := range []struct{ network, address, url string }{
		{"tcp4", "127.0.0.1:0", ""}, {"tcp6", "[::1]:0", ""}, {"unix", socket, "http://localhost/"},
	} {
		l := listenOn(t, tt.network, tt.address)
		args := []string{"-sS", "--max-time", "20"}
		if tt.network == "unix" {
			openWide(t, socket)
			args = append(args, "--unix-socket", socket, tt.url)
		} else {
			args = append(args, "http://"+l.Addr().String()+"/")
		}
		serving.Go(func() { _ = server.Serve(l) })
		command := exec.Command(curl, args...)
		command.Env = []string{"PATH=/nowhere"} // and no http_proxy
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := command.CombinedOutput(); err != nil || string(out) != "65534 [65534] false" {
			t.Errorf("%s: curl as another user: %v, is taken for %q", tt.network, err, out)
		}
	}
}

// TestPeerUser_OfAClosedClientIsNobody: what it leaves behind in the kernel still
// has a user, but no process.
func TestPeerUser_OfAClosedClientIsNobody(t *testing.T) {
	needRoot(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l := listenOn(t, "tcp", address)
		for _, how := range []string{"closed", "reset"} {
			client, own := pair(t, l, nobody, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) })
			if _, err := io.WriteString(client, "GET / HTTP/1.1\r\n"); err != nil {
				t.Fatal(err)
			}
			if how == "reset" {
				_ = client.(*net.TCPConn).SetLinger(0)
			}
			_ = client.Close()
			if user := peerUser(ConnContext(t.Context(), own)); user != nil {
				t.Errorf("%s: a client that has %s is taken for %+v", address, how, user)
			}
		}
	}
}

// TestPeerUser_HalfClosedClientIsStillKnown: curl and others end their side when the
// request is sent.
func TestPeerUser_HalfClosedClientIsStillKnown(t *testing.T) {
	needRoot(t)
	l := listenOn(t, "tcp4", "127.0.0.1:0")
	client, own := pair(t, l, nobody, func() (net.Conn, error) { return net.Dial("tcp4", l.Addr().String()) })
	_ = client.(*net.TCPConn).CloseWrite()
	if _, err := io.ReadAll(own); err != nil { // its end has arrived
		t.Fatal(err)
	}
	if user := peerUser(ConnContext(t.Context(), own)); user == nil || user.UID != nobody {
		t.Errorf("it is taken for %+v", user)
	}
}

// TestPeerUser_APortTakenOverIsNobodys: one client sends, resets, and another user's
// takes its port at once. What the first had sent must not count as the other's.
func TestPeerUser_APortTakenOverIsNobodys(t *testing.T) {
	needRoot(t)
	l := listenOn(t, "tcp4", "127.0.0.1:0")
	var first, second net.Conn
	for second == nil {
		attacker, own := pair(t, l, nobody, func() (net.Conn, error) { return net.Dial("tcp4", l.Addr().String()) })
		if _, err := io.WriteString(attacker, "POST / HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		from := attacker.LocalAddr()
		_ = attacker.(*net.TCPConn).SetLinger(0)
		_ = attacker.Close()
		var client net.Conn
		as(t, 4711, 4711, nil, func() (err error) {
			client, err = (&net.Dialer{LocalAddr: from}).Dial("tcp4", l.Addr().String())
			if errors.Is(err, unix.EADDRINUSE) {
				return nil // somebody on this machine has the port, to elsewhere; once more
			}
			return err
		})
		if t.Failed() {
			return
		}
		if client != nil {
			defer func() { _ = client.Close() }()
			var err error
			if second, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = second.Close() }()
		}
		first = own
	}
	if second.RemoteAddr().String() != first.RemoteAddr().String() {
		t.Fatalf("%v is not %v", second.RemoteAddr(), first.RemoteAddr())
	}
	if user := peerUser(ConnContext(t.Context(), first)); user != nil {
		t.Errorf("the first connection is taken for %+v", user)
	}
	if user := peerUser(ConnContext(t.Context(), second)); user == nil || user.UID != 4711 {
		t.Errorf("the second connection is taken for %+v", user)
	}
}

// TestPeerUser_ASocketThatOnlyTriesToConnectIsNobodys: the client has gone, and its
// port is tried by another, whose socket the kernel would name.
func TestPeerUser_ASocketThatOnlyTriesToConnectIsNobodys(t *testing.T) {
	at, other := netip.MustParseAddrPort("127.0.0.1:1000"), netip.MustParseAddrPort("127.0.0.1:2000")
	answer := func(state byte, inode uint32, from, to netip.AddrPort) []byte {
		b := make([]byte, diagHeader+diagAnswer)
		binary.NativeEndian.PutUint32(b, uint32(len(b)))
		binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
		binary.NativeEndian.PutUint32(b[8:], diagSequence)
		m := b[diagHeader:]
		m[0], m[1] = familyOf(from.Addr()), state
		binary.BigEndian.PutUint16(m[4:], from.Port())
		binary.BigEndian.PutUint16(m[6:], to.Port())
		copy(m[8:], from.Addr().AsSlice())
		copy(m[24:], to.Addr().AsSlice())
		binary.NativeEndian.PutUint32(m[64:], 4711)
		binary.NativeEndian.PutUint32(m[68:], inode)
		return b
	}
	const synSent, timeWait, listening = 2, 6, 10
	elsewhere := netip.MustParseAddrPort("127.0.0.2:1000")
	in6 := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	for _, tt := range []struct {
		name   string
		answer []byte
		known  bool
	}{
		{"a connected one is known", answer(tcpEstablished, 7, at, other), true},
		{"one that has sent all is known", answer(tcpFinWait2, 7, at, other), true},
		{"an IPv6 one is known by its IPv4 addresses", answer(tcpEstablished, 7, in6(at), in6(other)), true},
		{"one without an inode is nobody's", answer(tcpEstablished, 0, at, other), false},
		{"one that tries to connect is not", answer(synSent, 7, at, other), false},
		{"one that has been is not", answer(timeWait, 0, at, other), false},
		{"one that listens is not", answer(listening, 7, at, other), false},
		{"another address is not", answer(tcpEstablished, 7, elsewhere, other), false},
		{"the other end is not", answer(tcpEstablished, 7, other, at), false},
		{"nothing is not", nil, false},
		{"half an answer is not", answer(tcpEstablished, 7, at, other)[:60], false},
	} {
		if uid, known := ownerIn(tt.answer, at, other); known != tt.known || known && uid != 4711 {
			t.Errorf("%s: %d, %v", tt.name, uid, known)
		}
	}
}

func TestPeerUser_OfAThousandAtOnceIsRightEachTime(t *testing.T) {
	needRoot(t)
	l := listenOn(t, "tcp4", "127.0.0.1:0")
	const connections = 1000
	users := make(map[string]int) // by the client's address
	var mu sync.Mutex
	var dialing, asking sync.WaitGroup
	gate := make(chan struct{}, 50) // threads at once
	wrong := 0
	for i := range connections {
		dialing.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			as(t, 20_000+i, 20_000, nil, func() error {
				client, err := net.Dial("tcp4", l.Addr().String())
				if err != nil {
					return err
				}
				mu.Lock()
				users[client.LocalAddr().String()] = 20_000 + i
				mu.Unlock()
				t.Cleanup(func() { _ = client.Close() })
				return nil
			})
		})
	}
	var accepted []net.Conn
	for range connections {
		own, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, own)
		asking.Go(func() {
			user := peerUser(ConnContext(context.Background(), own))
			mu.Lock()
			defer mu.Unlock()
			if user == nil {
				wrong++
			} else if want, dialed := users[own.RemoteAddr().String()]; dialed && user.UID != uint32(want) {
				wrong++
			} else if !dialed {
				users[own.RemoteAddr().String()+" asked"] = int(user.UID)
			}
		})
	}
	dialing.Wait()
	asking.Wait()
	for key, uid := range users { // of who was asked before it had said who it is
		if address, early := strings.CutSuffix(key, " asked"); early && users[address] != uid {
			wrong++
		}
	}
	for _, own := range accepted {
		_ = own.Close()
	}
	t.Logf("peer's user: %d connections of %d users at once, %d taken for another", connections, connections, wrong)
	if wrong != 0 {
		t.Errorf("%d of %d were taken for nobody or another", wrong, connections)
	}
}

func TestPeerUser_IsNobodyWithoutConnContext(t *testing.T) {
	if user := peerUser(t.Context()); user != nil {
		t.Errorf("a request without a connection is taken for %+v", user)
	}
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	if user := peerUser(ConnContext(t.Context(), ours)); user != nil {
		t.Errorf("a connection of another kind is taken for %+v", user)
	}
}

func BenchmarkPeerUser(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	own, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = own.Close() }()
	var user *policy.User
	for b.Loop() {
		user = lookUpUser(own)
	}
	if user == nil {
		b.Error("nobody")
	}
}
