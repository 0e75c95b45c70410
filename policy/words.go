package policy

import "strings"

// word is a path segment as a number: comparing a path with a hundred patterns
// takes a look-up for each of its segments, and not one for each of theirs.
type word uint32

const (
	anyWord   word = iota // in a pattern: any segment that is not empty
	emptyWord             // the empty segment
	otherWord             // in a path: a segment that no pattern has
	firstWord             // of the patterns' own

	// oddBit marks a segment that some server takes for none or for several, whether
	// some pattern has it or not.
	oddBit word = 1 << 31
)

// words are all the segments that patterns have.
type words map[string]word

func newWords() words { return words{"": emptyWord} }

// route is a Pattern in words. The rarest of them, which is the one that was met
// last, is compared first: few paths have it.
type route struct {
	*Pattern
	words  []word
	rarest word // anyWord if it has none
	at     int
}

func (w words) route(p *Pattern) route {
	made := route{Pattern: p}
	for _, s := range p.segments {
		code, known := w[s.text]
		switch {
		case s.any:
			code = anyWord
		case !known:
			code = firstWord + word(len(w))
			if isOdd(s.text) {
				code |= oddBit
			}
			w[s.text] = code
		}
		made.words = append(made.words, code)
		if code > made.rarest {
			made.rarest, made.at = code, len(made.words)-1
		}
	}
	return made
}

// read appends a raw path's segments, each decoded on its own, to list up to its
// capacity; more says that there are further ones. It reports false for what is no
// path: without a slash, or with an escape that is none.
func (w words) read(raw string, list []word) (read []word, more, ok bool) {
	if raw == "" || raw[0] != '/' {
		return list, false, false
	}
	var room [128]byte
	segment, plain, start := room[:0], true, 1
	for i := 1; i <= len(raw); i++ {
		switch {
		case i < len(raw) && raw[i] == '%':
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return list, false, false
			}
			if plain {
				segment, plain = append(segment[:0], raw[start:i]...), false
			}
			segment = append(segment, unhex(raw[i+1])<<4|unhex(raw[i+2]))
			i += 2
		case i < len(raw) && raw[i] != '/':
			if !plain {
				segment = append(segment, raw[i])
			}
		case len(list) == cap(list):
			more, start, plain = true, i+1, true
		default:
			code, known := w[raw[start:i]]
			if !plain {
				code, known = w[string(segment)]
			}
			if !known {
				code = otherWord
				if plain && isOdd(raw[start:i]) || !plain && isOdd(string(segment)) {
					code |= oddBit
				}
			}
			list, start, plain = append(list, code), i+1, true
		}
	}
	return list, more, true
}

// mayMatch is what match asks first, short enough to be inlined.
func (r *route) mayMatch(path []word) bool {
	return r.rarest == anyWord || r.at < len(path) && path[r.at] == r.rarest
}

// match reports whether a path, read with room for at least as many segments as
// the route has, is one of the route's. A careful match, of a rule that denies, takes
// an odd segment for any.
func (r *route) match(path []word, more, careful bool) bool {
	if len(path) < len(r.words) || !r.rest && (len(path) > len(r.words) || more) {
		return false
	}
	path = path[:len(r.words)]
	for i, want := range r.words {
		if got := path[i]; want != got && (want != anyWord || got == emptyWord || got&oddBit != 0 && !careful) {
			return false
		}
	}
	return true
}

// isOdd reports whether some server takes a decoded segment for none, since it ends
// one at ";" or takes spaces off, or for several.
func isOdd(segment string) bool {
	if strings.Contains(segment, "%") { // which the server may decode again
		segment = Unescape(segment)
	}
	if strings.ContainsAny(segment, `/\`) {
		return true
	}
	name, _, _ := strings.Cut(segment, ";")
	return strings.Trim(name, " \t.") == ""
}
