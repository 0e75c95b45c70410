package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"bearerd/policy"
)

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
	dropAnswerHeaders(resp.Header, resp.StatusCode)
	delete(resp.Header, "Trailer")
	for i, location := range resp.Header["Location"] {
		resp.Header["Location"][i] = u.relocate(location, x.prefix)
	}
	if err := readWhole(resp); err != nil {
		return err
	}
	x.response.take(resp)
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

// droppedAnswers are what of an upstream's answer is about its own pages in a
// browser, or about its credentials; they end here, with all of CORS.
var droppedAnswers = []string{
	"Set-Cookie", "Set-Cookie2", "Proxy-Authenticate", "Proxy-Authentication-Info", "Authentication-Info", "Alt-Svc", "Strict-Transport-Security", "Clear-Site-Data",
	"Refresh", "Server", "Public-Key-Pins", "Nel", "Report-To", "Reporting-Endpoints", "Service-Worker-Allowed", "Sourcemap", "X-Sourcemap",
}

// dropAnswerHeaders takes off what the caller is not told. A 401 keeps its
// WWW-Authenticate, without which it would be none (RFC 9110 §15.5.2).
func dropAnswerHeaders(h http.Header, status int) {
	for _, name := range droppedAnswers {
		delete(h, name)
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
	if status != http.StatusUnauthorized {
		delete(h, "Www-Authenticate")
	}
	delete(h, errorHeader) // ours alone
}
