package policy

import "testing"

func TestQuery_Conditions(t *testing.T) {
	one := func(name string, c ConditionConfig) conditions { return conditions{name: c} }
	for _, tt := range []struct {
		name       string
		conditions conditions
		query      string
		allow      bool // a rule that allows matches
		deny       bool // a rule that denies matches
	}{
		{"a value that is wanted", one("a", in("x", "y")), "b=1&a=y", true, true},
		{"a value that is not", one("a", in("x")), "a=y", false, false},
		{"a value in another case", one("a", in("x")), "a=X", false, true},
		{"no query", one("a", in("x")), "", false, false},
		{"another parameter", one("a", in("x")), "b=x&ab=x", false, false},
		{"no value", one("a", in("")), "a", true, true},
		{"an empty value", one("a", in("")), "a=", true, true},
		{"a value with =", one("a", in("x=y")), "a=x=y", true, true},
		{"a number", one("a", in(5)), "a=5", true, true},
		{"a number written otherwise", one("a", in(5)), "a=05", false, false},
		{"a truth", one("a", in(true)), "a=true", true, true},
		{"a truth in capitals", one("a", in(true)), "a=True", false, true},
		{"escapes", one("a b", in("x&y")), "%61%20b=x%26y", true, true},
		{"a plus is a space", one("a", in("x y")), "a=x+y", true, true},
		{"an escaped plus is none", one("a", in("x y")), "a=x%2By", false, false},
		{"decoded once only", one("a", in("x")), "a=%2578", false, false},
		{"beyond ASCII", one("a", in("é")), "a=%C3%A9", true, true},
		{"twice the same", one("a", in("x")), "a=x&a=x", true, true},
		{"twice, of which one is right", one("a", in("x")), "a=x&a=y", false, true},
		{"twice, of which the last is right", one("a", in("x")), "a=y&b&a=x", false, true},
		{"a list as PHP has it", one("a", in("x")), "a=x&a[]=y", false, true},
		{"a mapping as PHP has it", one("a", in("x")), "a[b]=y&a=x", false, true},
		{"escaped brackets", one("a", in("x")), "a=x&a%5B0%5D=y", false, true},
		{"a bracket that never closes", one("a_b", in("x")), "a_b=x&a[b=y", false, true},
		{"a dot that PHP takes for _", one("a_b", in("x")), "a_b=x&a.b=y", false, true},
		{"a name in another case", one("a", in("x")), "a=x&A=y", false, true},
		{"a name in another case alone", one("a", absentOr("x")), "A=y", false, true},
		{"a name that folds to it", one("kind", absentOr("x")), "%E2%84%AAind=y", false, true},
		{"spaces around the name", one("a", absentOr("x")), "+a=y", false, true},
		{"a name with brackets that is wanted so", one("a[]", in("x")), "a[]=x&a%5b%5d=x", true, true},
		{"beside one with brackets", one("a[]", in("x")), "a[]=x&a=y", false, true},
		{"absent, and may be", one("a", absentOr("x")), "b=1", true, true},
		{"the value it may be", one("a", absentOr("x")), "a=x", true, true},
		{"another value than it may be", one("a", absentOr("x")), "a=y", false, false},
		{"must be absent", one("a", absentOr()), "a=", false, false},
		{"must be absent, and is", one("a", absentOr()), "", true, true},
		{"a path below", one("path", under("/~/")), "path=%2F~%2Fdata", true, true},
		{"a path elsewhere", one("path", under("/~/")), "path=/etc", false, false},
		{"a path that leads elsewhere", one("path", under("/~/")), "path=/~/..%2f..", false, true},
		{"a path encoded twice", one("path", under("/~/")), "path=/~/%252e%252e/etc", false, true},
		{"several", conditions{"a": in("x"), "b": in("y")}, "b=y&a=x", true, true},
		{"several, of which one fails", conditions{"a": in("x"), "b": in("y")}, "b=z&a=x", false, false},
		{"a semicolon", one("a", in("x")), "a=x;b=1", false, true},
		{"a semicolon elsewhere", one("a", in("x")), "a=x&b=1;c", false, true},
		{"an escaped semicolon", one("a", in("x;")), "a=x%3B", true, true},
		{"an escape that is none", one("a", in("x")), "a=x&b=%zz", false, true},
		{"an escape that is cut short", one("a", in("x")), "a=x&b=%2", false, true},
		{"a NUL", one("a", in("x")), "a=x&b=%00", false, true},
		{"a line feed in a name", one("a", in("x")), "a=x&a%0a=y", false, true},
		{"not UTF-8", one("a", in("x")), "a=x&b=%ff", false, true},
		{"empty parts", one("a", in("x")), "&&a=x&", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowing := byHand("query", "GET", "/v1")
			allowing.Query = tt.conditions
			denying := allowing
			denying.Deny = true
			req := ask(Local, "example", "GET", "/v1")
			req.Query = tt.query
			if got := newPolicy(t, allowing).Decide(req).Allowed; got != tt.allow {
				t.Errorf("%q: allowed %v, want %v", tt.query, got, tt.allow)
			}
			if got := newPolicy(t, denying, byHand("all", "GET", "/v1")).Decide(req).Rule == "query"; got != tt.deny {
				t.Errorf("%q: denied %v, want %v", tt.query, got, tt.deny)
			}
		})
	}
}
