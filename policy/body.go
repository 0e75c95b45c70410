package policy

import (
	"encoding/json"
	"hash/maphash"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"
)

// Body is a request's body, as far as it was read for a decision.
type Body struct {
	ContentType     []string // the header's values
	ContentEncoding []string
	Bytes           []byte
	Whole           bool // Bytes is all of it; else it is longer
}

// oddity is what keeps a body from being judged.
type oddity uint8

const (
	bodyGood oddity = iota
	bodyType
	bodyEncoded
	bodyLong
	bodyNotUTF8
	bodyNotJSON
	bodyDeep
	bodyTwice
	bodyRunes
)

// maxDepth is how deep lists and mappings may stand in each other.
const maxDepth = 64

// judgeHead says what the headers tell: the body has to be JSON and nothing else,
// for everybody who reads it.
func (b *Body) judgeHead() oddity {
	for _, coding := range b.ContentEncoding {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return bodyEncoded
		}
	}
	if len(b.ContentType) != 1 {
		return bodyType
	}
	media, parameters, err := mime.ParseMediaType(b.ContentType[0])
	charset, hasCharset := parameters["charset"]
	isJSON := media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if err != nil || !isJSON || hasCharset && !strings.EqualFold(charset, "utf-8") {
		return bodyType
	}
	return bodyGood
}

// field is a condition on a field of the body: names and * from the top down.
type field struct {
	pointer string
	steps   []step
	condition
}

type step struct {
	name string
	any  bool // every element of a list
}

// tree has the conditions of several rules, to judge a body for all in one pass.
type tree struct {
	root       *node
	nodes      int
	conditions []*condition
}

// node is a place in the body that conditions speak of, or of places below.
type node struct {
	id       int
	members  map[string]*node
	inAnyway map[string][]*node // members by their names folded
	each     *node
	tests    []int // conditions on this very place
	below    []int // conditions on this place or below
}

func newTree() *tree { return &tree{root: &node{}, nodes: 1} }

// add puts a rule's conditions in, and returns the first's index.
func (t *tree) add(fields []field) int {
	first := len(t.conditions)
	for i := range fields {
		index := len(t.conditions)
		t.conditions = append(t.conditions, &fields[i].condition)
		at := t.root
		at.below = append(at.below, index)
		for _, s := range fields[i].steps {
			at = t.child(at, s)
			at.below = append(at.below, index)
		}
		at.tests = append(at.tests, index)
	}
	return first
}

func (t *tree) child(at *node, s step) *node {
	child := at.members[s.name]
	if s.any {
		child = at.each
	}
	if child != nil {
		return child
	}
	child = &node{id: t.nodes}
	t.nodes++
	if s.any {
		at.each = child
		return child
	}
	if at.members == nil {
		at.members, at.inAnyway = map[string]*node{}, map[string][]*node{}
	}
	folded := foldName(s.name)
	at.members[s.name], at.inAnyway[folded] = child, append(at.inAnyway[folded], child)
	return child
}

// judge reads a body once and says what each condition met, or what is wrong with
// the body for all of them.
func (t *tree) judge(text []byte) ([]found, oddity) {
	switch {
	case !utf8.Valid(text):
		return nil, bodyNotUTF8
	case !json.Valid(text):
		return nil, bodyNotJSON
	}
	r := reader{text: text, tree: t, found: make([]found, len(t.conditions)), seen: make([]bool, t.nodes), seed: maphash.MakeSeed()}
	r.value(t.root, 0)
	return r.found, r.odd
}

// reader goes through a body that is known to be JSON. Beside the body it keeps
// eight bytes for each member of the mappings it is in.
type reader struct {
	text  []byte
	at    int
	tree  *tree
	found []found // by condition
	seen  []bool  // by node: the mapping being read has this member
	seed  maphash.Seed
	names []uint64 // hashes of the folded names in the mappings being read
	fold  []byte   // room for a name
	odd   oddity
}

