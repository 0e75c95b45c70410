package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxPathBytes  = 4 << 10
	maxQueryBytes = 8 << 10
)

// allowedMethods are forwarded if a rule says so. TRACE would echo our token to
// the caller (RFC 9110 §9.3.8), CONNECT would open a tunnel past every check.
var allowedMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// overrideHeaders ask some servers to act on another method than policy saw.
var overrideHeaders = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

// connectionOptions are what Connection may name; anything else would take
// headers off the request on the way (RFC 9110 §7.6.1).
var connectionOptions = []string{"close", "keep-alive", "te", "upgrade", "http2-settings"}

// guard refuses what two parsers could read differently, what no tool sends, and
// what a web page makes a browser send. It fills Target and Query.
func (t *table) guard(l *Listener, r *http.Request, x *Exchange) error {
	if !slices.Contains(allowedMethods, r.Method) {
		return &Error{Code: "method_refused", Detail: "this method is not forwarded", header: http.Header{"Allow": {strings.Join(allowedMethods, ", ")}}}
	}
	if !strings.HasPrefix(r.RequestURI, "/") || r.URL.Scheme != "" || r.URL.Opaque != "" || r.URL.Host != "" || r.URL.User != nil {
		return ambiguous("the request target is not a path; send requests to bearerd's own URL, not through it as a proxy")
	}
	path, query, hasQuery := strings.Cut(r.RequestURI, "?")
	if len(path) > maxPathBytes || len(query) > maxQueryBytes {
		return &Error{Code: "request_too_long", Detail: "the path is longer than 4 KiB or the query than 8 KiB"}
	}
	x.Target = path
	if hasQuery {
		x.Query = "?" + query
	}
	if why := checkPath(path); why != "" {
		return ambiguous("the path " + why)
	}
	if why := checkQuery(query); why != "" {
		return ambiguous("the query " + why)
	}
	if err := t.guardHost(l, r); err != nil {
		return err
	}
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return &Error{Code: "browser_refused", Detail: "a web page made this request (it has Origin or Sec-Fetch-Site); browsers are not served"}
	}
	return guardHeaders(r.Header)
}

func ambiguous(detail string) error { return &Error{Code: "request_ambiguous", Detail: detail} }

func guardHeaders(h http.Header) error {
	for _, name := range overrideHeaders {
		if len(h[name]) > 0 {
			return ambiguous("header " + name + " asks for another method than the one sent; send the method itself")
		}
	}
	for _, value := range h["Connection"] {
		for option := range strings.SplitSeq(value, ",") {
			if option = strings.ToLower(textproto.TrimString(option)); option != "" && !slices.Contains(connectionOptions, option) {
				return ambiguous("header Connection names another header, which would take it off the request")
			}
		}
	}
	return nil
}

// guardHost keeps foreign names out, which a web page could have made resolve to
// this machine (DNS rebinding). Ports do not count: port-forwards change them.
func (t *table) guardHost(l *Listener, r *http.Request) error {
	if r.Host == "" && r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		return nil // HTTP/1.0 need not send one (RFC 9112 §3.2)
	}
	name := hostName(r.Host)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if slices.Contains(t.hosts[l.index], name) || isOwnAddress(name, local) {
		return nil
	}
	return &Error{Code: "host_refused", Key: "proxy.listeners.hosts",
		Detail: "the Host header names a machine that this is not known to be; to accept it, list it under hosts: of the listener"}
}

// hostName is a Host header's name, lower-case, without port and brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}

// isOwnAddress reports whether name is the address the connection came in on, or
// localhost where that is a loopback one.
func isOwnAddress(name string, local net.Addr) bool {
	if local == nil {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return false
	}
	own := at.Addr().Unmap().WithZone("")
	addr, err := netip.ParseAddr(name)
	return err == nil && addr == own || name == "localhost" && own.IsLoopback()
}

// checkPath says what is wrong with a raw path whatever its upstream allows, or
// "". Allowed are RFC 3986's path characters; dot segments are refused in any
// single or double decoding, and empty segments but for the last.
func checkPath(path string) string {
	if why := checkBytes(path, isPathByte); why != "" {
		return why
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 {
			return "has an empty segment (//)"
		}
		once := unescape(segment)
		for _, form := range []string{segment, once, unescape(once)} {
			if hasDotSegment(form) {
				return "has a dot segment (. or ..)"
			}
		}
		if strings.ContainsFunc(once, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "has an encoded control character"
		}
	}
	return ""
}

// checkStrict says what more is wrong with a path where upstreams do not name
// files (path: strict), or "".
func checkStrict(path string) string {
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && strings.IndexByte(`/\.%;?#`, unhex(path[i+1])<<4|unhex(path[i+2])) >= 0 {
			return "has an encoded " + path[i:i+3] + ", which servers read differently; where paths name files, set path: files on the upstream"
		}
	}
	if !utf8.ValidString(unescape(path)) {
		return "is not UTF-8 when decoded"
	}
	return ""
}

// checkQuery says what is wrong with a raw query, or "". Bytes beyond RFC 3986
// that tools do send unescaped ([, |, UTF-8) pass as they are.
func checkQuery(query string) string {
	if !utf8.ValidString(query) {
		return "is not UTF-8"
	}
	return checkBytes(query, func(c byte) bool { return c > ' ' && c != 0x7f && c != '#' })
}

func checkBytes(text string, allowed func(byte) bool) string {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '%':
			if i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2]) {
				return "has a % that starts no escape"
			}
		case !allowed(text[i]):
			return "has a character that must be percent-encoded"
		}
	}
	return ""
}

// isPathByte reports RFC 3986 §3.3's pchar and "/".
func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0
}

// hasDotSegment splits at whatever some server takes for a separator, and stops
// a segment at ";" as servlet containers do.
func hasDotSegment(text string) bool {
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '\\' }) {
		name, _, _ := strings.Cut(part, ";")
		if name == "." || name == ".." {
			return true
		}
	}
	return false
}

// unescape decodes what can be decoded and leaves the rest as it is.
func unescape(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
			b.WriteByte(unhex(text[i+1])<<4 | unhex(text[i+2]))
			i += 2
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
