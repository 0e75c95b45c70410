package proxy

import (
	"net/http/httputil"
	"net/url"
	"strings"

	"bearerd/policy"
)

// rewrite makes the outbound request, but for its credential. Its headers are made
// here, from the caller's own: ReverseProxy is given none to go through.
func (u *Upstream) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In)
	*pr.Out.URL = u.target(x.Path, x.Query)
	pr.Out.Host = "" // the URL's
	pr.Out.Header = u.forwarded(x.in.Header)
	u.via.add(pr.Out.Header, pr.In)
	if x.requiredHeader != "" {
		delete(pr.Out.Header, x.requiredHeader) // it was for bearerd
	}
	if x.hasKeys {
		delete(pr.Out.Header, keyHeader) // it may be a caller's; elsewhere it is the tool's business with the upstream
	}
}

// target is the upstream's URL for a raw path below it and a raw query with its
// "?". Both leave byte for byte: url.URL keeps a RawPath that decodes to Path.
func (u *Upstream) target(path, query string) url.URL {
	raw := strings.TrimSuffix(u.base.EscapedPath(), "/") + path
	return url.URL{
		Scheme: u.base.Scheme, Host: u.base.Host,
		Path: policy.Unescape(raw), RawPath: raw,
		RawQuery: strings.TrimPrefix(query, "?"), ForceQuery: query == "?",
	}
}
