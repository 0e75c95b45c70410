package policy

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWhole is where whole numbers begin to look the same to readers that keep
// them as floating point.
const maxWhole = 1 << 53

// found is what a condition met: a set, since there may be several values.
type found uint8

const (
	foundYes    found = 1 << iota // a value that is as it must be
	foundNo                       // a value that is not
	foundOdd                      // one that somebody else may read as either
	foundAbsent                   // no such field or parameter
	foundEmpty                    // a list without elements to look at
)

// condition is a ConditionConfig made ready to judge. A careful one is of a rule
// that denies: it takes one value for all, and what is odd for a match.
type condition struct {
	careful  bool
	absentOr bool
	listed   bool   // there are values or a path to compare with, not just absence
	under    string // "" for the values below
	texts    []string
	numbers  []decimal
	yes, no  bool // the values true and false
	null     bool
}

// holds says whether the condition is met, of all that was found. Of the values
// of one that is not careful, each must be as it has to, and there must be one
// unless its absence will do.
func (c *condition) holds(f found) bool {
	switch {
	case c.careful && c.absentOr:
		return f&(foundYes|foundOdd|foundAbsent) != 0
	case c.careful:
		return f&(foundYes|foundOdd) != 0
	case c.absentOr:
		return f&(foundNo|foundOdd) == 0
	}
	return f == foundYes
}

// value is a text that is judged, with what several conditions want to know of it.
type value struct {
	text    string
	read    bool // as a path, into the fields below
	strange bool // it may lead anywhere
	forms   [3]string
}

// asPath reads a value as a path, once for all conditions. One that has dot segments,
// empty ones, backslashes or control characters, as it is or decoded once or twice,
// may lead anywhere.
func (v *value) asPath() {
	if v.read {
		return
	}
	once := Unescape(v.text)
	v.read, v.forms = true, [3]string{v.text, once, Unescape(once)}
	v.strange = !strings.HasPrefix(v.text, "/") || !utf8.ValidString(v.text) || slices.ContainsFunc(v.forms[:], wanders)
}

func (c *condition) text(v *value) found {
	switch {
	case c.under != "":
		return c.path(v)
	case slices.Contains(c.texts, v.text):
		return foundYes
	case len(c.texts) == 0:
		return c.other()
	case c.careful && c.mayBe(v.text):
		return foundOdd
	case c.careful && slices.ContainsFunc(c.texts, func(text string) bool { return loosely(text) == loosely(v.text) }):
		return foundOdd
	}
	return foundNo
}

// mayBe reports whether a lenient reader may take a text for the number, truth value
// or null that is asked for.
func (c *condition) mayBe(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	if number, ok := parseDecimal(strings.TrimPrefix(text, "+")); ok && text != "" && slices.Contains(c.numbers, number) {
		return true
	}
	words := map[string]bool{"true": c.yes, "1": c.yes, "yes": c.yes, "on": c.yes, "false": c.no, "0": c.no, "no": c.no, "off": c.no, "null": c.null, "none": c.null, "": c.null || c.no}
	return words[text]
}

// loosely is a text as lenient readers take it: in any case, up to a control
// character, without spaces around it, and without what UUIDs may be written with.
func loosely(text string) string {
	if at := strings.IndexFunc(text, unicode.IsControl); at >= 0 {
		text = text[:at]
	}
	return foldName(strings.Map(func(r rune) rune {
		if r == '-' || r == '{' || r == '}' {
			return -1
		}
		return r
	}, strings.TrimSpace(text)))
}

// other judges a value of a type that is not asked for, which a lenient reader
// may take for one that is: "true" or 1 for true.
func (c *condition) other() found {
	if c.careful && c.listed {
		return foundOdd
	}
	return foundNo
}

func (c *condition) bool(value bool) found {
	switch {
	case value && c.yes, !value && c.no:
		return foundYes
	case !c.yes && !c.no:
		return c.other()
	}
	return foundNo
}

func (c *condition) isNull() found {
	switch {
	case c.null:
		return foundYes
	case c.careful && c.absentOr: // to many it is the same as nothing
		return foundOdd
	}
	return c.other()
}

// number judges a number as JSON writes it.
func (c *condition) number(literal string) found {
	value, ok := parseDecimal(literal)
	switch {
	case !ok:
		return foundOdd
	case slices.Contains(c.numbers, value):
		return foundYes
	case len(c.numbers) == 0, len(c.texts) > 0, c.yes || c.no || c.null: // some of another type are asked for
		return c.other()
	}
	return foundNo
}

// path judges a value that must be a path under another.
func (c *condition) path(v *value) found {
	v.asPath()
	if v.strange {
		return foundOdd
	}
	if isUnder(v.text, c.under) {
		return foundYes
	}
	dir := foldName(strings.TrimSuffix(c.under, "/"))
	if c.careful && slices.ContainsFunc(v.forms[:], func(form string) bool { return isUnder(foldName(form), dir) }) {
		return foundOdd
	}
	return foundNo
}

// settled reports whether nothing more that is found can change the outcome.
func (c *condition) settled(f found) bool {
	switch {
	case c.careful && c.absentOr:
		return f&(foundYes|foundOdd|foundAbsent) != 0
	case c.careful:
		return f&(foundYes|foundOdd) != 0
	}
	return f&(foundNo|foundOdd) != 0
}

// isUnder reports whether a path begins with dir, segment by segment. With its
// slash at the end dir itself is not under it.
func isUnder(path, dir string) bool {
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || strings.HasSuffix(dir, "/") || dir == "" || path[len(dir)] == '/')
}

// wanders reports what keeps a path from leading where it seems to.
func wanders(path string) bool {
	if HasDotSegment(path) || HasOverlong(path) || strings.Contains(path, "//") || strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
		return true
	}
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && strings.Trim(part, ". ") == "" {
			return true
		}
	}
	return false
}

// foldName makes one text of all those that differ in upper and lower case only
// (Unicode's simple folding), as readers do who match names in any case.
func foldName(name string) string { return strings.Map(foldRune, name) }

// foldRune returns the smallest of the runes that are the same in any case.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	smallest := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		smallest = min(smallest, next)
	}
	return smallest
}

// decimal is a number as it is written, without the ways to write it: digits
// without zeros at either end, times ten to the exponent.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

// maxLiteral is how long a number may be for everybody to read the same of it: no
// more digits than floating point keeps.
const maxLiteral = 17

// parseDecimal reads a number as JSON writes it, and reports false for one that
// readers may round.
func parseDecimal(literal string) (decimal, bool) {
	if len(literal) > maxLiteral {
		return decimal{}, false
	}
	mantissa, exponent := literal, 0
	if at := strings.IndexAny(literal, "eE"); at >= 0 {
		n, err := strconv.Atoi(literal[at+1:])
		if err != nil || n < -300 || n > 300 {
			return decimal{}, false
		}
		mantissa, exponent = literal[:at], n
	}
	rest, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(rest, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return decimal{digits: "0"}, true
	}
	return decimal{negative, trimmed, exponent + len(digits) - len(trimmed)}, true
}
