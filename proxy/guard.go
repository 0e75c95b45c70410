package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxFields is how many header fields a request may have; their bytes are bounded
// by the server.
const maxFields = 200

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
	if err := guardLoop(r.Header, l.proxy.pseudonym); err != nil {
		return err
	}
	// A later request could hide in what one parser takes for a body and another
	// does not; net/http does not tell whether both lengths were given.
	x.closes = len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1)
	if !slices.Contains(allowedMethods, r.Method) {
		x.closes = true
		return refuseMethod(r.Method)
	}
	sent := parseTarget(r.RequestURI)
	if sent.form == absoluteForm && t.listeners[l.index].Forward && r.ProtoMajor == 1 { // RFC 9113 §8.3.1 has it in parts
		x.sentTo = sent.origin
	}
	if len(sent.path) <= maxPathBytes {
		x.Target = sent.path
	}
	x.Query = sent.query
	err := sent.check(x.sentTo != "")
	if err == nil {
		err = guardFraming(r)
	}
	if err == nil {
		err = guardHeaders(r.Header)
	}
	if err != nil {
		x.closes = true
		return err
	}
	if x.sentTo != "" {
		err = t.guardSite(l, r, x)
	} else {
		err = t.guardHost(l, r)
	}
	if err != nil {
		return err
	}
	return t.guardBrowser(l, r, x)
}

func refuseMethod(method string) error {
	detail := "this method is not forwarded"
	if method == http.MethodConnect {
		detail = "no tunnel is opened, since no token could be put on what goes through one; write http:// in the tool's URLs: a listener with forward: true asks the upstream over https"
	}
	return &Error{Code: "method_refused", Detail: detail, header: http.Header{"Allow": {strings.Join(allowedMethods, ", ")}}}
}

func ambiguous(detail string) *Error { return &Error{Code: "request_ambiguous", Detail: detail} }

// guardFraming refuses bodies that another parser could see begin or end elsewhere.
func guardFraming(r *http.Request) error {
	var e *Error
	switch {
	case r.ProtoMajor != 2 && (r.ProtoMajor != 1 || r.ProtoMinor > 1):
		e = ambiguous("the HTTP version is none that is spoken here; send HTTP/1.1")
		e.status = http.StatusHTTPVersionNotSupported
	case len(r.Trailer) > 0:
		e = ambiguous("the request announces trailers, which are not forwarded; send them as headers")
	case r.ContentLength != 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		e = ambiguous("a " + r.Method + " has no body here, since servers differ on whether it may have one; send none")
	case !r.ProtoAtLeast(1, 1) && len(r.Header["Content-Length"]) == 0 && (r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch):
		e = ambiguous("a body in HTTP/1.0 needs a Content-Length; send one, also where it is 0")
		e.status = http.StatusLengthRequired
	case r.ProtoMajor == 2:
		return guardStream(r)
	default:
		return nil
	}
	return e
}

// guardStream refuses what a request in HTTP/2 can say twice, and net/http heeds once.
func guardStream(r *http.Request) error {
	hosts, lengths := r.Header["Host"], r.Header["Content-Length"]
	switch {
	case len(hosts) > 1 || len(hosts) == 1 && hosts[0] != r.Host:
		return ambiguous("header Host names another machine than :authority; send one of them")
	case len(lengths) > 1 || len(lengths) == 1 && lengths[0] != strconv.FormatInt(r.ContentLength, 10):
		return ambiguous("header Content-Length is not the length of the body; send one, in digits alone, or none")
	}
	return nil
}

func guardHeaders(h http.Header) error {
	fields := 0
	for name, values := range h {
		fields += len(values)
		if strings.Contains(name, "_") { // which some servers take for a -
			return ambiguous("a header's name has an underscore, which servers read differently; write it with -")
		}
		for _, value := range values {
			if !utf8.ValidString(value) {
				return ambiguous("header " + name + " is not UTF-8")
			}
		}
	}
	if fields > maxFields {
		return &Error{Code: "request_too_long", status: http.StatusRequestHeaderFieldsTooLarge, Detail: "the request has more than 200 header fields"}
	}
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
	if r.Host == "" && !r.ProtoAtLeast(1, 1) {
		return nil // HTTP/1.0 need not send one (RFC 9112 §3.2)
	}
	name := hostName(r.Host)
	if slices.Contains(t.hosts[l.index], name) {
		return nil
	}
	if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); isOwnAddress(name, local) {
		return nil
	}
	return &Error{Code: "host_refused", Key: "proxy.listeners.hosts",
		Detail: "the Host header names a machine that this is not known to be; to accept it, list it under hosts: of the listener"}
}

// hostName is a Host header's name, lower-case, without port and brackets; "" for
// what is no name and perhaps a port.
func hostName(host string) string {
	name, port := host, ""
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:at], host[at+1:]
	}
	if strings.Trim(port, "0123456789") != "" {
		return ""
	}
	inner, open := strings.CutPrefix(name, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if open != closed || open != strings.Contains(inner, ":") {
		return ""
	}
	return strings.ToLower(inner)
}

// isOwnAddress reports whether name is the address the connection came in on, or
// localhost where that is a loopback one or a unix socket.
func isOwnAddress(name string, local net.Addr) bool {
	switch local := local.(type) {
	case *net.TCPAddr:
		own := local.AddrPort().Addr().Unmap().WithZone("")
		if name == "localhost" {
			return own.IsLoopback()
		}
		addr, err := netip.ParseAddr(name)
		return err == nil && addr == own
	case *net.UnixAddr:
		return name == "localhost" // what its clients write where a URL wants a name
	}
	return false
}
