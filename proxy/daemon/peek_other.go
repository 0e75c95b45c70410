//go:build !linux && !darwin

package daemon

import "net"

func canPeek(net.Conn) bool { return false }

// peek: it is not known here.
func peek(net.Conn) ahead { return nothingYet }
