package proxy

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
)

// via is what one bearerd says of the protocol that a request came in: HTTP/1.0,
// HTTP/1.1, HTTP/2.
type via [3][]string

func newVia(pseudonym string) via {
	return via{{"1.0 " + pseudonym}, {"1.1 " + pseudonym}, {"2 " + pseudonym}}
}

// newPseudonym is what a running bearerd calls itself in Via, as a proxy may that
// does not tell its address (RFC 9110 §7.6.3). No other has the same.
func newPseudonym() string { return "bearerd-" + strings.ToLower(rand.Text()[:12]) }

// add says that the request came through here, after whom it came through before: in
// the protocol that it came in.
func (v *via) add(out http.Header, in *http.Request) {
	mine := v[in.ProtoMinor&1]
	if in.ProtoMajor == 2 {
		mine = v[2]
	}
	if before := out["Via"]; len(before) > 0 {
		mine = slices.Concat(before, mine)
	}
	out["Via"] = mine
}

// guardLoop refuses what this bearerd has forwarded already: an upstream's url leads
// back here, and every round would bring forth the next.
func guardLoop(h http.Header, pseudonym string) error {
	for _, value := range h["Via"] {
		if strings.Contains(strings.ToLower(value), pseudonym) {
			return &Error{Code: "loop_refused", Key: "proxy.upstreams.url",
				Detail: "the request has been through this bearerd already: an upstream's url, or proxy_url, leads back to it"}
		}
	}
	return nil
}
