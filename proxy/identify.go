package proxy

import (
	"net/http"
	"net/netip"

	"bearerd/policy"
)

// identify asks policy who is calling. It fills Caller.
func (t *table) identify(r *http.Request, x *Exchange) error {
	var peer policy.Peer
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer.Addr = at.Addr()
	}
	x.Caller = t.deps.Policy.Identify(peer)
	if x.Caller == "" {
		return &Error{Code: "caller_unknown", Key: "policy.callers",
			Detail: "no caller is known at your address; to serve it, add one under policy.callers"}
	}
	return nil
}
