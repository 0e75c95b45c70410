package proxy

import (
	"errors"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"bearerd/policy"
)

// identify asks policy who is calling, by what is known of the connection and by
// what was shown. It fills Caller and Peer. A key or token that is shown as nothing
// else and is not good, or a placeholder that no longer stands for a key, is
// refused wherever it comes from, so that who means to be one caller is not served
// as another.
func (t *table) identify(l *Listener, r *http.Request, x *Exchange) error {
	peer, err := t.peer(l, r, x)
	if err != nil {
		return err
	}
	x.hasKeys = t.deps.Policy.HasKeys()
	if x.as != "" {
		x.Caller, x.inboundKnown = x.as, t.deps.Policy.ShowsCredential(x.as)
		return nil
	}
	shown, good := t.shownKeys(r.Header, x)
	if !good {
		return unknownCaller(x.hasKeys || len(t.deps.Verifiers) > 0)
	}
	peer.Keys = shown.keys
	if peer.Proof, err = t.proof(r, x); err != nil {
		return err
	}
	is := t.deps.Policy.Identify(peer)
	if is.Caller == "" || shown.caller != "" && is.Caller != shown.caller { // all else that its entry names holds of a placeholder too
		return unknownCaller(x.hasKeys || len(t.deps.Verifiers) > 0)
	}
	x.Caller, x.key = is.Caller, is.Key
	return nil
}

// peer returns what is known of the other end of the connection, and of whom it
// speaks for where it is a trusted proxy.
func (t *table) peer(l *Listener, r *http.Request, x *Exchange) (policy.Peer, error) {
	peer := policy.Peer{SANs: peerSANs(r), Anonymous: t.listeners[l.index].Anonymous}
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer.Addr = at.Addr().Unmap().WithZone("")
	}
	x.Peer = "unix"
	if peer.Addr.IsValid() {
		x.Peer = peer.Addr.String()
		if trusted := t.trusted[l.index]; contains(trusted, peer.Addr) {
			addr, ok := forwardedFor(peer.Addr, r.Header["X-Forwarded-For"], trusted)
			if !ok {
				return peer, ambiguous("a trusted proxy sent an X-Forwarded-For that is no list of addresses; have it write addresses alone")
			}
			peer.Addr, peer.Forwarded = addr, true
			x.Peer = addr.String() + " by " + x.Peer
		}
	}
	ownUser := t.listeners[l.index].OwnUser && tellsUsers
	if !peer.Addr.IsValid() || !peer.Forwarded && peer.Addr.IsLoopback() && (t.knowsUsers || ownUser) {
		if peer.User = peerUser(r.Context()); peer.User != nil {
			x.Peer += " uid " + strconv.FormatUint(uint64(peer.User.UID), 10)
		}
	}
	peer.Unowned = t.knowsUsers && tellsUsers && peer.User == nil // it hung up, or the kernel may not be asked
	if ownUser && (peer.User == nil || !peer.User.Self) {
		return peer, &Error{Code: "caller_unknown", Detail: "this port is for one command of one user (bearerd exec), and the system does not say that you are that user"}
	}
	return peer, nil
}

// Trusted are the listener's trusted proxies.
func (l ListenerConfig) Trusted() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, text := range l.TrustedProxies {
		if prefix, err := policy.ParseNetwork(text); err == nil { // Resolve noted the others
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// forwardedFor returns whom a trusted proxy at peer speaks for: the last address in
// X-Forwarded-For that is no trusted proxy's, since all before it can be made up.
// It reports false for what is no address.
func forwardedFor(peer netip.Addr, lines []string, trusted []netip.Prefix) (netip.Addr, bool) {
	if len(lines) == 0 {
		return peer, true
	}
	hops := strings.Split(strings.Join(lines, ","), ",")
	addr := peer
	for _, hop := range slices.Backward(hops) {
		hop = textproto.TrimString(hop)
		one, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]"))
		if err != nil {
			at, errPort := netip.ParseAddrPort(hop)
			if errPort != nil {
				return netip.Addr{}, false
			}
			one = at.Addr()
		}
		if addr = one.Unmap().WithZone(""); !contains(trusted, addr) {
			break
		}
	}
	return addr, true
}

// proof has a bearer token checked that says it is of a kind that tells callers; nil
// if there is none. Several may be asked: one issuer's for two audiences, or the
// cluster's both as an issuer and by TokenReview. The first that is sure counts.
func (t *table) proof(r *http.Request, x *Exchange) (*policy.Proof, error) {
	scheme, token := authorization(r.Header)
	if scheme != "bearer" {
		return nil, nil
	}
	var failed *Error
	for _, verifier := range t.deps.Verifiers {
		if !verifier.Claims(token) {
			continue
		}
		x.inboundKnown = true
		proof, err := verifier.Verify(r.Context(), token)
		switch {
		case err == nil:
			return proof, nil
		case errors.Is(err, policy.ErrCannotTell):
			failed = &Error{Code: "identity_unavailable", Key: "policy.identity", RetryAfter: time.Second, Err: err,
				Detail: "who calls cannot be told now, because the place that says whether its token is good does not answer; send the request again"}
		case failed == nil:
			failed = unknownCaller(true)
			failed.Err = err
		}
	}
	if failed == nil {
		return nil, nil
	}
	return nil, failed
}

// unknownCaller is the only 401 of bearerd's own, where a credential would help.
func unknownCaller(credentialHelps bool) *Error {
	if !credentialHelps {
		return &Error{Code: "caller_unknown", Key: "policy.callers",
			Detail: "no caller is known at your address; to serve it, add one under policy.callers"}
	}
	return &Error{Code: "caller_unknown", Key: "policy.callers", status: http.StatusUnauthorized,
		header: http.Header{"Www-Authenticate": {`Basic realm="bearerd"`, `Bearer realm="bearerd"`}},
		Detail: "no caller is known by your address, key or token; send a caller's key as Basic password, Bearer or X-Api-Key (a Globus tool: as its client secret), or the token that tells who you are as Bearer"}
}
