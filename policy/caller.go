package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"slices"
	"strings"
)

const (
	// Local is the built-in caller: whoever connects from this machine over the
	// loopback interface, or as bearerd's own uid over a unix socket. On a machine
	// with several users the first is all of them.
	Local = "local"
	// Anonymous is the built-in caller for whoever nobody knows, on listeners that
	// say anonymous: true.
	Anonymous = "anonymous"
)

// KeyHash is the SHA-256 of a caller's key. Keys themselves are not kept.
type KeyHash [sha256.Size]byte

// HashKey returns the KeyHash of a key.
func HashKey(key string) KeyHash { return sha256.Sum256([]byte(key)) }

// Peer is what is known of the other end of a request's connection, and of what
// it showed.
type Peer struct {
	Addr netip.Addr // the peer's, or behind trusted proxies whom they speak for; invalid on a unix socket
	// Forwarded says that a trusted proxy passes the request on. User and SANs are
	// that proxy's then and tell nothing, and it is never Local.
	Forwarded bool
	// Unowned says that the user at the other end tells callers here, and cannot be
	// told: never Local, or who hangs up at once would be.
	Unowned   bool
	User      *User     // who runs the process at the other end; nil if it cannot be told
	SANs      []SAN     // of the verified client certificate
	Keys      []KeyHash // of what it showed that may be its key
	Proof     *Proof    // what a verified bearer token proves; nil if none was shown
	Anonymous bool      // the listener accepts unidentified callers
}

// User is who runs a process, as the kernel tells.
type User struct {
	UID  uint32
	GIDs []uint32
	Self bool // bearerd's own uid
}

// SANKind is the kind of a certificate's subject alternative name.
type SANKind string

// The kinds of names that identify. An IP address does not: address: is for that.
const (
	SANURI   SANKind = "uri"
	SANDNS   SANKind = "dns"
	SANEmail SANKind = "email"
)

// SAN is a subject alternative name (RFC 5280 §4.2.1.6).
type SAN struct {
	Kind  SANKind
	Value string
}

// Identity is who a peer is, and how that was told.
type Identity struct {
	Caller string   // "" for nobody known
	Key    *KeyHash // the key shown, if a key is part of how the caller is told
}

// Identify returns the first configured caller that peer is, then Local, then
// Anonymous where the listener has it, or nobody. Whoever shows a known key, a
// known name in a certificate or a verified token, and is none of the callers
// nevertheless, is nobody: who means to be one caller is not served as another.
func (p *Policy) Identify(peer Peer) Identity {
	addr := peer.Addr.Unmap().WithZone("")
	if peer.Forwarded {
		peer.User, peer.SANs = nil, nil
	}
	san, names := p.namedBy(peer.SANs)
	shown := p.shownKeys(peer.Keys)
	meant := peer.Proof != nil || names > 0
	for i := range p.callers {
		c := &p.callers[i]
		meant = meant || shown[i] >= 0
		if !c.isAt(addr) || !c.isRunBy(peer.User) || !c.isNamed(san, names) || !c.isProven(peer.Proof) {
			continue
		}
		switch {
		case !c.byKey:
			return Identity{Caller: c.name}
		case shown[i] >= 0:
			return Identity{c.name, &peer.Keys[shown[i]]}
		}
	}
	own := addr.IsLoopback() || !peer.Addr.IsValid() && peer.User != nil && peer.User.Self
	switch {
	case meant:
	case own && !peer.Forwarded && !peer.Unowned:
		return Identity{Caller: Local}
	case peer.Anonymous:
		return Identity{Caller: Anonymous}
	}
	return Identity{}
}

// namedBy returns the name by which a certificate identifies, and how many of
// its names callers have: only one tells anything.
func (p *Policy) namedBy(sans []SAN) (one SAN, count int) {
	for _, san := range sans {
		if san.Kind != SANURI { // whose path may differ in case alone
			san.Value = strings.ToLower(san.Value)
		}
		known := slices.ContainsFunc(p.callers, func(c caller) bool { return slices.Contains(c.sans, san) })
		if known && (count == 0 || san != one) {
			one, count = san, count+1
		}
	}
	return one, count
}

