package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Upstream is what policy must know of one: the named operations its preset
// gives to `allow:`, and the paths that are never forwarded with a credential of
// ours, whatever the rules say.
type Upstream struct {
	Operations []Operation // narrowest first
	Never      []Pattern   // of the whole path that is forwarded, Base included
	Base       string      // what stands before a request's Path when it is forwarded, raw
}

// Operation is a name for a set of requests, such as read or submit.
type Operation struct {
	Name   string
	Access []Access
}

// Request is what a decision is about. Path is below the upstream's prefix, raw:
// the very bytes that will be forwarded.
type Request struct {
	Caller, Upstream, Method, Path string
}

// Decision is the answer for one request.
type Decision struct {
	Allowed    bool
	Rule       string // the rule that allowed it; "" if none did
	Credential string // the rule's choice; "" for the upstream's own
	Never      bool   // denied because no rule can allow this path
}

// Policy is a set of rules, ready to decide. It does not change.
type Policy struct {
	callers   []caller
	rules     []rule
	upstreams map[string]Upstream
}

// New makes a Policy. Everything that is wrong with cfg is noted in m, and then
// the Policy is not to be used.
func New(cfg Config, upstreams map[string]Upstream, m Mistakes) *Policy {
	return &Policy{
		callers:   cfg.newCallers(m),
		rules:     cfg.newRules(upstreams, m),
		upstreams: upstreams,
	}
}

// Decide applies the first rule that matches; with none, the answer is deny. It
// is a pure function.
func (p *Policy) Decide(req Request) Decision {
	segments, ok := splitPath(req.Path)
	if !ok {
		return Decision{}
	}
	if upstream := p.upstreams[req.Upstream]; len(upstream.Never) > 0 {
		whole, _ := splitPath(upstream.Base + req.Path)
		plain := plainSegments(upstream.Base + req.Path)
		if slices.ContainsFunc(upstream.Never, func(n Pattern) bool { return n.forbids(whole) || n.forbids(plain) }) {
			return Decision{Never: true}
		}
	}
	for _, r := range p.rules {
		if r.matches(req, segments) {
			return Decision{Allowed: true, Rule: r.name, Credential: r.credential}
		}
	}
	return Decision{}
}

// Suggest returns the smallest rule, as a line of YAML, that would allow a
// request that was denied: by an operation of the upstream's preset where one
// covers it, else by its method and very path.
func (p *Policy) Suggest(req Request) string {
	segments, _ := splitPath(req.Path)
	access := fmt.Sprintf("methods: [%s], paths: [%s]", req.Method, quotePath(req.Path))
	for _, op := range p.upstreams[req.Upstream].Operations {
		if slices.ContainsFunc(op.Access, func(a Access) bool { return a.allows(req.Method, segments) }) {
			access = fmt.Sprintf("allow: [%s]", op.Name)
			break
		}
	}
	return fmt.Sprintf("- {name: %s, callers: [%s], upstreams: [%s], %s}",
		p.freeName(req.Caller+"-"+req.Upstream), req.Caller, req.Upstream, access)
}

// freeName returns a rule name like base that no rule has.
func (p *Policy) freeName(base string) string {
	base = strings.TrimRight(base[:min(len(base), maxName-4)], "-._")
	name := base
	for i := 2; slices.ContainsFunc(p.rules, func(r rule) bool { return r.name == name }); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}

// quotePath writes a raw path as a pattern of itself, quoted for a YAML flow list.
func quotePath(raw string) string {
	return `"` + strings.NewReplacer("*", "%2A", `"`, "%22", `\`, "%5C").Replace(raw) + `"`
}
