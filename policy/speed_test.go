package policy

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// manyRules are for one caller at one upstream, each for another path of the same
// length, so that the last is the last to be tried.
func manyRules(n int) []RuleConfig {
	var rules []RuleConfig
	for i := range n {
		rules = append(rules, byHand(fmt.Sprintf("rule-%d", i), "GET POST", fmt.Sprintf("/v0.10/endpoint/*/part-%04d/**", i)))
	}
	return rules
}

// lastOf is a request that the last of so many allows.
func lastOf(n int) Request {
	return ask(Local, "example", "GET", fmt.Sprintf("/v0.10/endpoint/ddb59aef-6d04-11e5-ba46-22000b92c6ec/part-%04d/access_list", n-1))
}

func BenchmarkPolicy_Decide(b *testing.B) {
	for _, n := range []int{1, 20, 100, 200, 2000} {
		b.Run(fmt.Sprintf("%drules", n), func(b *testing.B) {
			p, req := newPolicy(b, manyRules(n)...), lastOf(n)
			b.ReportAllocs()
			for b.Loop() {
				if !p.Decide(req).Allowed {
					b.Fatal("not allowed")
				}
			}
		})
	}
}

func TestPolicy_DecidesOnAHundredRulesWithoutAllocating(t *testing.T) {
	p, req := newPolicy(t, manyRules(100)...), lastOf(100)
	if !p.Decide(req).Allowed {
		t.Fatal("not allowed")
	}
	if allocations := testing.AllocsPerRun(100, func() { p.Decide(req) }); allocations != 0 {
		t.Errorf("%v allocations, want none", allocations)
	}
}

func TestPolicy_DecidesWithoutAllocating(t *testing.T) {
	deny := byHand("no", "DELETE", "/v1/secret/**")
	deny.Deny = true
	p := New(Config{Callers: []CallerConfig{{Name: "cron", Address: []string{"10.0.0.0/8"}}}, Rules: []RuleConfig{
		deny, byHand("tasks", "GET DELETE", "/v1/tasks/*", "/v1/été/*"),
		{Name: "all", Callers: []string{Local}, Upstreams: []string{"transfer"}, Methods: []string{"GET"}, Paths: []string{"/**"}},
	}}, upstreams(), &noted{})
	for _, tt := range []struct {
		name, request string
		allowed       bool
	}{
		{"an allowed path", "local example GET /v1/tasks/7", true},
		{"a path that none allows", "local example GET /v1/other/7", false},
		{"a path with escapes", "local example GET /v1/%74asks/a%20b", true},
		{"a path with escapes beyond ASCII", "local example GET /v1/%C3%A9t%c3%a9/7", true},
		{"a method that a rule denies elsewhere", "local example DELETE /v1/tasks/7", true},
		{"a path that a rule denies", "local example DELETE /v1/Secret/7", false},
		{"a path beside those never forwarded", "local transfer GET /v2/oauth2/tokens", true},
		{"a path never forwarded", "local transfer GET /v2/OAUTH2/token/x", false},
		{"a long path", "local transfer GET /a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/a/b/c/d/e/f/g/h/i/j/k/l/m", true},
		{"nobody", "nobody transfer GET /", false},
	} {
		req := request(tt.request)
		if got := p.Decide(req); got.Allowed != tt.allowed {
			t.Errorf("%s: %+v, want allowed: %v", tt.name, got, tt.allowed)
		}
		if got := testing.AllocsPerRun(100, func() { p.Decide(req) }); got != 0 {
			t.Errorf("%s: %v allocations, want none", tt.name, got)
		}
	}
}

func TestBody_IsJudgedInLittleMemory(t *testing.T) {
	size := mostMaxBody - 200
	if raceEnabled {
		size /= 16
	}
	var list, mapping strings.Builder
	list.WriteString(`{"DATA":[`)
	mapping.WriteString(`{"a":0`)
	for i := 0; list.Len() < size; i++ {
		fmt.Fprintf(&list, `{"destination_path":"/archive/%d","source_path":"/data/\u0061\n","recursive":false},`, i)
	}
	list.WriteString(`{"destination_path":"/archive/"}]}`)
	for i := 0; mapping.Len() < size; i++ {
		fmt.Fprintf(&mapping, `,"%x":0`, i)
	}
	mapping.WriteString("}")
	r := withBody(conditions{"/DATA/*/destination_path": under("/archive/")})
	r.MaxBody = mostMaxBody
	p := newPolicy(t, r)
	for name, text := range map[string]string{"a list of many": list.String(), "a mapping of many": mapping.String()} {
		req := posting(jsonBody(text))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		allowed := p.Decide(req).Allowed
		took := time.Since(begin)
		runtime.ReadMemStats(&after)
		t.Logf("%s: %d MiB judged in %v with %d KiB", name, len(text)/mib, took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)/kib)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 5*mostMaxBody {
			t.Errorf("%s: %d KiB, want less", name, spent/kib)
		}
		if allowed != (name == "a list of many") {
			t.Errorf("%s: allowed %v", name, allowed)
		}
	}
}
