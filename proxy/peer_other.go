//go:build !linux

package proxy

import (
	"net"

	"bearerd/policy"
)

// lookUpUser knows nobody: only Linux says whose the socket at the other end is.
func lookUpUser(net.Conn) *policy.User { return nil }
