package policy

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	defaultMaxBody = 64 * kib
	mostMaxBody    = 16 * mib
)

// counted is a Mistakes that knows how many there were.
type counted struct {
	Mistakes
	count int
}

func (c *counted) Add(path []any, format string, args ...any) {
	c.count++
	c.Mistakes.Add(path, format, args...)
}

func (c *counted) Unknown(path []any, kind, name string, known []string) {
	c.count++
	c.Mistakes.Unknown(path, kind, name, known)
}

func (cfg Config) newRules(sites map[string]*site, w words, m Mistakes) []*rule {
	callers := []string{Local, Anonymous}
	for _, c := range cfg.Callers {
		callers = append(callers, c.Name)
	}
	var rules []*rule
	var reach reach
	for i, r := range cfg.Rules {
		path, m := []any{"rules", i}, &counted{Mistakes: m}
		seen := slices.ContainsFunc(rules, func(other *rule) bool { return other.name == r.Name })
		checkName(append(path, "name"), r.Name, seen, m)
		checkList(path, "callers", "caller", r.Callers, callers, m)
		checkList(path, "upstreams", "upstream", r.Upstreams, slices.Sorted(maps.Keys(sites)), m)
		made := r.newRule(path, sites, w, m)
		rules = append(rules, made)
		if m.count == 0 {
			reach.check(path, made, sites, m)
		}
	}
	return rules
}

func (r RuleConfig) newRule(path []any, sites map[string]*site, w words, m Mistakes) *rule {
	made := &rule{
		name: r.Name, callers: r.Callers, upstreams: r.Upstreams, access: map[string][]access{},
		credential: r.Credential, deny: r.Deny, maxBody: int64(r.MaxBody),
	}
	byHand := r.newAccess(path, w, m)
	for j, name := range r.Upstreams {
		if s, ok := sites[name]; ok {
			made.access[name] = slices.Concat(byHand, r.named(path, j, s, w, m))
		}
	}
	r.checkPaths(path, sites, m)
	made.query = r.newQuery(path, m)
	made.body = r.newBody(path, m)
	switch {
	case r.MaxBody < 0:
		m.Add(append(path, "max_body"), "no size; write one such as 64KiB or 8MiB")
	case r.MaxBody > mostMaxBody:
		m.Add(append(path, "max_body"), "%v is too long to keep in memory; write at most 16MiB", r.MaxBody)
	case r.MaxBody > 0 && len(r.Body) == 0:
		m.Add(append(path, "max_body"), "means something only with conditions under body:, for which alone a body is read; leave it out")
	case r.MaxBody == 0:
		made.maxBody = defaultMaxBody
	}
	r.checkLimits(path, made, m)
	if len(made.body) > 0 && made.isBodiless() {
		m.Add(append(path, "body"), "the rule is for GET and HEAD only, which have no body; leave it out, or write other methods")
	}
	return made
}

// isBodiless reports whether no request that the rule is for may have a body.
func (r *rule) isBodiless() bool {
	var all uint8
	for _, accesses := range r.access {
		for _, a := range accesses {
			all |= a.methods
		}
	}
	return all != 0 && all&^(methodGet|methodHead) == 0
}

func (r RuleConfig) checkLimits(path []any, made *rule, m Mistakes) {
	limits, err := r.Limits.newLimits()
	if err != nil {
		m.Add(append(path, "limits", "rate"), "%q %v", r.Limits.Rate, err)
	}
	if r.Limits.Concurrency < 0 {
		m.Add(append(path, "limits", "concurrency"), "%d is negative; write how many requests may be under way at a time", r.Limits.Concurrency)
	}
	made.limits = limits
	if r.Deny && r.Credential != "" {
		m.Add(append(path, "credential"), "a rule that denies uses none; leave it out")
	}
	if r.Deny && r.Limits != (LimitsConfig{}) {
		m.Add(append(path, "limits"), "a rule that denies lets nothing through to limit; leave them out")
	}
}

func checkList(path []any, key, kind string, list, known []string, m Mistakes) {
	if len(list) == 0 {
		m.Add(path, "%s is missing or empty; name at least one %s", key, kind)
	}
	for i, name := range list {
		if !slices.Contains(known, name) {
			m.Unknown(append(path, key, i), kind, name, known)
		}
	}
}

