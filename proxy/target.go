package proxy

import (
	"strings"
	"unicode/utf8"

	"bearerd/policy"
)

const (
	maxPathBytes  = 4 << 10
	maxQueryBytes = 8 << 10
	// maxParameters is below where Go's own parser drops a whole query.
	maxParameters = 1000
)

// form is which of RFC 9112 §3.2's a request target has.
type form string

const (
	originForm    form = "origin-form"
	absoluteForm  form = "absolute-form"
	asteriskForm  form = "asterisk-form"
	authorityForm form = "authority-form" // and whatever else is no path
)

// target is a request target taken apart, once, as the bytes it came in.
type target struct {
	form      form
	origin    string // of an absolute form: scheme://authority
	authority string // of an absolute or authority form
	path      string // raw
	query     string // raw, with its "?"; "" for none
}

// parseTarget cuts a raw request target and changes nothing. A URL that some
// parser would read another way (opaque, with user information) is no path, and
// ends up in a form that is refused.
func parseTarget(raw string) target {
	t := target{path: raw}
	if at := strings.IndexByte(raw, '?'); at >= 0 {
		t.path, t.query = raw[:at], raw[at:]
	}
	switch scheme, rest, found := strings.Cut(t.path, "://"); {
	case strings.HasPrefix(raw, "/"):
		t.form = originForm
	case raw == "*":
		t.form = asteriskForm
	case found && scheme != "":
		t.form = absoluteForm
		at := strings.IndexByte(rest+"/", '/')
		t.origin, t.authority, t.path = raw[:len(scheme)+len("://")+at], rest[:at], rest[at:]
	default:
		t.form, t.authority, t.path = authorityForm, t.path, ""
	}
	return t
}

// check refuses what two parsers could read differently, whatever the upstream. With
// through it may be a URL.
func (t target) check(through bool) error {
	if through {
		if err := t.checkAuthority(); err != nil {
			return err
		}
	} else if t.form != originForm {
		return ambiguous("the request target is in " + string(t.form) + ", not a path; send requests to bearerd's own URL, not through it as a proxy (which a listener with forward: true is)")
	}
	if len(t.path) > maxPathBytes || len(t.query) > maxQueryBytes {
		return &Error{Code: "request_too_long", Detail: "the path is longer than 4 KiB or the query than 8 KiB"}
	}
	if 1+strings.Count(t.query, "&")+strings.Count(t.query, ";") > maxParameters {
		return &Error{Code: "request_too_long", Detail: "the query has more than 1000 parameters"}
	}
	if why := checkPath(t.path); why != "" {
		return ambiguous("the path " + why)
	}
	if why := checkQuery(strings.TrimPrefix(t.query, "?")); why != "" {
		return ambiguous("the query " + why)
	}
	return nil
}

// checkPath says what is wrong with a raw path whatever its upstream allows, or
// "". Allowed are RFC 3986's path characters; dot segments are refused in any
// single or double decoding, and empty segments but for the last.
func checkPath(path string) string {
	if why := checkBytes(path, isPathByte); why != "" {
		return why
	}
	if strings.Contains(path, "//") {
		return "has an empty segment (//)"
	}
	if strings.IndexByte(path, '%') < 0 { // as most are; there is no more to decode
		if policy.HasDotSegment(path) {
			return hasDotSegment
		}
		return ""
	}
	once := policy.Unescape(path)
	twice := policy.Unescape(once)
	if policy.HasDotSegment(path) || policy.HasDotSegment(once) || policy.HasDotSegment(twice) {
		return hasDotSegment
	}
	if strings.ContainsFunc(once, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "has an encoded control character"
	}
	if policy.HasOverlong(once) || policy.HasOverlong(twice) {
		return "has a character in an overlong form of UTF-8"
	}
	return ""
}

const hasDotSegment = "has a dot segment (. or ..)"

// checkStrict says what more is wrong with a path where upstreams do not name
// files (path: strict), or "".
func checkStrict(path string) string {
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && strings.ContainsAny(policy.Unescape(path[i:i+3]), `/\.%;?#`) {
			return "has an encoded " + path[i:i+3] + ", which servers read differently; where paths name files, set path: files on the upstream"
		}
	}
	if !utf8.ValidString(policy.Unescape(path)) {
		return "is not UTF-8 when decoded"
	}
	if strings.Contains(path, "./") || strings.HasSuffix(path, ".") { // some file systems take it off
		return "has a segment that ends in a dot; where paths name files, set path: files on the upstream"
	}
	return ""
}

// checkQuery says what is wrong with a raw query, or "". Bytes beyond RFC 3986
// that tools do send unescaped ([, |, UTF-8) pass as they are.
func checkQuery(query string) string {
	if query == "" {
		return ""
	}
	if !utf8.ValidString(query) {
		return "is not UTF-8"
	}
	if why := checkBytes(query, func(c byte) bool { return c > ' ' && c != 0x7f && c != '#' }); why != "" {
		return why
	}
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		switch parameterName(part) {
		case "access_token":
			return "has access_token; a request has one credential (RFC 6750 §2), and bearerd sets it"
		case "_method":
			return "has _method, which asks for another method than the one sent; send the method itself"
		}
	}
	return ""
}

// parameterName is the name of one name=value of a query as lenient servers read it.
func parameterName(part string) string {
	name, _, _ := strings.Cut(part, "=")
	if isPlain(name) { // as most are
		return strings.ToLower(name)
	}
	name = strings.Trim(policy.Unescape(name), "+ \t\r\n\x00[]") // Express and Rack take brackets off
	name = asVariable.Replace(strings.ToLower(name))
	if strings.Replace(name, "[", "_", 1) == "access_token" {
		return "access_token"
	}
	base, _, _ := strings.Cut(name, "[")
	return base
}

func isPlain(name string) bool {
	for i := 0; i < len(name); i++ {
		if !isAlphanumeric(name[i]) && name[i] != '_' && name[i] != '-' {
			return false
		}
	}
	return true
}

// asVariable writes a parameter's name as PHP does, whose variables have no such
// characters in theirs.
var asVariable = strings.NewReplacer(".", "_", "+", "_", " ", "_")

func checkBytes(text string, allowed func(byte) bool) string {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '%':
			if i+2 >= len(text) || len(policy.Unescape(text[i:i+3])) != 1 {
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
	return isAlphanumeric(c) || strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
