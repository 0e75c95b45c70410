package policy

import (
	"fmt"
	"slices"
	"strings"
)

// reach is what rules decide whatever the query and body, by place: to find rules
// behind them that never have a say.
type reach map[place][]decided

type decided struct {
	by      string // the rule
	methods uint8
	path    *Pattern
	deny    bool // it reads paths in any case
}

// check notes a rule that can never match, and takes in the rest.
func (r *reach) check(path []any, made *rule, sites map[string]*site, m Mistakes) {
	if *r == nil {
		*r = reach{}
	}
	open, never := 0, 0
	var by []string
	made.each(func(at place, methods uint8, p *Pattern) {
		switch names, covered := r.decides(at, methods, p); {
		case sites[at.upstream].forbidsAll(p):
			never++
		case covered:
			by = append(by, names...)
		default:
			open++
		}
	})
	slices.Sort(by)
	switch by = slices.Compact(by); {
	case open > 0:
	case len(by) == 0 && never > 0:
		m.Add(path, "can never match: its paths hand out or take away credentials and are never forwarded, whatever the rules say; take it out")
	case len(by) > 0:
		m.Add(path, "can never match: %s before it %s all of it already; move this one before, or take it out", quoteAll(by), verb(by))
	}
	if len(made.query)+len(made.body) > 0 {
		return
	}
	made.each(func(at place, methods uint8, p *Pattern) {
		(*r)[at] = append((*r)[at], decided{made.name, methods, p, made.deny})
	})
}

// each calls f for all that the rule is about.
func (r *rule) each(f func(at place, methods uint8, p *Pattern)) {
	for _, caller := range r.callers {
		for _, upstream := range r.upstreams {
			for _, a := range r.access[upstream] {
				for i := range a.paths {
					f(place{caller, upstream}, a.methods, a.paths[i].Pattern)
				}
			}
		}
	}
}

// decides reports whether rules decide all requests with these methods on the
// paths of a pattern, and which.
func (r *reach) decides(at place, methods uint8, p *Pattern) (by []string, all bool) {
	for _, d := range (*r)[at] {
		if d.methods&methods != 0 && d.path.covers(*p, d.deny) {
			by = append(by, d.by)
			methods &^= d.methods
		}
	}
	return by, methods == 0
}

// forbidsAll reports whether every path of a pattern is on the never list.
func (s *site) forbidsAll(p *Pattern) bool {
	var whole []segment
	for _, text := range s.base {
		whole = append(whole, segment{text: Unescape(text)})
	}
	whole = append(whole, p.segments...)
	return slices.ContainsFunc(s.Never, func(n Pattern) bool {
		for i, want := range n.segments {
			if i >= len(whole) || !want.any && (whole[i].any || !strings.EqualFold(want.text, whole[i].text)) {
				return false
			}
		}
		return true
	})
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	if len(names) == 1 {
		return "rule " + quoted[0]
	}
	return "rules " + strings.Join(quoted[:len(names)-1], ", ") + " and " + quoted[len(names)-1]
}

func verb(names []string) string {
	if len(names) == 1 {
		return "decides"
	}
	return "decide"
}
