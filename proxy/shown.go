package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"bearerd/policy"
)

// keyHeader may carry a caller's key; so may Authorization.
const keyHeader = "X-Api-Key"

// shown is what a request shows that may be its caller's key.
type shown struct {
	keys   []policy.KeyHash
	caller string // whom a sealed placeholder, which stands for the key, names; "" for none
}

// shownKeys returns what of a request's headers may be its caller's key, or stands
// for it. It reports false for what can be nothing else and is not good.
func (t *table) shownKeys(h http.Header, x *Exchange) (found shown, good bool) {
	known := t.deps.Policy
	scheme, credential := authorization(h)
	p, isPlaceholder := parsePlaceholder(credential)
	x.inboundKnown = isPlaceholder && scheme == "bearer"
	switch {
	case x.inboundKnown && p.caller != "": // also where no caller has a key any more
		key := p.key(known, t.seal)
		if key == nil {
			return shown{}, false
		}
		return shown{[]policy.KeyHash{*key}, p.caller}, true
	case len(h["Authorization"]) > 1 && (x.hasKeys || len(t.deps.Verifiers) > 0): // which of them is meant?
		return shown{}, false
	case !x.hasKeys:
		return shown{}, true
	case credential != "":
		forms := []string{credential}
		if decoded, err := url.QueryUnescape(credential); scheme == "basic" && err == nil && decoded != credential {
			forms = append(forms, decoded) // as RFC 6749 §2.3.1 has clients write their secret
		}
		for _, form := range forms {
			key := policy.HashKey(form)
			found.keys = append(found.keys, key)
			x.inboundKnown = x.inboundKnown || known.KnowsKey(key)
		}
	}
	for _, value := range h[keyHeader] {
		key := policy.HashKey(value)
		if len(h[keyHeader]) > 1 || !known.KnowsKey(key) {
			return shown{}, false
		}
		found.keys = append(found.keys, key)
	}
	return found, true
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

// refuseInbound notes an Authorization of the caller's own, and refuses it where the
// upstream says inbound_authorization: refuse. A placeholder, a caller's key and a
// token that tells who calls are for bearerd, and pass.
func (u *Upstream) refuseInbound(r *http.Request, x *Exchange) error {
	if x.inboundKnown || len(r.Header["Authorization"]) == 0 {
		return nil
	}
	x.Inbound = "replaced"
	if !u.refusesInbound {
		return nil
	}
	x.Inbound = "refused"
	return ambiguous("this upstream is set to refuse a caller's own Authorization (inbound_authorization: refuse); send none, bearerd sets its own")
}
