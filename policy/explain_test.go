package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPolicy_ExplainsRuleByRule(t *testing.T) {
	filtered := byHand("filtered", "GET", "/v1/x")
	filtered.Query = conditions{"a": in("secret")}
	deny := byHand("no", "POST", "/v1")
	deny.Deny, deny.Body = true, conditions{"/delete": in(true)}
	posts := withBody(conditions{"/a/*/b": in("x")})
	p := newPolicy(t, changed(byHand("cron", "GET", "/**"), func(r *RuleConfig) { r.Callers = []string{"cron"} }),
		named("read", "read"), filtered, deny, posts)
	for _, tt := range []struct {
		name string
		req  Request
		want []string // from the third rule on, unless nothing gets that far
	}{
		{"a path that no rule allows", ask(Local, "example", "GET", "/v2"), []string{
			"filtered: is for other paths", "no: is not for GET there", "body: is not for GET there", "no rule matches: denied",
		}},
		{"an absent parameter", ask(Local, "example", "GET", "/v1/x"), []string{
			`filtered: query parameter "a" is not there`, "no: is not for GET there", "body: is not for GET there", "no rule matches: denied",
		}},
		{"another value", querying("/v1/x", "a=1"), []string{
			`filtered: query parameter "a" is not what the rule wants`, "no: is not for GET there", "body: is not for GET there", "no rule matches: denied",
		}},
		{"a query in doubt", querying("/v1/x", "a=1;"), []string{
			"filtered: the query can be read in several ways (a ; in it, an escape that is none, or a control character)", "no: is not for GET there", "body: is not for GET there", "no rule matches: denied",
		}},
		{"the right value", querying("/v1/x", "a=secret"), []string{"filtered: allows it!"}},
		{"a body that was not read", posting(nil), []string{
			"filtered: is not for POST there", "no: depends on the body: up to 64KiB of it have to be read",
		}},
		{"no body", posting(&Body{Whole: true}), []string{
			"filtered: is not for POST there", "no: the body's /delete is not there",
			"body: the body is not said to be JSON in UTF-8 (Content-Type: application/json, once)", "no rule matches: denied",
		}},
		{"a body of another type", posting(&Body{Whole: true, Bytes: []byte("{}")}), []string{
			"filtered: is not for POST there", "no: denies it, since it cannot be told: the body is not said to be JSON in UTF-8 (Content-Type: application/json, once)!",
		}},
		{"a body that is denied", posting(jsonBody(`{"delete":true}`)), []string{"filtered: is not for POST there", "no: denies it!"}},
		{"a body in another form", posting(jsonBody(`{"Delete":true}`)), []string{
			"filtered: is not for POST there", "no: denies it, since it cannot be told: the body's /delete is there in another form, or beside something that readers may take for it!",
		}},
		{"a body that is allowed", posting(jsonBody(`{"a":[{"b":"x"}]}`)), []string{"filtered: is not for POST there", "no: the body's /delete is not there", "body: allows it!"}},
		{"a body without elements", posting(jsonBody(`{"a":[],"delete":false}`)), []string{
			"filtered: is not for POST there", "no: the body's /delete is not what the rule wants", "body: the body's /a/*/b is an empty list", "no rule matches: denied",
		}},
		{"no path", ask(Local, "example", "GET", "/%"), []string{"the path is none, or has an escape that is none: denied"}},
		{"never", ask(Local, "transfer", "GET", "/p"), []string{"this path hands out or takes away credentials and is never forwarded, whatever the rules say"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, step := range p.Explain(tt.req) {
				line := step.Why
				if step.Rule != "" {
					line = step.Rule + ": " + line
				}
				if step.Matched {
					line += "!"
				}
				got = append(got, line)
			}
			if len(got) > 2 {
				if got[0] != "cron: is for caller cron" || got[1] != "read: is for upstream transfer" {
					t.Errorf("begins with %q", got[:2])
				}
				got = got[2:]
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("Explain() is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func querying(path, query string) Request {
	req := ask(Local, "example", "GET", path)
	req.Query = query
	return req
}

// outcome is what Decide must say where Explain ends so.
func outcome(p *Policy, req Request) (matched, undecided, never bool, rule string) {
	steps := p.Explain(req)
	last := steps[len(steps)-1]
	for _, step := range steps[:len(steps)-1] {
		if step.Matched {
			rule = "two rules"
		}
	}
	return last.Matched, strings.HasPrefix(last.Why, "depends on"), strings.Contains(last.Why, "never forwarded"), rule + last.Rule
}

// randomPolicy has some rules of all kinds. What can never match is no matter here.
func randomPolicy(r *rand.Rand) *Policy {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	some := func(list ...string) []string {
		return list[r.IntN(len(list)):]
	}
	var rules []RuleConfig
	for i := range 1 + r.IntN(6) {
		rule := RuleConfig{
			Name: fmt.Sprintf("r%d", i), Callers: some("cron", Anonymous, Local), Upstreams: some("transfer", "example", "other"),
			Methods: some("DELETE", "GET", "POST"), Paths: some("/v1/a", "/v1/*", "/v1/**", "/**")[:1], Deny: r.IntN(4) == 0,
		}
		if r.IntN(3) == 0 {
			rule.Query = conditions{pick("q", "p"): []ConditionConfig{in("x", 5), under("/a/"), absentOr("x")}[r.IntN(3)]}
		}
		if r.IntN(3) == 0 {
			rule.Body = conditions{pick("/a", "/l/*", "/l/*/p"): []ConditionConfig{in("x", true), under("/a/"), absentOr("x")}[r.IntN(3)]}
			rule.MaxBody = Size(10 + r.IntN(20))
		}
		rules = append(rules, rule)
	}
	return New(Config{Callers: []CallerConfig{{Name: "cron", Address: []string{"10.0.0.1"}}}, Rules: rules}, upstreams(), &noted{})
}

func randomRequest(r *rand.Rand) Request {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	req := Request{
		Caller: pick("cron", Anonymous, Local, "nobody"), Upstream: pick("transfer", "example", "other", "none"), Method: pick("DELETE", "GET", "POST", "HEAD", "TRACE"),
		Path:  pick("/v1/a", "/v1/b", "/v1/A", "/v1/%61", "/v1/a/", "/v1/a/b", "/", "/p/x", "/%", "", "/v1;/a", "/v1//a"),
		Query: pick("", "q=x", "q=5", "Q=x", "q=/a/b", "p=/a/../b", "p=x&p=y", "q=x;", "q=%00"),
	}
	if r.IntN(4) > 0 {
		body := pick(`{}`, `{"a":"x"}`, `{"a":true}`, `{"a":"/a/b"}`, `{"A":"x"}`, `{"l":["x"]}`, `{"l":[{"p":"x"},{}]}`, `{"l":[]}`, `{"a":1,"a":1}`, `[`, `{"l":[{"p":"x"}],"z":"zzzzz"}`)
		read := len(body)
		if r.IntN(4) == 0 {
			read = r.IntN(len(body) + 1)
		}
		req.Body = &Body{ContentType: []string{pick("application/json", "application/json", "text/plain")}, Bytes: []byte(body[:read]), Whole: read == len(body)}
	}
	return req
}

func TestPolicy_ExplainEndsAsDecideDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	seen := map[string]int{}
	for range 2000 {
		p := randomPolicy(r)
		for range 50 {
			req := randomRequest(r)
			d := p.Decide(req)
			matched, undecided, never, rule := outcome(p, req)
			switch {
			case matched != (d.Rule != ""), undecided != (d.Body > 0), never != d.Never, matched && rule != d.Rule, d.Allowed && d.Rule == "":
				t.Fatalf("Decide(%+v) = %+v, but Explain ends with rule %q, matched %v, undecided %v, never %v", req, d, rule, matched, undecided, never)
			case d.Body > 0 && req.Body != nil && (req.Body.Whole || int64(len(req.Body.Bytes)) >= d.Body):
				t.Fatalf("Decide(%+v) = %+v wants what was read", req, d)
			}
			switch {
			case d.Allowed:
				seen["allowed"]++
			case d.Never:
				seen["never"]++
			case d.Body > 0:
				seen["undecided"]++
			case d.Rule != "":
				seen["denied by a rule"]++
			default:
				seen["denied"]++
			}
		}
	}
	t.Logf("explain and decide agree on 100000 requests: %v", seen)
	for _, kind := range []string{"allowed", "never", "undecided", "denied by a rule", "denied"} {
		if seen[kind] < 1000 {
			t.Errorf("only %d requests %s", seen[kind], kind)
		}
	}
}
