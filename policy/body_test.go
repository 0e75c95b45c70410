package policy

import (
	"fmt"
	"strings"
	"testing"
)

// jsonBody is a whole body that says it is JSON.
func jsonBody(text string) *Body {
	return &Body{ContentType: []string{"application/json"}, Bytes: []byte(text), Whole: true}
}

// posting is a request to the only path that withBody's rules are about.
func posting(body *Body) Request {
	req := ask(Local, "example", "POST", "/v1")
	req.Body = body
	return req
}

type conditions = map[string]ConditionConfig

// withBody is a rule with conditions on the body.
func withBody(c conditions) RuleConfig {
	r := byHand("body", "POST", "/v1")
	r.Body = c
	return r
}

func in(values ...any) ConditionConfig { return ConditionConfig{In: values} }
func under(dir string) ConditionConfig { return ConditionConfig{Under: dir} }
func absentOr(values ...any) ConditionConfig {
	return ConditionConfig{AbsentOr: append([]any{}, values...)}
}

// judged says whether a body is let through by a rule with the conditions, and
// whether it is refused by one that denies and has them before one that allows all.
func judged(t testing.TB, c conditions, body *Body) (allowed, denied bool) {
	t.Helper()
	deny := withBody(c)
	deny.Deny = true
	all := byHand("all", "POST", "/v1")
	return newPolicy(t, withBody(c)).Decide(posting(body)).Allowed, newPolicy(t, deny, all).Decide(posting(body)).Rule == "body"
}

