package daemon

import (
	"net"
	"syscall"
	"unsafe"
)

// refuseNew has a TCP listener take no notice of who begins to connect, but finish
// with those who have begun: what closes next to them loses them. They ask again
// after a second, and are then refused as usual. It is a filter for what begins a
// connection: a segment with SYN and without ACK. Connections inherit it, and never
// see one. If the kernel does not take it, a few may be lost.
func refuseNew(l net.Listener) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	const flagsAt, syn, synOrACK = 13, 0x02, 0x12 // of a TCP header
	program := [...]syscall.SockFilter{
		{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: flagsAt},
		{Code: syscall.BPF_ALU | syscall.BPF_AND | syscall.BPF_K, K: synOrACK},
		{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 1 << 30},
	}
	filter := syscall.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_ = raw.Control(func(fd uintptr) {
		// No friendlier call takes a program. The kernel copies it.
		_, _, _ = syscall.Syscall6(syscall.SYS_SETSOCKOPT, fd, syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER,
			uintptr(unsafe.Pointer(&filter)), unsafe.Sizeof(filter), 0)
	})
}
