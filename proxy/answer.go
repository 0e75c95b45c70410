package proxy

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"bearerd/policy"
)

// aside is the outermost RoundTripper. It lays an answer's headers aside, where answer
// finds them: ReverseProxy would go through them three times.
type aside struct{ next http.RoundTripper }

func (a aside) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	x := exchangeOf(req)
	dropNamed(resp.Header)
	x.told, resp.Header = resp.Header, nil
	if isEvents(x.told) { // which ReverseProxy has to see, to flush them at once
		resp.Header = http.Header{"Content-Type": x.told["Content-Type"]}
		delete(x.told, "Content-Type")
	}
	return resp, nil
}

// answer makes what the caller is told of what the upstream answered.
func (u *Upstream) answer(resp *http.Response) error {
	x := exchangeOf(resp.Request)
	if resp.StatusCode < 200 || resp.StatusCode > 599 {
		return x.invalid("answered with a status that HTTP does not have")
	}
	if x.sentWhole.Load() { // and will not be sent again; else the transport still reads it, until finish
		x.body.release()
		x.asked = policy.Request{}
	}
	for i, location := range x.told["Location"] {
		if x.sentTo == "" {
			x.told["Location"][i] = u.relocate(location, x.prefix)
		} else {
			x.told["Location"][i] = u.relocateThrough(location, x.sentTo)
		}
	}
	if err := readWhole(resp); err != nil {
		return err
	}
	tell(x.response.Header(), x.told, resp.StatusCode)
	x.told = nil
	return nil
}

// relocate turns a Location that points into the upstream into a path under the
// prefix, and a path of the upstream's host outside it into a full URL; any
// other passes. RFC 9110 §10.2.2 allows all three forms.
func (u *Upstream) relocate(location, prefix string) string {
	parsed, err := url.Parse(location)
	if err != nil || parsed.Opaque != "" || parsed.User != nil {
		return location
	}
	rest := location
	switch {
	case parsed.Scheme == "" && parsed.Host == "" && strings.HasPrefix(location, "/"):
	case parsed.Host != "" && originOf(u.base.ResolveReference(parsed)) == originOf(u.base):
		_, rest, _ = strings.Cut(location, "//")
		at := strings.IndexAny(rest, "/?#")
		if at < 0 {
			rest, at = rest+"/", len(rest)
		}
		if rest = rest[at:]; rest[0] != '/' {
			rest = "/" + rest
		}
	default:
		return location
	}
	base := strings.TrimSuffix(u.base.EscapedPath(), "/")
	below, inside := strings.CutPrefix(rest, base)
	if !inside || (below != "" && below[0] != '/' && below[0] != '?' && below[0] != '#') {
		return u.base.Scheme + "://" + u.base.Host + rest
	}
	if prefix+below == "" || strings.HasPrefix(prefix+below, "//") {
		return u.base.Scheme + "://" + u.base.Host + rest
	}
	return prefix + below
}

// answersEnd are what of an upstream's answer is about its own pages in a browser, or
// about its credentials; they end here, with all of CORS, and with what is ours to say.
var answersEnd = nameSet(hopByHop, []string{
	"Set-Cookie", "Set-Cookie2", "Proxy-Authentication-Info", "Authentication-Info", "Alt-Svc", "Strict-Transport-Security", "Clear-Site-Data",
	"Refresh", "Server", "Public-Key-Pins", "Nel", "Report-To", "Reporting-Endpoints", "Service-Worker-Allowed", "Sourcemap", "X-Sourcemap",
	errorHeader,
})

// dropNamed drops what an answer's Connection names: that is for bearerd alone, whatever
// it is, and ends before anything is made of it.
func dropNamed(said http.Header) {
	for _, value := range said["Connection"] {
		for option := range strings.SplitSeq(value, ",") {
			delete(said, textproto.CanonicalMIMEHeaderKey(textproto.TrimString(option)))
		}
	}
}

// tell tells the caller what an answer says, but for what ends here. A 401 keeps its
// WWW-Authenticate, without which it would be none (RFC 9110 §15.5.2).
func tell(caller, said http.Header, status int) {
	if status != http.StatusUnauthorized {
		delete(said, "Www-Authenticate")
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		delete(said, "Content-Length") // in HTTP/1.1 net/http does; in HTTP/2 curl and Go take an answer without that much for cut short
	}
	for name, values := range said {
		if !answersEnd[name] && !strings.HasPrefix(name, "Access-Control-") {
			caller[name] = values
		}
	}
}