func TestBody_Conditions(t *testing.T) {
	one := func(pointer string, c ConditionConfig) conditions { return conditions{pointer: c} }
	for _, tt := range []struct {
		name       string
		conditions conditions
		body       string
		allow      bool // a rule that allows matches
		deny       bool // a rule that denies matches
	}{
		{"a text that is wanted", one("/a", in("x", "y")), `{"a":"y"}`, true, true},
		{"a text that is not", one("/a", in("x")), `{"a":"y"}`, false, false},
		{"a text in another case", one("/a", in("x")), `{"a":"X"}`, false, true},
		{"a text written with escapes", one("/a", in("x/é")), `{"a":"\u0078\/\u00e9"}`, true, true},
		{"a text beyond the basic plane", one("/a", in("😀")), `{"a":"\ud83d\ude00"}`, true, true},
		{"an absent field", one("/a", in("x")), `{"b":"x"}`, false, false},
		{"a deep field", one("/a/b/c", in("x")), `{"a":{"b":{"c":"x"}}}`, true, true},
		{"a field of a list", one("/a/b", in("x")), `{"a":[{"b":"x"}]}`, false, true},
		{"a number where a name is", one("/a/0", in("x")), `{"a":["x"]}`, false, true},
		{"a member called by a number", one("/a/0", in("x")), `{"a":{"0":"x"}}`, true, true},
		{"a field of a text", one("/a/b", in("x")), `{"a":"x"}`, false, true},
		{"escapes in the pointer", one("/a~1b~0c", in("x")), `{"a/b~c":"x"}`, true, true},
		{"the empty name", one("/", in("x")), `{"":"x"}`, true, true},
		{"true", one("/a", in(true)), `{"a":true}`, true, true},
		{"false for true", one("/a", in(true)), `{"a":false}`, false, false},
		{"a text for true", one("/a", in(true)), `{"a":"true"}`, false, true},
		{"a number for true", one("/a", in(true)), `{"a":1}`, false, true},
		{"null", one("/a", in(nil)), `{"a":null}`, true, true},
		{"null for a text", one("/a", in("x")), `{"a":null}`, false, true},
		{"a text for null", one("/a", in(nil)), `{"a":""}`, false, true},
		{"a list for a text", one("/a", in("x")), `{"a":["x"]}`, false, true},
		{"a mapping for a text", one("/a", in("x")), `{"a":{}}`, false, true},
		{"a number", one("/a", in(5)), `{"a":5}`, true, true},
		{"a number written with a fraction", one("/a", in(5)), `{"a":5.0}`, true, true},
		{"a number written with an exponent", one("/a", in(500)), `{"a":5e2}`, true, true},
		{"another number", one("/a", in(5)), `{"a":50}`, false, false},
		{"its negative", one("/a", in(5)), `{"a":-5}`, false, false},
		{"a fraction", one("/a", in(0.25)), `{"a":25e-2}`, true, true},
		{"minus zero", one("/a", in(0)), `{"a":-0.0}`, true, true},
		{"a number that is rounded to it", one("/a", in(5)), `{"a":5.0000000000000000001}`, false, true},
		{"a number too long to compare", one("/a", in(9007199254740991)), `{"a":900719925474099100000e-5}`, false, true},
		{"a large exponent", one("/a", in(5)), `{"a":5e400}`, false, true},
		{"a text for a number", one("/a", in(5)), `{"a":"5"}`, false, true},
		{"texts and numbers", one("/a", in(5, "5")), `{"a":"5"}`, true, true},

		{"every element", one("/a/*", in("x", "y")), `{"a":["x","y","x"]}`, true, true},
		{"one element is another", one("/a/*", in("x")), `{"a":["x","z"]}`, false, true},
		{"every element is another", one("/a/*", in("x")), `{"a":["y","z"]}`, false, false},
		{"no element", one("/a/*", in("x")), `{"a":[]}`, false, false},
		{"no list", one("/a/*", in("x")), `{}`, false, false},
		{"null for a list", one("/a/*", in("x")), `{"a":null}`, false, true},
		{"a mapping for a list", one("/a/*", in("x")), `{"a":{"*":"x"}}`, false, true},
		{"a field of every element", one("/a/*/p", in("x")), `{"a":[{"p":"x"},{"p":"x"}]}`, true, true},
		{"a field that one element has not", one("/a/*/p", in("x")), `{"a":[{"p":"x"},{}]}`, false, true},
		{"an element that is a text", one("/a/*/p", in("x")), `{"a":[{"p":"x"},"x"]}`, false, true},
		{"lists in a list", one("/a/*/*", in("x")), `{"a":[["x"],["x","x"]]}`, true, true},
		{"an empty list in a list", one("/a/*/*", in("x")), `{"a":[["x"],[]]}`, false, true},
		{"the body is the list", one("/*/p", in("x")), `[{"p":"x"}]`, true, true},
		{"the body is a text", one("/a", in("x")), `"a"`, false, true},

		{"absent, and may be", one("/a", absentOr(false)), `{}`, true, true},
		{"the value it may be", one("/a", absentOr(false)), `{"a":false}`, true, true},
		{"another value", one("/a", absentOr(false)), `{"a":true}`, false, false},
		{"a value of another type", one("/a", absentOr(false)), `{"a":"false"}`, false, true},
		{"null is not absent", one("/a", absentOr(false)), `{"a":null}`, false, true},
		{"null if it may be", one("/a", absentOr(nil)), `{"a":null}`, true, true},
		{"must be absent", one("/a", absentOr()), `{"a":""}`, false, false},
		{"must be absent, and is", one("/a", absentOr()), `{"b":1}`, true, true},
		{"what it is in is absent", one("/a/b", absentOr(1)), `{}`, true, true},
		{"what it is in is null", one("/a/b", absentOr(1)), `{"a":null}`, false, true},
		{"what it is in is a list", one("/a/b", absentOr(1)), `{"a":[]}`, false, true},
		{"absent from every element", one("/a/*/b", absentOr(1)), `{"a":[{},{"c":2}]}`, true, true},
		{"of one element", one("/a/*/b", absentOr(1)), `{"a":[{},{"b":1}]}`, true, true},
		{"another value of one element", one("/a/*/b", absentOr(1)), `{"a":[{},{"b":2}]}`, false, true},
		{"the list is empty", one("/a/*/b", absentOr(1)), `{"a":[]}`, true, false},
		{"the list is absent", one("/a/*/b", absentOr(1)), `{}`, true, true},
		{"the list is none", one("/a/*/b", absentOr(1)), `{"a":{}}`, false, true},

		{"a path below", one("/p", under("/archive/")), `{"p":"/archive/a/b"}`, true, true},
		{"a path elsewhere", one("/p", under("/archive/")), `{"p":"/home/a"}`, false, false},
		{"no path", one("/p", under("/archive/")), `{"p":5}`, false, true},
		{"several conditions", conditions{"/a": in("x"), "/p/*": under("/q/"), "/d": absentOr(false)}, `{"d":false,"p":["/q/1","/q/2"],"a":"x"}`, true, true},
		{"several conditions, of which one fails", conditions{"/a": in("x"), "/p/*": under("/q/"), "/d": absentOr(false)}, `{"d":true,"p":["/q/1"],"a":"x"}`, false, false},

		{"a name in another case", one("/delete", absentOr(false)), `{"Delete":true}`, false, true},
		{"a name in another case, behind the right one", one("/a", in("x")), `{"b":{"A":1},"a":"x"}`, true, true},
		{"a name that folds to it", one("/kind", in("x")), `{"\u212aind":"y"}`, false, true},
		{"a name in another case elsewhere", one("/a/b", in("x")), `{"A":1,"c":{"B":2}}`, false, true},
		{"a name twice", one("/a", in("x")), `{"a":"x","a":"x"}`, false, true},
		{"a name twice, written in two ways", one("/a", in("x")), `{"a":"x","\u0061":"x"}`, false, true},
		{"a name twice, in two cases", one("/a", in("x")), `{"a":"x","b":1,"B":1}`, false, true},
		{"a name twice, deep down", one("/a", in("x")), `{"a":"x","c":[{"d":{"e":1,"f":2,"e":1}}]}`, false, true},
		{"a name at two levels", one("/a", in("x")), `{"a":"x","c":{"a":{"a":1}}}`, true, true},
		{"a name of names in two lists", one("/*/a", in("x")), `[{"a":"x"},{"a":"x"}]`, true, true},
		{"the replacement character", one("/a", in("x")), `{"a":"x","b":"\ufffd"}`, false, true},
		{"the replacement character as it is", one("/a", in("x")), "{\"a\":\"x\",\"b\":\"\uFFFD\"}", false, true},
		{"half a surrogate pair", one("/a", in("x")), `{"a":"x","b":"\ud83d"}`, false, true},
		{"two halves that are no pair", one("/a", in("x")), `{"a":"x","b":"\ude00\ud83d"}`, false, true},
		{"half a surrogate pair in a name", one("/a", in("x")), `{"a":"x","\udc00":1}`, false, true},
		{"a NUL in a name", one("/a", in("x")), `{"a":"x","a\u0000":"y"}`, false, true},
		{"a text beside null", one("/a", in("test", nil)), `{"a":"production"}`, false, false},
		{"null in words", one("/a", in("test", nil)), `{"a":"null"}`, false, true},
		{"a number in words", one("/a", in(5, "x")), `{"a":" 5 "}`, false, true},
		{"a text with spaces around it", one("/a", in("x")), `{"a":" x "}`, false, true},
		{"a UUID in another dress", one("/a", in("5e1f0c3a-8b7d-4c1e-9a55-000000000001")), `{"a":"{5E1F0C3A8B7D4C1E9A55000000000001}"}`, false, true},
		{"a NUL in a text that is looked at", one("/a", in("x")), `{"a":"x\u0000"}`, false, true},
		{"not UTF-8", one("/a", in("x")), "{\"a\":\"x\",\"b\":\"\xff\"}", false, true},
		{"a byte order mark", one("/a", in("x")), "\uFEFF{\"a\":\"x\"}", false, true},
		{"nothing", one("/a", absentOr("x")), ``, false, true},
		{"two values", one("/a", in("x")), `{"a":"x"}{"a":"y"}`, false, true},
		{"something behind it", one("/a", in("x")), `{"a":"x"};`, false, true},
		{"space around it", one("/a", in("x")), " \r\n\t{ \"a\" : \"x\" , \"b\" : [ 1 , 2 ] } \n", true, true},
		{"a comment", one("/a", in("x")), `{"a":"x"/**/}`, false, true},
		{"a comma too many", one("/a", in("x")), `{"a":"x",}`, false, true},
		{"a form", one("/a", in("x")), `a=x`, false, true},
		{"as deep as may be", one("/a", in("x")), `{"a":"x","b":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, true, true},
		{"deeper", one("/a", in("x")), `{"a":"x","b":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, false, true},
		{"mappings, deeper", one("/a", in("x")), `{"a":"x","b":` + strings.Repeat(`{"c":`, 64) + "1" + strings.Repeat("}", 64) + `}`, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allow, deny := judged(t, tt.conditions, jsonBody(tt.body))
			if allow != tt.allow || deny != tt.deny {
				t.Errorf("%s: allowed %v, denied %v, want %v, %v", tt.body, allow, deny, tt.allow, tt.deny)
			}
		})
	}
}

