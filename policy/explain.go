package policy

import (
	"fmt"
	"strings"
)

// Step is what one rule makes of a request.
type Step struct {
	Rule    string // "" where no rule has a say, or none matched
	Matched bool
	Nearly  bool // it would allow the request, but for conditions on query or body
	Why     string
}

// Explain says rule by rule, in order, why each matched or did not, until one
// decides. Its last step is what Decide answers: the rule that decides, or one
// without a rule.
func (p *Policy) Explain(req Request) []Step {
	l := p.lists[place{req.Caller, req.Upstream}]
	path, more, ok := p.words.read(req.Path, l.room(make([]word, 0, usualDepth)))
	switch {
	case !ok:
		return []Step{{Why: "the path is none, or has an escape that is none: denied"}}
	case p.forbids(&req):
		return []Step{{Why: "this path hands out or takes away credentials and is never forwarded, whatever the rules say"}}
	case l == nil:
		l = &list{}
	}
	q, t := question{Request: req, tree: l.tree}, target{method: methodBit(req.Method), path: path, more: more}
	var steps []Step
	for i, next := 0, 0; i < len(p.rules); i++ {
		r := p.rules[i]
		if next == len(l.candidates) || l.candidates[next].rule != r {
			steps = append(steps, Step{Rule: r.name, Why: r.explain(reason{why: r.isFor(req.Caller, req.Upstream)}, &q)})
			continue
		}
		v, why := l.candidates[next].judge(&q, &t)
		next++
		steps = append(steps, Step{r.name, v == decides, v == passes && !r.deny && why.isCondition(), r.explain(why, &q)})
		if v != passes {
			return steps
		}
	}
	return append(steps, Step{Why: "no rule matches: denied"})
}

// explain puts a reason in words. They name parameters and fields, and do not
// repeat what they are.
func (r *rule) explain(why reason, q *question) string {
	switch why.why {
	case otherCaller:
		return "is for " + plural("caller", r.callers)
	case otherUpstream:
		return "is for " + plural("upstream", r.upstreams)
	case otherMethod:
		return "is not for " + q.Method + " there"
	case otherPath:
		return "is for other paths"
	case bodyUnread:
		return fmt.Sprintf("depends on the body: up to %v of it have to be read", Size(r.maxBody))
	}
	result := "allows it"
	if r.deny {
		result = "denies it"
	}
	switch why.why {
	case allHolds:
		return result
	case queryFails, bodyFails:
		return r.subject(why) + " " + whyNot(why.met)
	}
	if r.deny {
		return result + ", since it cannot be told: " + r.subject(why) + " " + whyOdd(why)
	}
	return r.subject(why) + " " + whyOdd(why)
}

// isCondition reports whether all but the conditions holds.
func (why reason) isCondition() bool {
	return why.why == oddQuery || why.why == queryFails || why.why == bodyOdd || why.why == bodyFails
}

func (r *rule) subject(why reason) string {
	switch isQuery := why.why == queryFails || why.why == oddQuery; {
	case isQuery && why.at < 0:
		return "the query"
	case isQuery:
		return fmt.Sprintf("query parameter %q", r.query[why.at].name)
	case why.at < 0:
		return "the body"
	}
	return "the body's " + r.body[why.at].pointer
}

func whyNot(met found) string {
	switch {
	case met&foundNo != 0:
		return "is not what the rule wants"
	case met&foundAbsent != 0:
		return "is not there"
	}
	return "is an empty list"
}

func whyOdd(why reason) string {
	if why.at >= 0 {
		return "is there in another form, or beside something that readers may take for it"
	}
	if why.why == oddQuery {
		return "can be read in several ways (a ; in it, an escape that is none, or a control character)"
	}
	return map[oddity]string{
		bodyType:    "is not said to be JSON in UTF-8 (Content-Type: application/json, once)",
		bodyEncoded: "has a Content-Encoding",
		bodyLong:    "is longer than the rule's max_body",
		bodyNotUTF8: "is not UTF-8",
		bodyNotJSON: "is not JSON",
		bodyDeep:    fmt.Sprintf("is deeper than %d levels", maxDepth),
		bodyTwice:   "has two members of one name in a mapping, or of names that differ in case only",
		bodyRunes:   "has U+FFFD, half of a surrogate pair, or a control character in a name",
	}[oddity(-why.at)]
}

func plural(kind string, names []string) string {
	if len(names) == 1 {
		return kind + " " + names[0]
	}
	return kind + "s " + strings.Join(names, ", ")
}
