package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Suggest returns the smallest rule, as a line of YAML, that would allow a
// request that was denied: by an operation of the upstream's preset where one
// covers it, else by its method and very path. It does so where no rule before it
// denies the request.
func (p *Policy) Suggest(req Request) string {
	access := fmt.Sprintf("methods: [%s], paths: [%s]", req.Method, quotePath(req.Path))
	if operation := p.operationFor(req); operation != "" {
		access = fmt.Sprintf("allow: [%s]", operation)
	}
	return fmt.Sprintf("- {name: %s, callers: [%s], upstreams: [%s], %s}",
		p.freeName(req.Caller+"-"+req.Upstream), req.Caller, req.Upstream, access)
}

func (p *Policy) operationFor(req Request) string {
	s := p.sites[req.Upstream]
	segments, ok := splitPath(req.Path)
	if s == nil || !ok {
		return ""
	}
	for _, op := range s.Operations {
		for _, a := range op.Access {
			if methodBits(a.Methods)&methodBit(req.Method) != 0 && slices.ContainsFunc(a.Paths, func(p Pattern) bool { return p.match(segments) }) {
				return op.Name
			}
		}
	}
	return ""
}

// freeName returns a rule name like base that no rule has.
func (p *Policy) freeName(base string) string {
	base = strings.TrimRight(base[:min(len(base), maxName-4)], "-._")
	name := base
	for i := 2; slices.ContainsFunc(p.rules, func(r *rule) bool { return r.name == name }); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}

// quotePath writes a raw path as a pattern of itself, quoted for a YAML flow list.
func quotePath(raw string) string {
	return `"` + strings.NewReplacer("*", "%2A", `"`, "%22", `\`, "%5C").Replace(raw) + `"`
}