// value reads one, of which conditions below n speak; n is nil if none does.
func (r *reader) value(n *node, depth int) {
	r.space()
	switch c := r.text[r.at]; {
	case r.odd != bodyGood:
	case (c == '{' || c == '[') && depth == maxDepth:
		r.odd = bodyDeep
	case c == '{':
		r.mark(n, false, true)
		r.mapping(n, depth+1)
	case c == '[':
		r.mark(n, true, false)
		r.sequence(n, depth+1)
	case c == '"':
		text := r.string()
		judged := value{text: string(text)}
		r.scalar(n, func(c *condition) found { return c.text(&judged) })
	case c == 't', c == 'f':
		r.word()
		r.scalar(n, func(cond *condition) found { return cond.bool(c == 't') })
	case c == 'n':
		r.word()
		r.scalar(n, (*condition).isNull)
	default:
		literal := r.word()
		r.scalar(n, func(c *condition) found { return c.number(literal) })
	}
}

func (r *reader) scalar(n *node, judge func(*condition) found) {
	if n == nil {
		return
	}
	for _, i := range n.tests {
		if c := r.tree.conditions[i]; !c.settled(r.found[i]) {
			r.found[i] |= judge(c)
		}
	}
	r.mark(n, false, false)
}

// mark notes that a value is not what conditions on its elements or members, or
// on a list or mapping as a whole, could be met by.
func (r *reader) mark(n *node, isList, isMapping bool) {
	if n == nil {
		return
	}
	if isList || isMapping {
		for _, i := range n.tests {
			r.found[i] |= r.tree.conditions[i].other()
		}
	}
	if n.each != nil && !isList {
		r.meet(n.each, foundOdd)
	}
	if !isMapping {
		for _, member := range n.members {
			r.meet(member, foundOdd)
		}
	}
}

// meet notes the same for all conditions at n and below.
func (r *reader) meet(n *node, f found) {
	for _, i := range n.below {
		r.found[i] |= f
	}
}

func (r *reader) sequence(n *node, depth int) {
	var each *node
	if n != nil {
		each = n.each
	}
	r.at++ // [
	r.space()
	if r.text[r.at] == ']' {
		r.at++
		if each != nil {
			r.meet(each, foundEmpty)
		}
		return
	}
	for {
		r.value(each, depth)
		if r.odd != bodyGood {
			return
		}
		r.space()
		r.at++ // , or ]
		if r.text[r.at-1] == ']' {
			return
		}
	}
}

func (r *reader) mapping(n *node, depth int) {
	if n != nil {
		for _, member := range n.members {
			r.seen[member.id] = false
		}
	}
	first := len(r.names)
	r.at++ // {
	for r.space(); r.text[r.at] != '}'; r.space() {
		if r.text[r.at] == ',' {
			r.at++
			r.space()
		}
		name := r.string()
		member := r.member(n, name)
		r.space()
		r.at++ // :
		r.value(member, depth)
		if r.odd != bodyGood {
			return
		}
	}
	r.at++ // }
	r.leave(n, first)
}

// member returns what conditions say of a member, and notes its name.
func (r *reader) member(n *node, name []byte) *node {
	r.fold = r.fold[:0]
	for i := 0; i < len(name); {
		c, size := utf8.DecodeRune(name[i:])
		if c < ' ' {
			r.odd = bodyRunes // some would end the name there
		}
		r.fold = utf8.AppendRune(r.fold, foldRune(c))
		i += size
	}
	r.names = append(r.names, maphash.Bytes(r.seed, r.fold))
	if n == nil || n.members == nil {
		return nil
	}
	exact := n.members[string(name)]
	for _, other := range n.inAnyway[string(r.fold)] {
		if other == exact {
			r.seen[exact.id] = true
			continue
		}
		r.seen[other.id] = true
		r.meet(other, foundOdd) // to readers that match names in any case it is this one
	}
	return exact
}

// leave ends a mapping: no two members may have one name, and those that
// conditions speak of and that were not there are absent.
func (r *reader) leave(n *node, first int) {
	names := r.names[first:]
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			r.odd = bodyTwice
		}
	}
	r.names = r.names[:first]
	if n == nil {
		return
	}
	for _, member := range n.members {
		if !r.seen[member.id] {
			r.meet(member, foundAbsent)
		}
	}
}
