package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"bearerd/policy"
)

// rewrite makes the outbound request, but for its credential.
func (u *Upstream) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In)
	pr.Out.URL = u.target(x.Path, x.Query)
	pr.Out.Host = "" // the URL's
	u.dropCallerHeaders(pr.Out.Header, pr.In.Header)
	addVia(pr.Out.Header, pr.In, u.pseudonym)
	if x.requiredHeader != "" {
		delete(pr.Out.Header, x.requiredHeader) // it was for bearerd
	}
	if x.hasKeys {
		delete(pr.Out.Header, keyHeader) // it may be a caller's; elsewhere it is the tool's business with the upstream
	}
	delete(pr.Out.Header, "Expect") // ours to say; see authorize.go
}

// target is the upstream's URL for a raw path below it and a raw query with its
// "?". Both leave byte for byte: url.URL keeps a RawPath that decodes to Path.
func (u *Upstream) target(path, query string) *url.URL {
	raw := strings.TrimSuffix(u.base.EscapedPath(), "/") + path
	return &url.URL{
		Scheme: u.base.Scheme, Host: u.base.Host,
		Path: policy.Unescape(raw), RawPath: raw,
		RawQuery: strings.TrimPrefix(query, "?"), ForceQuery: query == "?",
	}
}

// answer makes what the caller is told of what the upstream answered.
func (u *Upstream) answer(resp *http.Response) error {
	if resp.StatusCode < 200 || resp.StatusCode > 599 {
		return &Error{Code: "upstream_invalid", Detail: "upstream " + u.name + " answered with a status that HTTP does not have"}
	}
	x := exchangeOf(resp.Request)
	if x.sentWhole.Load() { // and will not be sent again; else the transport still reads it, until finish
		x.body.release()
		x.asked = nil
	}
	dropAnswerHeaders(resp.Header, resp.StatusCode)
	dropTrailers(resp)
	for i, location := range resp.Header["Location"] {
		resp.Header["Location"][i] = u.relocate(location, x.prefix)
	}
	return readWhole(resp)
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
