package policy

import "net/netip"

// Local is the built-in caller: whoever connects from this machine over the
// loopback interface. On a machine with several users that is all of them.
const Local = "local"

// Peer is what is known of the other end of a connection.
type Peer struct {
	Addr netip.Addr
}

// Identify returns the first configured caller that peer is, then Local, or ""
// for nobody known.
func (p *Policy) Identify(peer Peer) string {
	addr := peer.Addr.Unmap().WithZone("")
	for _, caller := range p.callers {
		for _, prefix := range caller.addresses {
			if prefix.Contains(addr) {
				return caller.name
			}
		}
	}
	if addr.IsLoopback() {
		return Local
	}
	return ""
}

type caller struct {
	name      string
	addresses []netip.Prefix
}
