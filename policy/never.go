package policy

import (
	"slices"
	"strings"
)

// site is an Upstream made ready to decide about.
type site struct {
	Upstream
	base  []string // Base's segments, raw
	depth int      // how many segments the longest of Never has
	plain bool     // Base reads the same to everybody
}

func newSite(u Upstream) *site {
	s := &site{Upstream: u, plain: u.Base == "" || isPlain(u.Base) && !strings.HasSuffix(u.Base, "/")}
	if strings.HasPrefix(u.Base, "/") {
		s.base = strings.Split(u.Base[1:], "/")
	}
	for i := range u.Never {
		s.depth = max(s.depth, len(u.Never[i].segments))
	}
	return s
}

// forbids reports whether a raw path is on the upstream's never list, behind its
// base, however a server might read it.
func (s *site) forbids(raw string) bool {
	if len(s.Never) == 0 {
		return false
	}
	if !s.plain || !isPlain(raw) {
		return s.forbidsSlowly(s.Base + raw)
	}
	var room [usualDepth]string
	list := room[:0]
	if s.depth > len(room) {
		list = make([]string, 0, s.depth)
	}
	list = append(list, s.base[:min(len(s.base), cap(list))]...)
	list, _ = appendSegments(list, raw)
	for i := range s.Never {
		if s.Never[i].forbids(list) {
			return true
		}
	}
	return false
}

// appendSegments appends a raw path's segments up to the list's capacity, and
// says whether there are more.
func appendSegments(list []string, raw string) (segments []string, more bool) {
	for rest, more := raw[1:], true; more; {
		if len(list) == cap(list) {
			return list, true
		}
		var part string
		part, rest, more = strings.Cut(rest, "/")
		list = list[:len(list)+1] // and not append, which would move callers' room off the stack
		list[len(list)-1] = part
	}
	return list, false
}

func (s *site) forbidsSlowly(whole string) bool {
	plain := plainSegments(whole)
	var decoded []string
	if strings.HasPrefix(whole, "/") {
		decoded = strings.Split(whole[1:], "/")
		for i := range decoded {
			decoded[i] = Unescape(decoded[i])
		}
	}
	return slices.ContainsFunc(s.Never, func(n Pattern) bool { return n.forbids(decoded) || n.forbids(plain) })
}

// isPlain reports whether plainSegments would make of a raw path no other than
// its segments, but for an empty one at its end.
func isPlain(raw string) bool {
	if raw == "" || raw[0] != '/' {
		return false
	}
	last := byte('/')
	for i := 1; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '%', '\\', ';', ' ', '\t':
			return false
		case '/':
			if last == '/' || last == '.' {
				return false
			}
		case '.':
			if last == '/' {
				return false
			}
		}
		last = c
	}
	return last != '.'
}

// plainSegments reads a raw path as the most lenient of servers might: decoded
// until nothing is left to decode, split at either slash, each segment without
// what follows a ";" and without spaces and dots around it, empty ones dropped.
func plainSegments(raw string) []string {
	for range 8 { // more layers than a path of 4 KiB is worth
		decoded := Unescape(raw)
		if decoded == raw {
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