// named returns what the rule's operations mean on its j-th upstream.
func (r RuleConfig) named(path []any, j int, s *site, w words, m Mistakes) []access {
	if len(s.Operations) == 0 && len(r.Allow) > 0 {
		m.Add(append(path, "upstreams", j), "%s has no preset, so allow means nothing there; write methods and paths", r.Upstreams[j])
		return nil
	}
	var made []access
	for i, name := range r.Allow {
		at := slices.IndexFunc(s.Operations, func(op Operation) bool { return op.Name == name })
		if at >= 0 {
			for _, a := range s.Operations[at].Access {
				made = append(made, newAccess(a, w))
			}
			continue
		}
		known := make([]string, len(s.Operations))
		for k, op := range s.Operations {
			known[k] = op.Name
		}
		m.Unknown(append(path, "allow", i), "operation of "+r.Upstreams[j], name, known)
	}
	return made
}

// newAccess returns what the rule's methods and paths mean.
func (r RuleConfig) newAccess(path []any, w words, m Mistakes) []access {
	if len(r.Methods)+len(r.Paths) == 0 {
		if len(r.Allow) == 0 {
			m.Add(path, "%s nothing; write allow: [read], or methods and paths", map[bool]string{true: "denies", false: "allows"}[r.Deny])
		}
		return nil
	}
	if len(r.Methods) == 0 || len(r.Paths) == 0 {
		m.Add(path, "methods and paths go together; write both, such as methods: [GET], paths: [/v0.10/task/*]")
	}
	a := Access{Methods: r.Methods}
	for i, method := range r.Methods {
		if !slices.Contains(methods, method) {
			m.Unknown(append(path, "methods", i), "method", method, methods)
		}
	}
	for i, text := range r.Paths {
		pattern, err := ParsePattern(text)
		if err != nil {
			m.Add(append(path, "paths", i), "%q %v", text, err)
		}
		a.Paths = append(a.Paths, pattern)
	}
	return []access{newAccess(a, w)}
}

// checkPaths notes paths that no request can have: it would not have got here.
func (r RuleConfig) checkPaths(path []any, sites map[string]*site, m Mistakes) {
	files := slices.ContainsFunc(r.Upstreams, func(name string) bool { return sites[name] == nil || sites[name].Files })
	for i, text := range r.Paths {
		pattern, err := ParsePattern(text)
		if err != nil {
			continue // noted
		}
		switch what := pattern.refused(); {
		case what == "":
		case what == controlCharacter:
			m.Add(append(path, "paths", i), "%q has an encoded control character, and requests with one are refused; write another path", text)
		case !files:
			m.Add(append(path, "paths", i), "%q has an encoded %s, and requests with one are refused unless paths name files; write another path, or path: files on the upstream", text, what)
		}
	}
}

const controlCharacter = "control character"

// refused returns what the pattern has that a request to an upstream with path:
// strict may only have encoded, and then is refused for.
func (p Pattern) refused() string {
	for _, s := range p.segments {
		switch {
		case s.any:
		case strings.ContainsFunc(s.text, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return controlCharacter
		case !utf8.ValidString(s.text):
			return "byte that is not UTF-8"
		}
		if at := strings.IndexAny(s.text, `/\%?#`); !s.any && at >= 0 {
			return s.text[at : at+1]
		}
	}
	return ""
}

// newQuery returns the conditions on the query.
func (r RuleConfig) newQuery(path []any, m Mistakes) []parameter {
	var made []parameter
	for _, name := range slices.Sorted(maps.Keys(r.Query)) {
		at := append(path, "query", name)
		if name == "" || !isClear(name) {
			m.Add(at, "no name of a parameter; write it decoded, as in ?name=value")
		}
		c := r.Query[name].newCondition(at, r.Deny, inQuery, m)
		made = append(made, parameter{name, aliases(name), c})
	}
	return made
}

// newBody returns the conditions on the body.
func (r RuleConfig) newBody(path []any, m Mistakes) []field {
	var made []field
	for _, pointer := range slices.Sorted(maps.Keys(r.Body)) {
		at := append(path, "body", pointer)
		steps, err := parsePointer(pointer)
		if err != nil {
			m.Add(at, "%v", err)
		}
		c := r.Body[pointer].newCondition(at, r.Deny, inBody, m)
		for _, other := range made {
			if err == nil && collide(steps, other.steps) && !(c.absentOr && other.absentOr) {
				m.Add(at, "cannot hold together with the condition on %s, which wants a single value or a list there; leave one of them out", other.pointer)
			}
		}
		if err == nil {
			made = append(made, field{pointer, steps, c})
		}
	}
	return made
}

// collide reports whether where one field is the other cannot be: below it, or
// with a list where the other has a mapping.
func collide(a, b []step) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i].any != b[i].any
		}
	}
	return len(a) != len(b)
}

func hasControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }
