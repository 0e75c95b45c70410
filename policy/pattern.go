package policy

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Pattern is a path to match, compared by segment and percent-decoded, so that
// /%74ask is /task. A segment * is any one segment that every server takes for one:
// not empty or nearly so (";x"), and without an encoded slash. A last segment ** is
// all the rest, also none.
type Pattern struct {
	text     string
	segments []segment
	rest     bool
}

// segment is one to compare, decoded, or any that is not empty.
type segment struct {
	text string
	any  bool
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
	for i, part := range raw {
		if part == "**" && i == len(raw)-1 {
			p.rest = true
			continue
		}
		decoded, err := url.PathUnescape(part)
		switch {
		case err != nil:
			return Pattern{}, errors.New("has a % that starts no escape; write %25 for the character itself")
		case part != "*" && strings.Contains(part, "*"):
			return Pattern{}, fmt.Errorf("has * inside segment %q; write * for a whole segment, ** at the end for all the rest, or %%2A for the character itself", part)
		case decoded == "." || decoded == "..":
			return Pattern{}, errors.New("has a dot segment, which no request has; write the path without it")
		case part == "" && i < len(raw)-1:
			return Pattern{}, errors.New("has an empty segment, which no request has; write one / between segments")
		}
		p.segments = append(p.segments, segment{text: decoded, any: part == "*"})
	}
	return p, nil
}

func (p Pattern) String() string { return p.text }

// Match reports whether a raw path is one of the pattern's.
func (p Pattern) Match(raw string) bool {
	list, ok := splitPath(raw)
	return ok && p.match(list)
}

// match reports whether a path's segments, decoded, are one of the pattern's paths.
func (p *Pattern) match(list []string) bool {
	if n := len(p.segments); len(list) < n || len(list) > n && !p.rest {
		return false
	}
	for i, want := range p.segments {
		if want.any && (list[i] == "" || isOdd(list[i])) || !want.any && want.text != list[i] {
			return false
		}
	}
	return true
}

// forbids is match as a careful refusal needs it: upper and lower case are the
// same, and so is everything below the path.
func (p *Pattern) forbids(list []string) bool {
	return len(list) >= len(p.segments) && p.begins(list)
}

// resembles is match for a rule that denies, of segments as plainSegments reads
// them: a path that some server may take for one of the pattern's is one. With
// more the path goes on after list.
func (p *Pattern) resembles(list []string, more bool) bool {
	want := *p
	if n := len(want.segments); n > 0 && want.segments[n-1] == (segment{}) {
		want.segments = want.segments[:n-1] // the slash at the end
	}
	n := len(want.segments)
	return len(list) >= n && (p.rest || len(list) == n && !more) && want.begins(list)
}

func (p *Pattern) begins(list []string) bool {
	for i, want := range p.segments {
		if !want.any && !strings.EqualFold(want.text, list[i]) {
			return false
		}
	}
	return true
}

// covers reports whether every path of the other pattern is one of p's, in any case
// if that does not matter.
func (p *Pattern) covers(other Pattern, anyCase bool) bool {
	if len(p.segments) > len(other.segments) || !p.rest && (other.rest || len(p.segments) != len(other.segments)) {
		return false
	}
	for i, mine := range p.segments {
		theirs := other.segments[i]
		same := mine.text == theirs.text || anyCase && strings.EqualFold(mine.text, theirs.text)
		if mine.any && !theirs.any && (theirs.text == "" || isOdd(theirs.text) && !anyCase) || !mine.any && (theirs.any || !same) {
			return false
		}
	}
	return true
}

// splitPath returns a raw path's segments, each decoded on its own. It reports
// false for what is no path: without a slash, or with an escape that is none.
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

// Unescape decodes what can be percent-decoded, once, and leaves the rest as it is.
func Unescape(text string) string {
	if strings.IndexByte(text, '%') < 0 {
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
