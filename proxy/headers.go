package proxy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// HeadersConfig is what of a caller's own an upstream is told after all.
type HeadersConfig struct {
	Cookies []string `yaml:"cookies"` // names of cookies that are forwarded; default none
	// Allow are headers that are forwarded although they are of those that say who
	// somebody is. Never Authorization or what is about the connection.
	Allow []string `yaml:"allow"`
}

// callerHeaders say who somebody is, or what was asked of another proxy. They
// are about the caller's side and end here, with all that begin as callerPrefixes.
var callerHeaders = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "Forwarded", "Max-Forwards", "Early-Data",
	"X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip",
	"Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name", "X-Remote-User", "X-User", "X-User-Id", "X-Authenticated-User",
	"X-Rewrite-Url", "X-Client-Cert", "X-Client-Dn", "Client-Cert", "Client-Cert-Chain",
	"Http2-Settings",
	"Expect", // ours to say; see authorize.go
}

var callerPrefixes = []string{
	"X-Forwarded-", "X-Original-", "X-Remote-", "X-Auth-Request-", "X-Authenticated-", "X-Webauth-", "X-Ssl-", "Ssl-Client-",
	"X-Goog-Authenticated-", "X-Goog-Iap-", "X-Amzn-Oidc-", "X-Ms-Client-Principal", "X-Envoy-", "Cf-Access-", "Tailscale-User-", "Sec-Websocket-",
}

// neverAllowed are those that allow: may not name: ours to set, or the connection's.
var neverAllowed = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "Connection", "Upgrade", "Http2-Settings", "Host", "Te", "Trailer",
	"Transfer-Encoding", "Content-Length", "Keep-Alive", "Proxy-Connection", "Expect", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
}

// hopByHop are about one connection, or for the other end of one alone (RFC 9110
// §7.6.1). They end here in both directions. What else Connection names is refused in a
// request, see guard.go, and dropped from an answer.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authenticate", "Proxy-Authorization",
}

// endsHere are the names of both lists.
var endsHere = nameSet(callerHeaders, hopByHop)

func nameSet(lists ...[]string) map[string]bool {
	set := map[string]bool{}
	for _, name := range slices.Concat(lists...) {
		set[name] = true
	}
	return set
}

// forwarded makes what the upstream is told of a caller's headers. Their values stay
// the caller's: nobody may change one in place.
func (u *Upstream) forwarded(sent http.Header) http.Header {
	told := make(http.Header, len(sent)+2) // with Authorization and Via
	for name, values := range sent {
		if !endsHere[name] && !isCallers(name) || slices.Contains(u.headers.Allow, name) {
			told[name] = values
		}
	}
	if cookies := u.keptCookies(sent["Cookie"]); cookies != "" {
		told["Cookie"] = []string{cookies}
	}
	return told
}

func isCallers(name string) bool {
	return slices.ContainsFunc(callerPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// keptCookies returns those that the upstream is told, as they came.
func (u *Upstream) keptCookies(lines []string) string {
	if len(u.headers.Cookies) == 0 {
		return ""
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = textproto.TrimString(pair)
			if name, _, _ := strings.Cut(pair, "="); slices.Contains(u.headers.Cookies, name) {
				kept = append(kept, pair)
			}
		}
	}
	return strings.Join(kept, "; ")
}

// resolve brings the names into the form that net/http has them in, and notes what
// can be none or may not be forwarded.
func (c *HeadersConfig) resolve(path []any, m Mistakes) {
	for i, name := range c.Allow {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch at := append(path, "allow", i); {
		case name == "" || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			m.Add(at, "%q is no header's name; write one such as X-Real-Ip", name)
		case slices.Contains(neverAllowed, canonical):
			m.Add(at, "%s is never forwarded; leave it out (cookies have a list of their own, cookies:)", canonical)
		case !slices.Contains(callerHeaders, canonical) && !isCallers(canonical):
			m.Add(at, "%s is forwarded anyway; leave it out", canonical)
		}
		c.Allow[i] = canonical
	}
	for i, name := range c.Cookies {
		if name == "" || strings.ContainsAny(name, "=; \t,\"") {
			m.Add(append(path, "cookies", i), "%q is no cookie's name; write the name alone", name)
		}
	}
}
