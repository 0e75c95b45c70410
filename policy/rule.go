package policy

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Methods are those that rules and callers may use. HEAD is allowed where GET is.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// Access is a set of requests: any of Methods on any path that matches one of
// Paths (see Pattern).
type Access struct {
	Methods []string
	Paths   []Pattern
}

func (a Access) allows(method string, segments []string) bool {
	head := method == "HEAD" && slices.Contains(a.Methods, "GET")
	if !head && !slices.Contains(a.Methods, method) {
		return false
	}
	return slices.ContainsFunc(a.Paths, func(p Pattern) bool { return p.match(segments) })
}

// Pattern is a path to match, compared by segment and percent-decoded, so that
// /%74ask is /task. A segment * is any one segment that is not empty; a last
// segment ** is all the rest, also none.
type Pattern struct {
	text     string
	segments []string
	rest     bool
}

// ParsePattern reads a pattern; its error says what to write instead.
func ParsePattern(text string) (Pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return Pattern{}, errors.New("does not start with /; write the path below the upstream, such as /v0.10/task/*")
	}
	if strings.ContainsAny(text, "?#") {
		return Pattern{}, errors.New("has a ? or #; write the path alone")
	}
	p := Pattern{text: text}
	raw := strings.Split(text[1:], "/")
	for i, segment := range raw {
		if segment == "**" && i == len(raw)-1 {
			p.rest = true
			continue
		}
		decoded, err := url.PathUnescape(segment)
		switch {
		case err != nil:
			return Pattern{}, errors.New("has a % that starts no escape; write %25 for the character itself")
		case segment != "*" && strings.Contains(segment, "*"):
			return Pattern{}, fmt.Errorf("has * inside segment %q; write * for a whole segment, ** at the end for all the rest, or %%2A for the character itself", segment)
		case decoded == "." || decoded == "..":
			return Pattern{}, errors.New("has a dot segment, which no request has; write the path without it")
		case segment == "" && i < len(raw)-1:
			return Pattern{}, errors.New("has an empty segment, which no request has; write one / between segments")
		}
		if segment != "*" {
			segment = literal(decoded)
		}
		p.segments = append(p.segments, segment)
	}
	return p, nil
}

// literal marks a segment as one to compare, so that %2A is not the wildcard.
func literal(segment string) string { return "=" + segment }

func (p Pattern) String() string { return p.text }

// match compares segments as splitPath returns them.
func (p Pattern) match(segments []string) bool {
	if len(segments) < len(p.segments) || (len(segments) > len(p.segments) && !p.rest) {
		return false
	}
	for i, want := range p.segments {
		got := segments[i]
		if want == "*" && got == "" || want != "*" && want[1:] != got {
			return false
		}
	}
	return true
}

// forbids is match as a careful refusal needs it: upper and lower case are the same, and so is everything below the path.
func (p Pattern) forbids(segments []string) bool {
	if len(segments) < len(p.segments) {
		return false
	}
	for i, want := range p.segments {
		if want != "*" && !strings.EqualFold(want[1:], segments[i]) {
			return false
		}
	}
	return true
}

// splitPath returns a raw path's segments, each decoded on its own. A path that
// cannot be decoded has no segments and matches nothing.
func splitPath(raw string) (segments []string, ok bool) {
	if !strings.HasPrefix(raw, "/") {
		return nil, false
	}
	segments = strings.Split(raw[1:], "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return nil, false
		}
		segments[i] = decoded
	}
	return segments, true
}

// plainSegments reads a raw path as the most lenient of servers might: decoded
// until nothing is left to decode, split at either slash, each segment without
// what follows a ";" and without spaces and dots around it, empty ones dropped.
func plainSegments(raw string) []string {
	for range 8 { // more layers than a path of 4 KiB is worth
		decoded, err := url.PathUnescape(raw)
		if err != nil || decoded == raw {
			break
		}
		raw = decoded
	}
	var segments []string
	for part := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '/' || r == '\\' }) {
		name, _, _ := strings.Cut(part, ";")
		if name = strings.Trim(name, " \t."); name != "" {
			segments = append(segments, name)
		}
	}
	return segments
}

// rule is a RuleConfig made ready to match.
type rule struct {
	name       string
	callers    []string
	access     map[string][]Access // by upstream
	credential string
}

func (r rule) matches(req Request, segments []string) bool {
	if !slices.Contains(r.callers, req.Caller) {
		return false
	}
	return slices.ContainsFunc(r.access[req.Upstream], func(a Access) bool { return a.allows(req.Method, segments) })
}
