package policy

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parameter is a condition on a query's parameter.
type parameter struct {
	name    string
	aliases [2]string
	condition
}

// given is a parameter of a request, decoded.
type given struct{ name, value string }

// judge says what is found of the parameter among all that a query has.
func (p *parameter) judge(list []given) found {
	f := foundAbsent
	for _, g := range list {
		switch {
		case g.name == p.name:
			f = f&^foundAbsent | p.text(&value{text: g.value})
		case mayBe(aliases(g.name), p.aliases):
			f = f&^foundAbsent | foundOdd
		}
	}
	return f
}

// parseQuery takes a raw query apart at &, and decodes names and values once. It
// reports false for a query that readers take apart in different ways.
func parseQuery(raw string) (list []given, ok bool) {
	if strings.Contains(raw, ";") {
		return nil, false // to some it parts like &
	}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil || !isClear(name) || !isClear(value) {
			return nil, false
		}
		list = append(list, given{name, value})
	}
	return list, true
}

// isClear reports whether a text is UTF-8 without control characters, at which
// some readers would end it.
func isClear(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// aliases are what lenient readers make of a parameter's name: without spaces
// around it, in any case, the brackets of a list or mapping taken off, and with _
// for the characters that names of variables do not have.
func aliases(name string) [2]string {
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == ' ' {
			return '_'
		}
		return foldRune(r)
	}, strings.Trim(strings.TrimSpace(name), "[]")) // Express and Rack take those off
	base, _, _ := strings.Cut(name, "[")
	return [2]string{base, strings.ReplaceAll(name, "[", "_")}
}

func mayBe(a, b [2]string) bool {
	return slices.Contains(b[:], a[0]) || slices.Contains(b[:], a[1])
}
