package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"bearerd/policy"
)

// keyHeader may carry a caller's key; so may Authorization.
const keyHeader = "X-Api-Key"

// identify asks policy who is calling, by address or by the key shown. It fills
// Caller. A key that is shown as nothing else and is not good, or a placeholder
// that no longer stands for one, is refused wherever it comes from, so that who
// means to be one caller is not served as another.
func (t *table) identify(r *http.Request, x *Exchange) error {
	var peer policy.Peer
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer.Addr = at.Addr()
	}
	x.hasKeys = t.deps.Policy.HasKeys()
	keys, good := t.shownKeys(r.Header, x)
	switch peer.Keys = keys; {
	case !good:
		x.Caller, x.key = "", nil
	case x.Caller == "": // no placeholder names one
		is := t.deps.Policy.Identify(peer)
		x.Caller, x.key = is.Caller, is.Key
	}
	if x.Caller == "" {
		return unknownCaller(x.hasKeys)
	}
	return nil
}

// shownKeys returns what of a request's headers may be its caller's key, and fills
// Caller where a sealed placeholder names it. It reports false for what can be
// nothing else and is not good.
func (t *table) shownKeys(h http.Header, x *Exchange) (keys []policy.KeyHash, good bool) {
	known := t.deps.Policy
	scheme, credential := authorization(h)
	p, isPlaceholder := parsePlaceholder(credential)
	x.inboundKnown = isPlaceholder && scheme == "bearer"
	switch {
	case x.inboundKnown && p.caller != "": // also where no caller has a key any more
		key := p.key(known, t.seal)
		if key == nil {
			return nil, false
		}
		x.Caller, x.key = p.caller, key
	case !x.hasKeys:
		return nil, true
	case credential != "":
		forms := []string{credential}
		if decoded, err := url.QueryUnescape(credential); scheme == "basic" && err == nil && decoded != credential {
			forms = append(forms, decoded) // as RFC 6749 §2.3.1 has clients write their secret
		}
		for _, form := range forms {
			key := policy.HashKey(form)
			keys = append(keys, key)
			x.inboundKnown = x.inboundKnown || known.KnowsKey(key)
		}
	}
	for _, value := range h[keyHeader] {
		key := policy.HashKey(value)
		if len(h[keyHeader]) > 1 || !known.KnowsKey(key) {
			return nil, false
		}
		keys = append(keys, key)
	}
	return keys, true
}

func unknownCaller(hasKeys bool) error {
	if !hasKeys {
		return &Error{Code: "caller_unknown", Key: "policy.callers",
			Detail: "no caller is known at your address; to serve it, add one under policy.callers"}
	}
	return &Error{Code: "caller_unknown", Key: "policy.callers", status: http.StatusUnauthorized,
		header: http.Header{"Www-Authenticate": {`Basic realm="bearerd"`, `Bearer realm="bearerd"`}},
		Detail: "no caller is known by your address or key; send a caller's key as Basic password, Bearer or X-Api-Key (a Globus tool: as its client secret)"}
}

// authorization returns the scheme, in lower case, and what may be a key or a
// placeholder: a bearer token, or the password of HTTP Basic. Both are "" where
// there is no such header, or more than one.
func authorization(h http.Header) (scheme, credential string) {
	values := h["Authorization"]
	if len(values) != 1 {
		return "", ""
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	switch scheme = strings.ToLower(scheme); scheme {
	case "bearer":
		return scheme, strings.TrimLeft(rest, " ")
	case "basic":
		_, password, _ := (&http.Request{Header: http.Header{"Authorization": values}}).BasicAuth()
		return scheme, password
	}
	return scheme, ""
}

// refuseInbound refuses an Authorization of the caller's own where the upstream
// says inbound_authorization: refuse. A placeholder and a caller's key are
// bearerd's, and pass.
func (u *Upstream) refuseInbound(r *http.Request, x *Exchange) error {
	if !u.refusesInbound || x.inboundKnown || len(r.Header["Authorization"]) == 0 {
		return nil
	}
	return ambiguous("this upstream is set to refuse a caller's own Authorization (inbound_authorization: refuse); send none, bearerd sets its own")
}
