package policy

// Upstream is what policy must know of one: the named operations its preset
// gives to `allow:`, and the paths that are never forwarded with a credential of
// ours, whatever the rules say.
type Upstream struct {
	Operations []Operation // narrowest first
	Never      []Pattern   // of the whole path that is forwarded, Base included
	Base       string      // what stands before a request's Path when it is forwarded, raw
	Files      bool        // paths name files (path: files), and may have any character encoded
}

// Operation is a name for a set of requests, such as read or submit.
type Operation struct {
	Name   string
	Access []Access
}

// Request is what a decision is about. Path is below the upstream's prefix, raw:
// the very bytes that will be forwarded. Query is raw too, without its "?".
type Request struct {
	Caller, Upstream, Method, Path, Query string

	// Body is nil as long as it was not read. A request without one has a Body
	// that is Whole and nothing else.
	Body *Body
}

// Decision is the answer for one request.
type Decision struct {
	Allowed    bool
	Rule       string  // the rule that allowed or denied it; "" if none matched
	Credential string  // the rule's choice; "" for the upstream's own
	Never      bool    // denied because no rule can allow this path
	Limits     *Limits // the rule's, for a Limiter to keep; nil for none
	// Body of more than 0 says that nothing is decided yet: read up to that many
	// bytes of the request's body, and ask again with it.
	Body int64
}

// Policy is a set of rules, ready to decide. It does not change.
type Policy struct {
	callers []caller
	words   words
	rules   []*rule
	lists   map[place]*list
	sites   map[string]*site
}

// New makes a Policy. Everything that is wrong with cfg is noted in m, and then
// the Policy is not to be used.
func New(cfg Config, upstreams map[string]Upstream, m Mistakes) *Policy {
	p := &Policy{sites: map[string]*site{}, words: newWords()}
	for name, upstream := range upstreams {
		p.sites[name] = newSite(upstream)
	}
	cfg.Identity.check(m)
	cfg.Audit.check(m)
	p.callers = cfg.newCallers(m)
	p.rules = cfg.newRules(p.sites, p.words, m)
	p.lists = newLists(p.rules)
	return p
}

// Decide applies the first rule that matches; with none, the answer is deny. It
// is a pure function. Where Body is set in its answer, the first rule that
// matches in everything else has conditions on a body that was not read far
// enough to judge them.
func (p *Policy) Decide(req Request) Decision {
	l := p.lists[place{req.Caller, req.Upstream}]
	var room [usualDepth]word
	t := target{method: methodBit(req.Method)}
	var ok bool
	if t.path, t.more, ok = p.words.read(req.Path, l.room(room[:0])); !ok {
		return Decision{}
	}
	if p.forbids(&req) {
		return Decision{Never: true}
	}
	if l == nil {
		return Decision{}
	}
	q := question{Request: req, tree: l.tree}
	for i := range l.candidates {
		if v, _ := l.candidates[i].judge(&q, &t); v != passes {
			return l.candidates[i].decision(v)
		}
	}
	return Decision{}
}

// forbids reports whether the path is never forwarded.
func (p *Policy) forbids(req *Request) bool {
	s := p.sites[req.Upstream]
	return s != nil && s.forbids(req.Path)
}

// decision is what follows from a verdict that ends the search.
func (c *candidate) decision(v verdict) Decision {
	switch {
	case v == depends:
		return Decision{Body: c.maxBody}
	case c.deny:
		return Decision{Rule: c.name}
	}
	return Decision{Allowed: true, Rule: c.name, Credential: c.credential, Limits: c.limits}
}
