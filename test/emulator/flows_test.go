package emulator_test

import (
	"strings"
	"testing"

	"bearerd/test/emulator"
)

const (
	flowsScope = "https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/"
	input      = `{"body":{},"label":"nightly"}`
)

// flowScope is one flow's own.
func flowScope(id string) string {
	return "https://auth.globus.org/scopes/" + id + "/flow_" + strings.ReplaceAll(id, "-", "_") + "_user"
}

// flowsCode is the error code of Flows.
func flowsCode(rep reply) string {
	inner, _ := rep.doc["error"].(map[string]any)
	code, _ := inner["code"].(string)
	return code
}

func TestFlows_EachPathWantsItsOwnToken(t *testing.T) {
	e := emulator.New(emulator.Config{})
	ids := e.FlowIDs()
	first, second := token(t, e, flowScope(ids[0])), token(t, e, flowScope(ids[1]))
	all, runOnly := token(t, e, flowsScope+"all"), token(t, e, flowsScope+"run")
	run := send(e.Flows(), request("POST", "/flows/"+ids[0]+"/run", first, input)).text("run_id")
	for _, tt := range []struct {
		name, method, target, tok, body string
		wantStatus                      int
		want                            string // an error's code
	}{
		{"list", "GET", "/flows", all, "", 200, ""},
		{"list without token", "GET", "/flows", "", "", 401, "AUTHENTICATION_ERROR"},
		{"list with a flow's token", "GET", "/flows", first, "", 401, "AUTHENTICATION_ERROR"},
		{"list without the scope", "GET", "/flows", runOnly, "", 403, "MISSING_SCOPE"},
		{"show", "GET", "/flows/" + ids[1], all, "", 200, ""},
		{"show none", "GET", "/flows/none", all, "", 404, "FLOW_NOT_FOUND"},
		{"run", "POST", "/flows/" + ids[1] + "/run", second, input, 201, ""},
		{"run with Flows's token", "POST", "/flows/" + ids[1] + "/run", all, input, 401, "AUTHENTICATION_ERROR"},
		{"run with another flow's token", "POST", "/flows/" + ids[1] + "/run", first, input, 401, "AUTHENTICATION_ERROR"},
		{"run without input", "POST", "/flows/" + ids[1] + "/run", second, "{}", 422, "UNPROCESSABLE_ENTITY"},
		{"validate", "POST", "/flows/" + ids[0] + "/validate_run", first, input, 200, ""},
		{"run none", "POST", "/flows/none/run", first, input, 404, "FLOW_NOT_FOUND"},
		{"resume with another flow's token", "POST", "/runs/" + run + "/resume", second, "", 401, "AUTHENTICATION_ERROR"},
		{"resume", "POST", "/runs/" + run + "/resume", first, "", 200, ""},
		{"resume none", "POST", "/runs/none/resume", first, "", 404, "RUN_NOT_FOUND"},
		{"run's state", "GET", "/runs/" + run, all, "", 200, ""},
		{"runs", "GET", "/runs", all, "", 200, ""},
		{"unknown path", "GET", "/nothing", all, "", 404, "NOT_FOUND"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := send(e.Flows(), request(tt.method, tt.target, tt.tok, tt.body))
			if rep.status != tt.wantStatus || flowsCode(rep) != tt.want {
				t.Errorf("got %d %s, want %d %s", rep.status, rep.body, tt.wantStatus, tt.want)
			}
			if _, ok := rep.doc["debug_id"].(string); tt.want != "" && !ok {
				t.Error("the error has no debug_id")
			}
		})
	}
	if got := send(e.Flows(), request("GET", "/runs", all, "")); len(got.list("runs")) != 2 {
		t.Errorf("%d runs, want 2", len(got.list("runs")))
	}
	if got := send(e.Flows(), request("GET", "/runs/"+run, all, "")).text("status"); got != "SUCCEEDED" {
		t.Errorf("the resumed run is %s", got)
	}
	if n := e.Count("flows", "/flows/"+ids[1]+"/run"); n != 4 {
		t.Errorf("Count = %d, want 4", n)
	}
}
