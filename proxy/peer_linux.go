package proxy

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bearerd/policy"
)

// tellsUsers says whether the system says whose the other end of a connection is.
const tellsUsers = true

// lookUpUser asks the kernel who runs the process at the other end of c.
func lookUpUser(c net.Conn) *policy.User {
	switch c := c.(type) {
	case *net.UnixConn:
		return unixUser(c)
	case *net.TCPConn:
		return loopbackUser(c)
	}
	return nil
}

// unixUser returns who connected a unix socket, with the groups they had then:
// the kernel keeps both with the connection.
func unixUser(c *net.UnixConn) *policy.User {
	var cred *unix.Ucred
	var groups []uint32
	control(c, func(fd int) {
		cred, _ = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED) // nil: nobody
		groups = peerGroups(fd)
	})
	if cred == nil || cred.Uid == ^uint32(0) || isUnmapped("uid", cred.Uid) {
		return nil
	}
	groups = slices.DeleteFunc(append([]uint32{cred.Gid}, groups...), func(gid uint32) bool { return isUnmapped("gid", gid) })
	return &policy.User{UID: cred.Uid, GIDs: groups}
}

// peerGroups returns the supplementary groups of a unix socket's peer; none where
// the kernel is older than 4.13.
func peerGroups(fd int) []uint32 {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		// No friendlier call returns this option whole. The kernel writes no more than
		// size bytes, and says in size how many it has.
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4]
		case errno == unix.ERANGE && int(size) > len(groups)*4:
			groups = make([]uint32, size/4)
		default:
			return nil
		}
	}
}

// loopbackUser returns who made the client's socket of a TCP connection over
// loopback. Its groups are those of the machine's own files: the process's, and
// what a directory says, are not to be had for TCP.
func loopbackUser(c *net.TCPConn) *policy.User {
	client, own := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if !client.Addr().IsLoopback() || client.Addr().Is4() != own.Addr().Is4() {
		return nil
	}
	uid, known := socketOwner(client, own)
	// While our end stands, only the socket that connected to it can be connected
	// from the client's address. After a reset the port may be anybody's, and what
	// the first client had sent is still there to be read.
	if !known || isUnmapped("uid", uid) || !stands(c) {
		return nil
	}
	return &policy.User{UID: uid, GIDs: groupsOf(uid, readAccounts("/etc/passwd"), readAccounts("/etc/group"))}
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// readAccounts reads a file of accounts; one that cannot be read has none.
func readAccounts(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

// States of a TCP socket, as the kernel numbers them.
const (
	tcpEstablished = 1
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpCloseWait   = 8
)

// stands reports whether our end of a connection was neither reset nor closed.
func stands(c *net.TCPConn) bool {
	var state uint8
	control(c, func(fd int) {
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			state = info.State
		}
	})
	return state == tcpEstablished || state == tcpCloseWait
}

// control calls do with c's descriptor, unless c was closed.
func control(c syscall.Conn, do func(fd int)) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { do(int(fd)) }) // closed: do is not called
	}
}

const (
	diagPatience   = 100 * time.Millisecond // for an answer, which is there when the question was sent
	diagHeader     = unix.SizeofNlMsghdr
	diagSequence   = 1
	diagQuestion   = 8 + 48      // struct inet_diag_req_v2
	diagAnswer     = 4 + 48 + 20 // struct inet_diag_msg
	answerPeerFrom = 4           // where its socket's addresses begin
)

// socketOwner returns the user that made the TCP socket of this machine that is
// bound to at and connected to the other address. It asks for that one socket
// (sock_diag(7)) and believes only an answer about it: connected, and some
// process's still. What a client leaves behind when it has closed has no inode,
// and a socket that only tries to connect is of somebody who took the port since.
func socketOwner(at, other netip.AddrPort) (uid uint32, known bool) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false
	}
	defer func() { _ = unix.Close(fd) }()
	patience := unix.NsecToTimeval(diagPatience.Nanoseconds())
	if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience) != nil ||
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience) != nil ||
		unix.Sendto(fd, askForSocket(at, other), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return 0, false
	}
	buffer := make([]byte, 4<<10)
	n, from, err := unix.Recvfrom(fd, buffer, 0)
	if sender, ok := from.(*unix.SockaddrNetlink); err != nil || !ok || sender.Pid != 0 { // 0 is the kernel
		return 0, false
	}
	return ownerIn(buffer[:n], at, other)
}

// askForSocket is the question, without any socket's cookie: of whichever has the
// addresses.
func askForSocket(at, other netip.AddrPort) []byte {
	native, network := binary.NativeEndian, binary.BigEndian
	b := native.AppendUint32(nil, diagHeader+diagQuestion)
	b = native.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST)
	b = native.AppendUint32(b, diagSequence)
	b = native.AppendUint32(b, 0) // from whom: the kernel knows
	b = append(b, familyOf(at.Addr()), unix.IPPROTO_TCP, 0, 0)
	b = native.AppendUint32(b, ^uint32(0)) // in any state: the answer has it
	b = network.AppendUint16(b, at.Port())
	b = network.AppendUint16(b, other.Port())
	for _, addr := range []netip.Addr{at.Addr(), other.Addr()} {
		b = append(b, addr.AsSlice()...)
		b = append(b, make([]byte, 16-addr.BitLen()/8)...)
	}
	b = native.AppendUint32(b, 0) // on no device of its own
	return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
}

func familyOf(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// ownerIn reads the answer.
func ownerIn(b []byte, at, other netip.AddrPort) (uid uint32, known bool) {
	native, network := binary.NativeEndian, binary.BigEndian
	if len(b) < diagHeader+diagAnswer || native.Uint32(b) < diagHeader+diagAnswer ||
		native.Uint16(b[4:]) != unix.SOCK_DIAG_BY_FAMILY || native.Uint32(b[8:]) != diagSequence {
		return 0, false // an error's, such as that there is none
	}
	b = b[diagHeader:]
	family, state, id := b[0], b[1], b[answerPeerFrom:]
	address := func(raw []byte) netip.Addr {
		if family == unix.AF_INET {
			raw = raw[:4]
		}
		addr, _ := netip.AddrFromSlice(raw[:min(len(raw), 16)])
		return addr.Unmap() // of an IPv6 socket that speaks IPv4
	}
	is := func(raw []byte, port uint16, want netip.AddrPort) bool {
		return netip.AddrPortFrom(address(raw), port) == want
	}
	if !is(id[4:], network.Uint16(id), at) || !is(id[20:], network.Uint16(id[2:]), other) {
		return 0, false
	}
	uid, inode := native.Uint32(b[64:]), native.Uint32(b[68:])
	alive := state == tcpEstablished || state == tcpFinWait1 || state == tcpFinWait2
	return uid, alive && inode != 0
}

// isUnmapped reports whether an id is what the kernel calls all those that have no
// name in our user namespace: in a rootless container, every account outside.
func isUnmapped(kind string, id uint32) bool {
	overflow := uint64(65534)
	if text, err := os.ReadFile("/proc/sys/kernel/overflow" + kind); err == nil {
		if overflow, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err != nil {
			return true
		}
	}
	if uint64(id) != overflow {
		return false
	}
	text, _ := os.ReadFile("/proc/self/" + kind + "_map")
	return !slices.Equal(strings.Fields(string(text)), []string{"0", "0", "4294967295"}) // all of the machine's
}