func TestBody_IsJudgedOnlyIfItSaysThatItIsJSON(t *testing.T) {
	const good = `{"a":"x"}`
	for _, tt := range []struct {
		name     string
		types    []string
		codings  []string
		judgedAs bool
	}{
		{"JSON", []string{"application/json"}, nil, true},
		{"JSON with a charset", []string{"application/json; charset=UTF-8"}, nil, true},
		{"JSON in capitals", []string{"Application/JSON"}, nil, true},
		{"a kind of JSON", []string{"application/vnd.api+json"}, nil, true},
		{"JSON with another parameter", []string{"application/json; odata=verbose"}, nil, true},
		{"a coding that changes nothing", []string{"application/json"}, []string{"identity"}, true},
		{"no type", nil, nil, false},
		{"an empty type", []string{""}, nil, false},
		{"two types", []string{"application/json", "application/json"}, nil, false},
		{"two types in one", []string{"application/json, text/plain"}, nil, false},
		{"text", []string{"text/plain"}, nil, false},
		{"JSON as text", []string{"text/json"}, nil, false},
		{"a form", []string{"application/x-www-form-urlencoded"}, nil, false},
		{"something like JSON", []string{"application/jsonp"}, nil, false},
		{"another charset", []string{"application/json; charset=utf-16"}, nil, false},
		{"two charsets", []string{"application/json; charset=utf-8; charset=utf-16"}, nil, false},
		{"a parameter that is none", []string{"application/json; charset"}, nil, false},
		{"compressed", []string{"application/json"}, []string{"gzip"}, false},
		{"compressed under another name", []string{"application/json"}, []string{"identity, gzip"}, false},
		{"compressed twice", []string{"application/json"}, []string{"identity", "br"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := &Body{ContentType: tt.types, ContentEncoding: tt.codings, Bytes: []byte(good), Whole: true}
			if allow, deny := judged(t, conditions{"/a": in("x")}, body); allow != tt.judgedAs || !deny {
				t.Errorf("allowed %v, denied %v, want %v, true", allow, deny, tt.judgedAs)
			}
			body.Bytes = []byte(`{"a":"y"}`)
			if allow, deny := judged(t, conditions{"/a": in("x")}, body); allow || deny == tt.judgedAs {
				t.Errorf("of another value: allowed %v, denied %v, want false, %v", allow, deny, !tt.judgedAs)
			}
		})
	}
}

