package proxy

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// sites are the upstreams that requests may go to through a listener with forward:
// true, by scheme and host as a client writes them, in lower case; longer base paths
// come first.
type sites map[string][]site

// site is one of them.
type site struct {
	upstream string // its name
	base     string // the path of its url, raw, without a / at its end
}

// sites returns the listener's; nil where it forwards nothing. A listener of one
// upstream has that one alone.
func (l ListenerConfig) sites(upstreams map[string]UpstreamConfig) sites {
	if !l.Forward {
		return nil
	}
	all := sites{}
	for _, name := range names(upstreams) {
		base, err := url.Parse(upstreams[name].URL)
		if err != nil || base.Host == "" || l.Upstream != "" && l.Upstream != name {
			continue
		}
		for _, origin := range writtenOrigins(base) {
			all[origin] = append(all[origin], site{name, strings.TrimSuffix(base.EscapedPath(), "/")})
		}
	}
	for _, there := range all {
		slices.SortStableFunc(there, func(a, b site) int { return cmp.Compare(len(b.base), len(a.base)) })
	}
	return all
}

// writtenOrigins are all ways to write where an upstream is. To one of https clients
// write http as well: what is https they send through no proxy but in a tunnel, and
// bearerd could put no token on that.
func writtenOrigins(base *url.URL) []string {
	port := portOf(base)
	host := strings.ToLower(strings.TrimSuffix(base.Host, ":"+base.Port()))
	origins := []string{"http://" + host + ":" + port}
	if base.Scheme == "https" {
		origins = append(origins, "https://"+host+":"+port)
	}
	switch base.Scheme + port {
	case "http80":
		origins = append(origins, "http://"+host)
	case "https443":
		origins = append(origins, "https://"+host, "http://"+host, "http://"+host+":80")
	}
	return origins
}

// checkForward notes two upstreams that a URL does not tell apart.
func (l ListenerConfig) checkForward(path []any, upstreams map[string]UpstreamConfig, m Mistakes) {
	all := l.sites(upstreams)
	for _, origin := range names(all) {
		there := all[origin]
		for i := 1; i < len(there); i++ {
			if one, other := there[i-1], there[i]; one.base == other.base {
				m.Add(path, "upstreams %s and %s are both at %s, and a URL alone does not tell which is meant; write upstream: %s beside it, for a listener of that one, or leave it out",
					one.upstream, other.upstream, origin+one.base, one.upstream)
				return
			}
		}
	}
}

// Through returns the first listener that takes a request for a URL as a proxy does; false
// if none does.
func (c Config) Through(url string) (listener int, found bool) {
	origin := strings.ToLower(parseTarget(url).origin)
	listener = slices.IndexFunc(c.Listeners, func(l ListenerConfig) bool { return len(l.sites(c.Upstreams)[origin]) > 0 })
	return listener, listener >= 0
}

// checkAuthority refuses what some parser could take for another host than the one
// that is looked for: names are compared as ASCII, port and all.
func (t target) checkAuthority() error {
	scheme, _, _ := strings.Cut(t.origin, "://")
	switch {
	case !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https"):
		return ambiguous("the request target is a URL of another scheme than http and https")
	case strings.Contains(t.authority, "@"):
		return ambiguous("the request target has user information; leave it out, bearerd sets its own credential")
	case t.authority == "":
		return ambiguous("the request target names no host")
	case strings.ContainsFunc(t.authority, isNoHostRune):
		return ambiguous("the request target's host has a character that no host name has")
	}
	return nil
}

func isNoHostRune(c rune) bool {
	return c > unicode.MaxASCII || !isAlphanumeric(byte(c)) && !strings.ContainsRune("-._:[]", c)
}

// guardSite keeps requests in absolute-form to the hosts of upstreams. What their
// Host says is not looked at, and does not go on: net/http puts the target's own in
// its place (RFC 9112 §3.2.2). A web page cannot send such requests but through a
// browser whose proxy this is.
func (t *table) guardSite(l *Listener, r *http.Request, x *Exchange) error {
	if len(t.sites[l.index][strings.ToLower(x.sentTo)]) == 0 {
		return &Error{Code: "host_refused", Key: "proxy.upstreams",
			Detail: "no upstream's url has this host and port, and to others nothing is forwarded; list it under proxy.upstreams, or have the tool reach it without bearerd (no_proxy)"}
	}
	if x.Target != "" {
		return nil
	}
	if r.Method == http.MethodOptions { // to the next proxy it means *, RFC 9112 §3.2.4
		x.closes = true
		return ambiguous("an OPTIONS without a path asks about the server as a whole, which is not forwarded; write the path, if only /")
	}
	x.Target = "/" // RFC 9110 §4.2.3
	return nil
}

// routeSite returns the upstream that a request in absolute-form is for, and the
// path of its url, below which the request's has to be.
func (t *table) routeSite(l *Listener, x *Exchange) (*Upstream, string, error) {
	there := t.sites[l.index][strings.ToLower(x.sentTo)]
	var bases []string
	for _, s := range there {
		if strings.HasPrefix(x.Target, s.base+"/") {
			return t.upstreams[s.upstream], s.base, nil
		}
		bases = append(bases, x.sentTo+s.base+"/")
	}
	return nil, "", &Error{Code: "no_upstream", Key: "proxy.upstreams",
		Detail: "no upstream's url has a path that this one is below; there are " + strings.Join(bases, ", ")}
}

// relocateThrough turns a Location that is a URL of the upstream's own host into one as
// the caller writes it, who then comes through here again and not straight to https. Any
// other passes: what is relative is so to the URL that was sent.
func (u *Upstream) relocateThrough(location, sentTo string) string {
	parsed, err := url.Parse(location)
	if err != nil || parsed.Scheme == "" || parsed.Host == "" || parsed.User != nil || originOf(parsed) != originOf(u.base) {
		return location
	}
	_, rest, _ := strings.Cut(location, "//")
	return sentTo + rest[strings.IndexAny(rest+"/", "/?#"):]
}
