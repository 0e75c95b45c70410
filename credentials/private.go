package credentials

import (
	"errors"
	"net/netip"
	"strings"
)

// ErrAddressRefused is why no connection was made to an address that the Internet
// does not route: whatever name led there, nobody said that it is meant.
var ErrAddressRefused = errors.New("the address is on this machine or a private network, which needs private: true")

// unrouted are addresses that the Internet does not route, beside those that
// net/netip knows of: what answers at one is this machine, a neighbour, or whatever
// the network made of it.
var unrouted = prefixes(
	"0.0.0.0/8",      // this network (RFC 1122 §3.2.1.3)
	"100.64.0.0/10",  // a carrier's own (RFC 6598); clouds keep services there
	"192.0.0.0/24",   // protocol assignments (RFC 6890)
	"198.18.0.0/15",  // benchmarks (RFC 2544)
	"240.0.0.0/4",    // reserved, and broadcast
	"64:ff9b:1::/48", // a network's own NAT64 (RFC 8215)
	"100::/64",       // discarded (RFC 6666)
	"2001::/32",      // Teredo (RFC 4380): a tunnel to an address hidden inside
	"fec0::/10",      // site-local, once (RFC 3879)
)

// carriers are IPv6 addresses with one of IPv4 inside, and where it begins, in bytes.
var carriers = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},        // IPv4-compatible, once (RFC 4291 §2.5.5.1)
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4 (RFC 3056)
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// IsPrivate reports whether a URL's host is written as an address that the Internet
// does not route, or as this machine's name.
func IsPrivate(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && IsPrivateAddress(addr)
}

// IsPrivateAddress reports whether the Internet does not route addr: it is this
// machine's, of a private network, link-local as those of cloud metadata services
// are, multicast, or an IPv6 address that leads to such an IPv4 address.
func IsPrivateAddress(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast() {
		return true
	}
	for _, prefix := range unrouted {
		if prefix.Contains(addr) {
			return true
		}
	}
	for _, carrier := range carriers {
		if carrier.prefix.Contains(addr) {
			bytes := addr.As16()
			return IsPrivateAddress(netip.AddrFrom4([4]byte(bytes[carrier.at : carrier.at+4])))
		}
	}
	return false
}
