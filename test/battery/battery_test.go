package battery_test

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"bearerd/test/battery"
	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestCases_HaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range slices.Concat(battery.Cases(), battery.ThroughCases("127.0.0.1:8080")) {
		if seen[c.Name] {
			t.Errorf("two cases are called %s", c.Name)
		}
		seen[c.Name] = true
		if len(c.Wants) == 0 {
			t.Errorf("%s: nothing is wanted of it", c.Name)
		}
	}
	if n := len(seen); n < 400 {
		t.Errorf("%d cases, want 400 at least", n)
	}
}

// A rig is bearerd with battery.Config in front of a Recorder.
type rig struct {
	*harness.Bearerd
	addr     string
	upstream *harness.Recorder
	globus   *harness.Globus
}

func start(t *testing.T) *rig { return startWith(t, func(config string) string { return config }) }

// startWith is start with another configuration, made of that one.
func startWith(t *testing.T, edit func(config string) string) *rig {
	t.Helper()
	g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
	b := harness.Start(t, edit(battery.Config(g, upstream.URL)))
	return &rig{Bearerd: b, addr: strings.TrimPrefix(b.URL, "http://"), upstream: upstream, globus: g}
}

// ours are the tokens that bearerd was issued, as fingerprints.
func (r *rig) ours() map[string]bool {
	issued := map[string]bool{}
	for _, record := range r.globus.Records() {
		for _, token := range record.Issued {
			issued[token] = true
		}
	}
	return issued
}

// arrived returns what arrived whole since the last call, without the plain
// requests that follow cases. What broke off is no request: an upstream that acts
// on one of those would on any client's that vanishes.
func (r *rig) arrived() []harness.Arrival {
	return slices.DeleteFunc(r.upstream.Take(), func(a harness.Arrival) bool {
		return !a.Whole() || a.Target() == strings.TrimPrefix(next, "/plain")
	})
}

func TestBattery_NothingAmbiguousAndNothingAgainstPolicyReachesTheUpstream(t *testing.T) {
	r := start(t)
	r.try(t, "", battery.Cases())
}

// The same, of who has bearerd for a proxy.
func TestBattery_NothingAgainstPolicyIsReachedThroughBearerd(t *testing.T) {
	r := startWith(t, battery.ThroughConfig)
	r.try(t, "through a proxy, ", battery.ThroughCases(r.upstream.Addr))
}

// try sends cases, checks what becomes of each, and prints how many there were.
func (r *rig) try(t *testing.T, kind string, cases []battery.Case) {
	t.Helper()
	var refused, passed, against, followed, closed int
	var odd []string
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			got := exchange(r.addr, c)
			arrived := r.arrived()
			checkAnswers(t, c, got)
			wrong := checkArrived(t, c, arrived)
			for _, a := range arrived {
				if err := violation(a, r.ours()); err != nil {
					wrong = true
					t.Errorf("arrived against policy: %v", err)
				}
			}
			if wrong {
				against++
			}
			switch {
			case got.closed:
				closed++
			case got.followed != nil:
				followed++
			}
			switch {
			case t.Failed():
			case c.Refused():
				refused++
			default:
				passed++
				if c.Why != "" {
					odd = append(odd, fmt.Sprintf("%s: %s", c.Name, c.Why))
				}
			}
		})
	}
	fmt.Printf("battery: %s%d requests, %d refused, %d passed as meant, %d reached the upstream ambiguous or against policy\n", kind, len(cases), refused, passed, against)
	fmt.Printf("battery: %safter %d of them a next request on the connection was answered, after %d the connection was closed\n", kind, followed, closed)
	for _, line := range odd {
		fmt.Printf("battery: let through: %s\n", line)
	}
}

// checkAnswers checks what the sender was told.
func checkAnswers(t *testing.T, c battery.Case, got reply) {
	t.Helper()
	if got.err != nil {
		t.Errorf("on the connection: %v", got.err)
	}
	if c.Closes && !got.closed {
		t.Error("the connection stays open")
	}
	for i, want := range c.Wants {
		if i >= len(got.answers) {
			if !want.ByServer && !want.Cut {
				t.Errorf("answer %d did not come", i+1)
			}
			continue
		}
		resp := got.answers[i]
		code := resp.Header.Get("Bearerd-Error")
		switch {
		case want.Line != "" && (resp.StatusCode != http.StatusOK || code != ""):
			t.Errorf("answered %d %s: %s", resp.StatusCode, code, got.bodies[i])
		case want.ByServer && (resp.StatusCode < 400 || code != ""):
			t.Errorf("answered %d %s, want net/http's own refusal: %s", resp.StatusCode, code, got.bodies[i])
		case len(want.Codes) > 0 && !slices.Contains(want.Codes, code):
			t.Errorf("answered %d %q, want %v", resp.StatusCode, code, want.Codes)
		case len(want.Codes) > 0 && resp.StatusCode != cmp.Or(want.Status, statuses[code]):
			t.Errorf("answered %d with %s, want %d", resp.StatusCode, code, cmp.Or(want.Status, statuses[code]))
		}
	}
}

// statuses are what each code of a refusal comes with.
var statuses = map[string]int{
	"request_ambiguous": 400, "request_too_long": 414, "method_refused": 405, "host_refused": 421, "browser_refused": 403, "no_upstream": 404, "denied": 403, "body_unreadable": 400,
}

// checkArrived checks what the upstream received, and reports whether it is more
// than it should be.
func checkArrived(t *testing.T, c battery.Case, arrived []harness.Arrival) (more bool) {
	t.Helper()
	var wanted []battery.Want
	for _, want := range c.Wants {
		if want.Line != "" {
			wanted = append(wanted, want)
		}
	}
	for i, a := range arrived {
		if i >= len(wanted) {
			t.Errorf("%.200q arrived", a.Line())
			more = true
		} else if err := mismatch(a, wanted[i]); err != nil {
			t.Error(err)
		}
	}
	if len(arrived) < len(wanted) {
		t.Errorf("%d requests arrived, want %d", len(arrived), len(wanted))
	}
	return more
}
