package battery_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"bearerd/proxy/daemon"
	"bearerd/test/battery"
)

// TestExplain_DecidesAsTheProxyDoes over the first request of each case: explain
// names the code that the proxy answers with, or none where it forwards.
func TestExplain_DecidesAsTheProxyDoes(t *testing.T) {
	same := explainAll(t, start(t), "", battery.Cases())
	r := startWith(t, battery.ThroughConfig)
	same += explainAll(t, r, "through a proxy, ", battery.ThroughCases(r.upstream.Addr))
	if same < 1200 {
		t.Errorf("only %d were compared", same)
	}
}

// explainAll compares explain with the proxy over cases, and returns how many it could.
func explainAll(t *testing.T, r *rig, kind string, cases []battery.Case) (same int) {
	t.Helper()
	explainer, err := daemon.NewExplainer(filepath.Join(r.Dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var differ, byServer int
	for _, c := range cases {
		got := exchange(r.addr, c)
		r.arrived()
		if len(got.answers) == 0 || c.Wants[0].Cut || c.Half { // what a connection did says nothing of a decision
			continue
		}
		code := got.answers[0].Header.Get("Bearerd-Error")
		explained, err := explainer.Explain(0, strings.NewReader(c.Raw), "")
		if refused := code == "" && got.answers[0].StatusCode >= 400; refused || errors.Is(err, daemon.ErrExplain) {
			byServer++
			if !refused {
				t.Errorf("%s: explain says that net/http refuses it, and the proxy answered %d %s", c.Name, got.answers[0].StatusCode, code)
			}
			continue
		}
		said := ""
		if explained.Refusal != nil {
			said = explained.Refusal.Code
		}
		if said != code || (code == "") != (explained.Allowed || explained.Answered) {
			differ++
			t.Errorf("%s: explain says %q, the proxy %q\n%s", c.Name, said, code, explained.Text())
			continue
		}
		same++
	}
	fmt.Printf("explain: %s%d requests of the battery decided as the proxy does, %d otherwise; %d net/http refuses\n", kind, same, differ, byServer)
	return same
}