// shownKeys returns for each caller which of the shown keys is one of its, or -1.
// All are compared with all, so that the time it takes tells nothing of them.
func (p *Policy) shownKeys(shown []KeyHash) []int {
	found := make([]int, len(p.callers))
	for i := range p.callers {
		at := 0 // one more than the index: ConstantTimeSelect is of what is not negative
		for j := range shown {
			match := 0
			for k := range p.callers[i].keys {
				match |= subtle.ConstantTimeCompare(shown[j][:], p.callers[i].keys[k][:])
			}
			first := subtle.ConstantTimeEq(int32(at), 0)
			at = subtle.ConstantTimeSelect(match&first, j+1, at)
		}
		found[i] = at - 1
	}
	return found
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

// HasKeys reports whether any caller is known by a key, also where its keys could not
// be read: then none is good.
func (p *Policy) HasKeys() bool {
	return slices.ContainsFunc(p.callers, func(c caller) bool { return c.byKey })
}

// KnowsKey reports whether it is the key of any caller, in the same time whichever it is.
func (p *Policy) KnowsKey(key KeyHash) bool {
	known := 0
	for i := range p.callers {
		for j := range p.callers[i].keys {
			known |= subtle.ConstantTimeCompare(key[:], p.callers[i].keys[j][:])
		}
	}
	return known == 1
}

// ShowsCredential reports whether a caller is told by something it shows with each
// request: a key or a token.
func (p *Policy) ShowsCredential(name string) bool {
	return slices.ContainsFunc(p.callers, func(c caller) bool {
		return c.name == name && (c.byKey || c.jwt != "" || len(c.accounts) > 0)
	})
}

// MayAnything reports whether some rule allows the caller something.
func (p *Policy) MayAnything(name string) bool {
	return slices.ContainsFunc(p.rules, func(r *rule) bool { return !r.deny && slices.Contains(r.callers, name) })
}

// Needs is what has to be found out about peers for callers to be told. What is
// false need not be asked for.
type Needs struct {
	Users        bool // who runs the process at the other end
	Groups       bool // and in which groups
	Certificates bool
	Keys         bool
	JWT          bool
	Kubernetes   bool
}

// Needs returns what the configured callers are told by.
func (p *Policy) Needs() Needs {
	var n Needs
	for _, c := range p.callers {
		n.Users = n.Users || c.byUser || c.byGroup
		n.Groups = n.Groups || c.byGroup
		n.Certificates = n.Certificates || len(c.sans) > 0
		n.Keys = n.Keys || c.byKey
		n.JWT = n.JWT || c.jwt != ""
		n.Kubernetes = n.Kubernetes || len(c.accounts) > 0
	}
	return n
}

// caller is a CallerConfig made ready to compare. What it does not name holds of
// everybody.
type caller struct {
	name      string
	addresses []netip.Prefix
	byUser    bool
	self      bool
	uid       *uint32
	byGroup   bool
	gid       *uint32
	sans      []SAN
	byKey     bool
	keys      []KeyHash
	accounts  []string
	jwt       string
	claims    []claim
}

func (c *caller) isAt(addr netip.Addr) bool {
	return len(c.addresses) == 0 || slices.ContainsFunc(c.addresses, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (c *caller) isRunBy(user *User) bool {
	switch {
	case !c.byUser && !c.byGroup:
		return true
	case user == nil, c.byGroup && (c.gid == nil || !slices.Contains(user.GIDs, *c.gid)):
		return false
	case !c.byUser:
		return true
	case c.self:
		return user.Self
	}
	return c.uid != nil && user.UID == *c.uid
}

func (c *caller) isNamed(san SAN, names int) bool {
	return len(c.sans) == 0 || names == 1 && slices.Contains(c.sans, san)
}

func (c *caller) isProven(proof *Proof) bool {
	switch {
	case len(c.accounts) == 0 && c.jwt == "":
		return true
	case proof == nil,
		len(c.accounts) > 0 && !slices.Contains(c.accounts, proof.ServiceAccount),
		c.jwt != "" && c.jwt != proof.Issuer:
		return false
	}
	return !slices.ContainsFunc(c.claims, func(want claim) bool { return !want.isIn(proof.Claims) })
}
