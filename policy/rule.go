package policy

import (
	"slices"
)

// methods are those that rules and callers may use. HEAD is allowed where GET is.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

const (
	methodGet uint8 = 1 << iota
	methodHead
	methodPost
	methodPut
	methodPatch
	methodDelete
	methodOptions
)

// methodBit returns 0 for what no rule can name.
func methodBit(method string) uint8 {
	switch method {
	case "GET":
		return methodGet
	case "HEAD":
		return methodHead
	case "POST":
		return methodPost
	case "PUT":
		return methodPut
	case "PATCH":
		return methodPatch
	case "DELETE":
		return methodDelete
	case "OPTIONS":
		return methodOptions
	}
	return 0
}

func methodBits(methods []string) (bits uint8) {
	for _, method := range methods {
		bits |= methodBit(method)
	}
	if bits&methodGet != 0 {
		bits |= methodHead
	}
	return bits
}

// Access is a set of requests: any of Methods on any path that matches one of
// Paths (see Pattern).
type Access struct {
	Methods []string
	Paths   []Pattern
}

// access is an Access made ready to match.
type access struct {
	methods uint8
	paths   []route
}

func newAccess(a Access, w words) access {
	made := access{methods: methodBits(a.Methods)}
	for i := range a.Paths {
		made.paths = append(made.paths, w.route(&a.Paths[i]))
	}
	return made
}

// rule is a RuleConfig made ready to match.
type rule struct {
	name       string
	callers    []string
	upstreams  []string
	access     map[string][]access // by upstream
	credential string
	limits     *Limits
	deny       bool
	query      []parameter
	body       []field
	maxBody    int64
}

// usualDepth is how many segments of a path can be looked at without allocating.
const usualDepth = 32

// place is where requests come from and go to.
type place struct{ caller, upstream string }

// list are the rules for one place, in order.
type list struct {
	candidates []candidate
	depth      int // how many segments the longest pattern has
	tree       *tree
}

// room returns room for as many segments as the patterns look at.
func (l *list) room(usual []word) []word {
	if l == nil || l.depth <= cap(usual) {
		return usual
	}
	return make([]word, 0, l.depth)
}

// candidate is a rule at one place.
type candidate struct {
	*rule
	access []access
	fields int // where in the tree's conditions the rule's begin
}

// newLists sorts the rules by place.
func newLists(rules []*rule) map[place]*list {
	lists := map[place]*list{}
	for _, r := range rules {
		for _, caller := range r.callers {
			for _, upstream := range r.upstreams {
				at := place{caller, upstream}
				if lists[at] == nil {
					lists[at] = &list{tree: newTree()}
				}
				lists[at].add(r, r.access[upstream])
			}
		}
	}
	return lists
}

func (l *list) add(r *rule, accesses []access) {
	if n := len(l.candidates); n > 0 && l.candidates[n-1].rule == r {
		return // it names the caller or upstream twice
	}
	l.candidates = append(l.candidates, candidate{rule: r, access: accesses, fields: l.tree.add(r.body)})
	for _, a := range accesses {
		for i := range a.paths {
			l.depth = max(l.depth, len(a.paths[i].words))
		}
	}
}

// verdict is what one rule makes of a request.
type verdict uint8

const (
	passes  verdict = iota // the rule does not match
	decides                // it does
	depends                // it does if the body is right, which was not read far enough
)

// reason is why a rule does or does not match: a small thing, for Explain to put
// in words. at is the condition's index.
type reason struct {
	why why
	met found
	at  int32
}

type why uint8

const (
	allHolds why = iota
	otherCaller
	otherUpstream
	otherMethod
	otherPath
	oddQuery
	queryFails
	bodyUnread
	bodyOdd
	bodyFails
)

// question is a request on its way past the rules, with what was found out about
// it for one of them and serves the next.
type question struct {
	Request
	tree *tree

	queryKnown, queryOdd bool
	query                []given

	headKnown bool
	headOdd   oddity // what is wrong with the body's headers
	bodyKnown bool
	bodyOdd   oddity
	body      []found // by the tree's conditions
}

// target is a question's method and path. It stands beside the question, and has
// nothing that is kept, so that its room stays on the stack.
type target struct {
	method uint8
	path   []word
	more   bool // the path goes on after them

	plainKnown bool
	plain      []string // the path as plainSegments reads it, if that took some reading
	plainCount int      // else how many of plainRoom it is
	plainMore  bool
	plainRoom  [usualDepth]string
}

