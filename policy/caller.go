package policy

import (
	"crypto/sha256"
	"net/netip"
	"slices"
)

// Local is the built-in caller: whoever connects from this machine over the
// loopback interface. On a machine with several users that is all of them.
const Local = "local"

// KeyHash is the SHA-256 of a caller's key. Keys themselves are not kept.
type KeyHash [sha256.Size]byte

// HashKey returns the KeyHash of a key.
func HashKey(key string) KeyHash { return sha256.Sum256([]byte(key)) }

// Peer is what is known of the other end of a connection.
type Peer struct {
	Addr netip.Addr
	Keys []KeyHash // of what it showed that may be its key
}

// Identity is who a peer is, and how that was told.
type Identity struct {
	Caller string   // "" for nobody known
	Key    *KeyHash // what it was told by, if by a key
}

// Identify returns the first configured caller that peer is, then Local, or
// nobody.
func (p *Policy) Identify(peer Peer) Identity {
	addr := peer.Addr.Unmap().WithZone("")
	for _, caller := range p.callers {
		for _, prefix := range caller.addresses {
			if prefix.Contains(addr) {
				return Identity{Caller: caller.name}
			}
		}
		for i, key := range peer.Keys {
			if slices.Contains(caller.keys, key) {
				return Identity{caller.name, &peer.Keys[i]}
			}
		}
	}
	if addr.IsLoopback() {
		return Identity{Caller: Local}
	}
	return Identity{}
}

// Keys returns the hashes of a caller's keys; nil for who has none.
func (p *Policy) Keys(name string) []KeyHash {
	for _, caller := range p.callers {
		if caller.name == name {
			return caller.keys
		}
	}
	return nil
}

// HasKeys reports whether any caller is known by a key.
func (p *Policy) HasKeys() bool {
	return slices.ContainsFunc(p.callers, func(c caller) bool { return len(c.keys) > 0 })
}

// KnowsKey reports whether it is the key of any caller.
func (p *Policy) KnowsKey(key KeyHash) bool {
	return slices.ContainsFunc(p.callers, func(c caller) bool { return slices.Contains(c.keys, key) })
}

// MayAnything reports whether some rule allows the caller something.
func (p *Policy) MayAnything(name string) bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool { return slices.Contains(r.callers, name) })
}

type caller struct {
	name      string
	addresses []netip.Prefix
	keys      []KeyHash
}
