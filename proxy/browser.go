package proxy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// preflightAge is how long a browser may keep what a preflight was answered.
const preflightAge = "600" // s

// guardBrowser refuses what a web page made a browser send, whatever the method:
// a GET by an image says who it is for only in Sec-Fetch-Site. Pages of the
// listener's origins may. Sec-Fetch-Mode alone is Node's fetch, and no browser.
// A page may also be kept out by a header that only a tool can set.
func (t *table) guardBrowser(l *Listener, r *http.Request, x *Exchange) error {
	cfg := t.listeners[l.index]
	if x.origin = listedOrigin(r.Header["Origin"], cfg.Origins); x.origin != "" {
		x.preflight = isPreflight(r)
	} else if isBrowser(r) {
		return &Error{Code: "browser_refused", Key: "proxy.listeners.origins",
			Detail: "a web page made this request (it has Origin or Sec-Fetch-Site, or asks leave for one that has); to serve browsers, list the page's origin under origins: of the listener"}
	}
	name := textproto.CanonicalMIMEHeaderKey(cfg.RequireHeader)
	x.requiredHeader = name
	if name != "" && !x.preflight && len(r.Header[name]) == 0 {
		return &Error{Code: "browser_refused", Key: "proxy.listeners.require_header",
			Detail: "this listener serves only requests with header " + name + " (require_header), which a web page or a URL alone cannot set; send it with any value"}
	}
	return nil
}

func listedOrigin(sent, listed []string) string {
	if len(sent) == 1 && slices.Contains(listed, sent[0]) {
		return sent[0]
	}
	return ""
}

func isBrowser(r *http.Request) bool {
	return len(r.Header["Origin"]) > 0 || len(r.Header["Sec-Fetch-Site"]) > 0 || isPreflight(r)
}

// isPreflight reports whether a browser asks what a page may send (Fetch, CORS protocol).
func isPreflight(r *http.Request) bool {
	if r.Method != http.MethodOptions {
		return false
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Access-Control-Request-") {
			return true
		}
	}
	return false
}

// answerPreflight lets a page of a listed origin send what it asked for: whether it
// may is decided when it does.
func answerPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", strings.Join(allowedMethods, ", "))
	if wanted := r.Header.Values("Access-Control-Request-Headers"); len(wanted) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(wanted, ", "))
	}
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	h.Set("Access-Control-Max-Age", preflightAge)
	w.WriteHeader(http.StatusNoContent)
}

// What every answer says to a browser that shows it all the same: run nothing of
// it, take it for nothing else than it says, and let no other page have it.
var (
	noSniff   = []string{"nosniff"}
	noScripts = []string{"sandbox; default-src 'none'"}
	noOthers  = []string{"same-origin"}
)

func setBrowserHeaders(h http.Header, origin string) {
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = noScripts
	h["Cross-Origin-Resource-Policy"] = noOthers
	if origin != "" {
		h["Access-Control-Allow-Origin"] = []string{origin}
		h["Access-Control-Expose-Headers"] = []string{"*"}
		h.Add("Vary", "Origin")
	}
}