// judge is what the candidate makes of a request.
func (c *candidate) judge(q *question, t *target) (verdict, reason) {
	if r := c.reaches(q.Path, t); r != allHolds {
		return passes, reason{why: r}
	}
	unsure := reason{}
	if len(c.rule.query) > 0 {
		why := c.judgeQuery(q)
		if why.why == queryFails || why.why == oddQuery && !c.deny {
			return passes, why
		}
		unsure = why
	}
	if len(c.rule.body) > 0 {
		switch why := c.judgeBody(q); {
		case why.why == bodyUnread:
			return depends, why
		case why.why == bodyFails, why.why == bodyOdd && !c.deny:
			return passes, why
		case why.why == bodyOdd:
			unsure = why
		}
	}
	return decides, unsure
}

// reaches compares methods and paths.
func (c *candidate) reaches(raw string, t *target) why {
	result := otherMethod
	for i := range c.access {
		a := &c.access[i]
		if a.methods&t.method == 0 {
			continue
		}
		result = otherPath
		for j := range a.paths {
			p := &a.paths[j]
			if p.mayMatch(t.path) && p.match(t.path, t.more, c.deny) || c.deny && p.resembles(t.plainPath(raw)) {
				return allHolds
			}
		}
	}
	return result
}

func (t *target) plainPath(raw string) (segments []string, more bool) {
	if !t.plainKnown {
		t.plainKnown = true
		if isPlain(raw) && len(t.path) <= len(t.plainRoom) {
			segments, t.plainMore = appendSegments(t.plainRoom[:0], raw)
			t.plainCount = len(segments)
			if t.plainRoom[t.plainCount-1] == "" {
				t.plainCount--
			}
		} else {
			t.plain = plainSegments(raw)
		}
	}
	if t.plain != nil {
		return t.plain, false
	}
	return t.plainRoom[:t.plainCount], t.plainMore
}

func (c *candidate) judgeQuery(q *question) reason {
	if !q.queryKnown {
		q.queryKnown = true
		var ok bool
		q.query, ok = parseQuery(q.Query)
		q.queryOdd = !ok
	}
	if q.queryOdd {
		return reason{why: oddQuery, at: -1}
	}
	result := reason{}
	for i := range c.rule.query {
		p := &c.rule.query[i]
		switch met := p.judge(q.query); {
		case !p.holds(met) && met&foundOdd != 0:
			return reason{oddQuery, met, int32(i)}
		case !p.holds(met):
			return reason{queryFails, met, int32(i)}
		case met&foundOdd != 0:
			result = reason{oddQuery, met, int32(i)}
		}
	}
	return result
}

func (c *candidate) judgeBody(q *question) reason {
	odd, known := q.judgeWhole(c.maxBody)
	if c.rule.deny && q.bodiless() { // there is nothing in it to deny
		odd, known = bodyGood, true
	}
	switch {
	case !known:
		return reason{why: bodyUnread}
	case odd != bodyGood:
		return reason{why: bodyOdd, at: -int32(odd)}
	}
	result := reason{}
	for i := range c.rule.body {
		f := &c.rule.body[i]
		met := foundAbsent
		if !q.bodiless() {
			met = q.body[c.fields+i]
		}
		switch {
		case !f.holds(met) && met&foundOdd != 0:
			return reason{bodyOdd, met, int32(i)}
		case !f.holds(met):
			return reason{bodyFails, met, int32(i)}
		case met&foundOdd != 0:
			result = reason{bodyOdd, met, int32(i)}
		}
	}
	return result
}

// judgeWhole judges the body for all conditions of the place at once. It reports
// false if that takes more of the body than was read.
func (q *question) judgeWhole(limit int64) (odd oddity, known bool) {
	if q.Body == nil {
		return 0, false
	}
	if !q.headKnown {
		q.headKnown, q.headOdd = true, q.Body.judgeHead()
	}
	switch size := int64(len(q.Body.Bytes)); {
	case q.headOdd != bodyGood:
		return q.headOdd, true
	case !q.Body.Whole && size < limit:
		return 0, false
	case !q.Body.Whole || size > limit:
		return bodyLong, true
	}
	if !q.bodyKnown {
		q.bodyKnown = true
		q.body, q.bodyOdd = q.tree.judge(q.Body.Bytes)
	}
	return q.bodyOdd, true
}

// bodiless reports whether the request is known to have no body.
func (q *question) bodiless() bool { return q.Body != nil && q.Body.Whole && len(q.Body.Bytes) == 0 }

func (r *rule) isFor(caller, upstream string) why {
	switch {
	case !slices.Contains(r.callers, caller):
		return otherCaller
	case !slices.Contains(r.upstreams, upstream):
		return otherUpstream
	}
	return allHolds
}
