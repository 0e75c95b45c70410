package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// where a condition looks.
type where bool

const (
	inQuery where = false
	inBody  where = true
)

func (c ConditionConfig) newCondition(path []any, careful bool, in where, m Mistakes) condition {
	keys := 0
	for _, set := range []bool{c.In != nil, c.Under != "", c.AbsentOr != nil} {
		if set {
			keys++
		}
	}
	made := condition{careful: careful, absentOr: c.AbsentOr != nil, under: c.Under}
	made.listed = c.In != nil || c.Under != "" || len(c.AbsentOr) > 0
	switch {
	case keys == 0:
		m.Add(path, "says nothing; write in: and a list of values, under: and a path, or absent_or: and a list of values")
	case keys > 1:
		m.Add(path, "in, under and absent_or do not go together; write one of them")
	case c.In != nil && len(c.In) == 0:
		m.Add(append(path, "in"), "empty, so that nothing is in it; write at least one value")
	case c.Under != "":
		if why := checkUnder(c.Under); why != "" {
			m.Add(append(path, "under"), "%q %s", c.Under, why)
		}
	}
	for i, value := range c.In {
		made.add(append(path, "in", i), value, in, m)
	}
	for i, value := range c.AbsentOr {
		made.add(append(path, "absent_or", i), value, in, m)
	}
	return made
}

func checkUnder(dir string) string {
	switch {
	case !strings.HasPrefix(dir, "/"):
		return "does not start with /; write a path such as /archive/"
	case strings.Contains(dir, "%"):
		return "has a %, and paths are compared as they are; write one without"
	case wanders(dir) || !utf8.ValidString(dir):
		return "has a dot segment, an empty one, a backslash or a control character, with which no path is accepted; write one without"
	}
	return ""
}

// add takes in one of the values that the condition accepts.
func (c *condition) add(path []any, value any, in where, m Mistakes) {
	var number string
	switch value := value.(type) {
	case string:
		if !utf8.ValidString(value) || in == inQuery && hasControl(value) || in == inBody && strings.ContainsRune(value, utf8.RuneError) {
			m.Add(path, "a text with characters that keep a request from being judged, so that none has it; write another")
		}
		c.texts = append(c.texts, value)
		return
	case bool:
		if in == inQuery {
			c.texts = append(c.texts, strconv.FormatBool(value))
		}
		c.yes, c.no = c.yes || value, c.no || !value
		return
	case nil:
		if in == inQuery {
			m.Add(path, "null is nothing a parameter can be; write a text, or absent_or: [] for none at all")
		}
		c.null = true
		return
	case numberInDisguise:
		m.Add(path, "%s is %s to YAML; write that, or in quotes what is to be a text", value.text, value.means)
		return
	case int:
		number = strconv.Itoa(value)
	case int64:
		number = strconv.FormatInt(value, 10)
	case uint64:
		number = strconv.FormatUint(value, 10)
	case float64:
		number = strconv.FormatFloat(value, 'e', -1, 64)
		if in == inQuery {
			m.Add(path, "a number can be written in several ways; write it in quotes, as the query has it")
			return
		}
	default:
		m.Add(path, "no single value; write a text, a number, true, false or null, and in quotes what is to be a text")
		return
	}
	c.addNumber(path, number, in, m)
}

func (c *condition) addNumber(path []any, number string, in where, m Mistakes) {
	if in == inQuery {
		c.texts = append(c.texts, number)
		return
	}
	value, err := strconv.ParseFloat(number, 64)
	d, exact := parseDecimal(number)
	if err != nil || math.IsNaN(value) || math.Abs(value) >= maxWhole || !exact {
		m.Add(path, "a number that some readers round; write one of at most 15 digits, in quotes if it is a text")
		return
	}
	c.numbers = append(c.numbers, d)
}

// parsePointer reads a JSON pointer (RFC 6901), in which * is every element of a
// list, and a number is the name of a member.
func parsePointer(text string) ([]step, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New("does not start with /; write the way to a field, such as /source_endpoint or /DATA/*/destination_path")
	}
	if strings.ContainsRune(text, utf8.RuneError) || hasControl(text) {
		return nil, errors.New("has characters with which no body is judged; write the way to a field without")
	}
	var steps []step
	for part := range strings.SplitSeq(text[1:], "/") {
		if part == "*" {
			steps = append(steps, step{any: true})
			continue
		}
		name := strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		if strings.Count(part, "~") != strings.Count(part, "~0")+strings.Count(part, "~1") {
			return nil, errors.New("has a ~ that stands for nothing; write ~0 for ~ and ~1 for / in a name")
		}
		steps = append(steps, step{name: name})
	}
	if len(steps) > maxDepth {
		return nil, fmt.Errorf("is deeper than the %d levels to which bodies are judged; write a shorter way", maxDepth)
	}
	return steps, nil
}
