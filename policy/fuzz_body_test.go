package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
)

// members is a JSON mapping with all that it has, in order.
type members []struct {
	name  string
	value any
}

// readAll reads a body without losing anything of it, and without bearerd's code.
func readAll(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		m := members{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := readAll(d)
			if err != nil {
				return nil, err
			}
			m = append(m, struct {
				name  string
				value any
			}{name.(string), value})
		}
		_, err = d.Token()
		return m, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := readAll(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	return token, nil
}

// lookUp is how some reader finds a member.
type lookUp func(mapping any, name string) (value any, found bool)

var lookUps = map[string]lookUp{
	"encoding/json": func(mapping any, name string) (any, bool) {
		m, _ := mapping.(map[string]any)
		value, found := m[name]
		return value, found
	},
	"the first in any case": func(mapping any, name string) (any, bool) {
		m, _ := mapping.(members)
		for _, one := range m {
			if strings.EqualFold(one.name, name) {
				return one.value, true
			}
		}
		return nil, false
	},
	"the last in any case": func(mapping any, name string) (any, bool) {
		m, _ := mapping.(members)
		for _, one := range slices.Backward(m) {
			if strings.EqualFold(one.name, name) {
				return one.value, true
			}
		}
		return nil, false
	},
}

// leadsTo are the places a path may lead to, decoded or not.
func leadsTo(text string) []string {
	places := []string{text}
	for range 2 {
		if decoded, err := url.PathUnescape(text); err == nil {
			text = decoded
			places = append(places, text)
		}
	}
	for i, place := range places {
		places[i] = path.Clean(strings.ReplaceAll(place, `\`, "/"))
	}
	return places
}

func isBelowArchive(value any) bool {
	text, isText := value.(string)
	return isText && !slices.ContainsFunc(leadsTo(text), func(place string) bool {
		return place != "/archive" && !strings.HasPrefix(place, "/archive/")
	})
}

func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"a":"x"}`, `{"a":5}`, `{"a":5.0e0}`, `{"a":true}`, `{"a":null}`, `{"A":"x","a":"x"}`, `{"a":"x","a":"y"}`, `{"\u0061":"x"}`, `{"a":"\u0078"}`,
		`{"l":[{"p":"/archive/a"},{"p":"/archive/b"}]}`, `{"l":[{"p":"/archive/../b"}]}`, `{"l":[{"p":"/archive/%2e%2e/b"}],"L":[]}`, `{"l":[]}`, `{"l":{}}`,
		`{"d":false}`, `{"D":true}`, `{}`, `[]`, `"a"`, `{"d":{"a":1}}`, `{"a":"\ud800"}`, "{\"a\":\"x\",\"\xff\":1}", `{"a":"x"}{}`, `{"a":"x",}`, strings.Repeat("[", 100),
		`{"a":5.0000000000000000001}`, `{"b":1e10000000000000}`, `{"a":"😀"}`, `{"a":"\ud83d\ude00"}`, `{"d":false,"\u0064":true}`, "{\"\u212a\":1,\"k\":1,\"K\":1}", " {\n\"a\" : \"x\"\t}\r\n",
	} {
		f.Add([]byte(seed))
	}
	wanted := []any{"x", 5.0, true, nil, "😀"}
	value, list, absent := withBody(conditions{"/a": in("x", 5, true, nil, "😀")}), withBody(conditions{"/l/*/p": under("/archive/")}), withBody(conditions{"/d": absentOr(false)})
	list.Paths, absent.Paths, list.Name, absent.Name = []string{"/list"}, []string{"/absent"}, "list", "absent"
	p := newPolicy(f, value, list, absent)
	f.Fuzz(func(t *testing.T, text []byte) {
		allowed := func(path string) bool {
			req := posting(jsonBody(string(text)))
			req.Path = path
			return p.Decide(req).Allowed
		}
		byValue, byList, byAbsence := allowed("/v1"), allowed("/list"), allowed("/absent")
		if !byValue && !byList && !byAbsence {
			return
		}
		var plain any
		var beyond *json.UnmarshalTypeError // a number beyond all bounds, which no condition looks at
		if err := json.Unmarshal(text, &plain); errors.As(err, &beyond) {
			return
		} else if err != nil {
			t.Fatalf("%q is judged, and is no JSON: %v", text, err)
		}
		whole, err := readAll(json.NewDecoder(bytes.NewReader(text)))
		if err != nil {
			t.Fatalf("%q is judged, and cannot be read: %v", text, err)
		}
		for name, find := range lookUps {
			root := whole
			if name == "encoding/json" {
				root = plain
			}
			if got, found := find(root, "a"); byValue && (!found || !slices.Contains(wanted, got)) {
				t.Errorf("%q is allowed, but by %s a is %v", text, name, got)
			}
			if got, found := find(root, "d"); byAbsence && found && got != false {
				t.Errorf("%q is allowed, but by %s d is %v", text, name, got)
			}
			got, _ := find(root, "l")
			elements, isList := got.([]any)
			if byList && (!isList || len(elements) == 0) {
				t.Errorf("%q is allowed, but by %s l is %v", text, name, got)
			}
			for _, element := range elements {
				if at, found := find(element, "p"); byList && (!found || !isBelowArchive(at)) {
					t.Errorf("%q is allowed, but by %s some p is %v", text, name, at)
				}
			}
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "q=x", "q=5", "q=x&q=y", "Q=y", "q=x&Q=y", "q[]=y", "q=x;q=y", "q=%78", "q=%zz", "+q=y", "q=x&%00", "q=/archive/a", "q=/archive/..%2f", "q=/archive/%252e%252e/", "q", "=x", "&", "q=x&b=%ff", "q%5b0]=y",
	} {
		f.Add(seed)
	}
	query := func(name, path string, c ConditionConfig) RuleConfig {
		r := byHand(name, "GET", path)
		r.Query = conditions{"q": c}
		return r
	}
	p := newPolicy(f, query("value", "/value", in("x", 5)), query("path", "/path", under("/archive/")), query("absent", "/absent", absentOr("x")))
	f.Fuzz(func(t *testing.T, raw string) {
		allowed := func(path string) bool { return p.Decide(querying(path, raw)).Allowed }
		byValue, byPath, byAbsence := allowed("/value"), allowed("/path"), allowed("/absent")
		if !byValue && !byPath && !byAbsence {
			return
		}
		values, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatalf("%q is judged, and cannot be read: %v", raw, err)
		}
		var all []string // in order, as who parts at ; too, and names in any case, with brackets and spaces
		for part := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '&' || r == ';' }) {
			name, value, _ := strings.Cut(part, "=")
			name, _ = url.QueryUnescape(name)
			value, _ = url.QueryUnescape(value)
			if name, _, _ = strings.Cut(strings.TrimSpace(name), "["); strings.EqualFold(name, "q") {
				all = append(all, value)
			}
		}
		if !slices.Equal(all, values["q"]) {
			t.Errorf("%q is allowed, but q is %q to some and %q to others", raw, values["q"], all)
		}
		if len(all) == 0 && (byValue || byPath) {
			t.Errorf("%q is allowed without q", raw)
		}
		for _, value := range all {
			if byValue && value != "x" && value != "5" || byAbsence && value != "x" || byPath && !isBelowArchive(value) {
				t.Errorf("%q is allowed, but q is %q", raw, all)
			}
		}
	})
}