func TestCondition_Under(t *testing.T) {
	for _, tt := range []struct {
		dir, path   string
		allow, deny bool
	}{
		{"/archive/", "/archive/a", true, true},
		{"/archive/", "/archive/a/", true, true},
		{"/archive/", "/archive/", true, true},
		{"/archive/", "/archive", false, true},
		{"/archive", "/archive", true, true},
		{"/archive", "/archive/", true, true},
		{"/archive", "/archive/a", true, true},
		{"/archive", "/archives", false, false},
		{"/archive/", "/archives/a", false, false},
		{"/archive/", "/Archive/a", false, true},
		{"/archive/", "/archive/../home", false, true},
		{"/archive/", "/archive/a/..", false, true},
		{"/archive/", "/archive/./a", false, true},
		{"/archive/", "/archive/.../a", false, true},
		{"/archive/", "/archive/.. /a", false, true},
		{"/archive/", "/archive/..a", true, true},
		{"/archive/", "/archive/.hidden", true, true},
		{"/archive/", "/archive//a", false, true},
		{"/archive/", "//archive/a", false, true},
		{"/archive/", "/archive/%2e%2e/home", false, true},
		{"/archive/", "/archive/%252e%252e/home", false, true},
		{"/archive/", "/archive/..%2fhome", false, true},
		{"/archive/", "/archive/a%2fb", true, true},
		{"/archive/", "/archive/a%5cb", false, true},
		{"/archive/", "/archive/100%", true, true},
		{"/archive/", "/archive/100%25", true, true},
		{"/archive/", "/arch%69ve/a", false, true},
		{"/archive/", "/archive/a\\..\\b", false, true},
		{"/archive/", "/archive/a\nb", false, true},
		{"/archive/", "/archive/a%00b", false, true},
		{"/archive/", "archive/a", false, true},
		{"/archive/", "", false, true},
		{"/archive/", "/", false, false},
		{"/archive/", "/home/archive/a", false, false},
		{"/", "/a", true, true},
		{"/", "/", true, true},
		{"/", "a", false, true},
		{"/~/", "/~/data", true, true},
		{"/a b/é", "/a b/é/x", true, true},
	} {
		body := jsonBody(fmt.Sprintf(`{"p":%q}`, tt.path))
		if allow, deny := judged(t, conditions{"/p": under(tt.dir)}, body); allow != tt.allow || deny != tt.deny {
			t.Errorf("%q under %q: allowed %v, denied %v, want %v, %v", tt.path, tt.dir, allow, deny, tt.allow, tt.deny)
		}
	}
}
