package test

import (
	"net/http"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// TestConsent_IsInTheLog with all that says who caused it.
func TestConsent_IsInTheLog(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g))
	resp, err := http.Get(b.URL + "/transfer/v0.10/operation/endpoint/" + g.MappedCollection() + "/ls")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 200 {
		t.Errorf("got %d, want 200", resp.StatusCode)
	}
	line := b.WaitLog(func(line map[string]any) bool { return line["message"] == "consent granted" })
	access := b.Requests(1)[0]
	for name, want := range map[string]any{
		"level": "info", "caller": "local", "upstream": "transfer", "rule": "read", "credential": "transfer",
		"collection": g.MappedCollection(), "request_id": access["request_id"],
	} {
		if line[name] != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
	if access["consent"] != g.MappedCollection() || access["attempts"] != 2.0 {
		t.Errorf("the access line has consent %v after %v attempts", access["consent"], access["attempts"])
	}
}

// TestToken_AsksForEachFlowsToo because each is a credential of its own.
func TestToken_AsksForEachFlowsToo(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	flow := g.FlowIDs()[0]
	config := strings.Replace(harness.Config(g), "  drain:", "    flows:    {preset: flows, flows: ["+flow+"]}\n  drain:", 1)
	out, errs, code := runToken(t, config, "flows")
	if code != 0 || !strings.Contains(out, "flows."+flow) || !strings.Contains(out, "flows.globus.org") {
		t.Errorf("exit %d, said %q and\n%s", code, errs, out)
	}
}
