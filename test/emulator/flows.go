package emulator

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const flowsServer = "flows.globus.org"

// The states of a run: one that began waits until it is resumed.
const (
	runActive    = "ACTIVE"
	runSucceeded = "SUCCEEDED"
)

// flowID is the id of the n-th flow.
func flowID(n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "bearerd flow %d", n))
	return formatUUID([16]byte(sum[:16]))
}

// flowScope is the scope that a flow has of its own.
func flowScope(id string) string {
	return urlScope + id + "/flow_" + strings.ReplaceAll(id, "-", "_") + "_user"
}

// A run is one time that a flow was started.
type run struct {
	id, flow, label, status string
	started                 time.Time
}

// runs are all that were started, oldest first.
type runs struct {
	mu   sync.Mutex // guards list
	list []run
}

func (r *runs) start(flow, label string) run {
	r.mu.Lock()
	defer r.mu.Unlock()
	started := run{randomUUID(), flow, label, runActive, time.Now()}
	r.list = append(r.list, started)
	return started
}

func (r *runs) get(id string) (run, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.index(id)
	if i < 0 {
		return run{}, false
	}
	return r.list[i], true
}

// resume ends a run that waits, and returns it as it then is.
func (r *runs) resume(id string) run {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.index(id)
	r.list[i].status = runSucceeded
	return r.list[i]
}

func (r *runs) index(id string) int {
	return slices.IndexFunc(r.list, func(one run) bool { return one.id == id })
}

func (r *runs) all() []run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// flowsRoutes are those of Flows: of the service's own scopes, and of one flow's.
func (e *Emulator) flowsRoutes() []route {
	return []route{
		{"GET", "/flows", e.withFlowsToken(e.listFlows)},
		{"GET", "/flows/{}", e.withFlowsToken(e.showFlow)},
		{"POST", "/flows/{}/run", e.withFlow(e.startRun)},
		{"POST", "/flows/{}/validate_run", e.withFlow(e.validateRun)},
		{"GET", "/runs", e.withFlowsToken(e.listRuns)},
		{"GET", "/runs/{}", e.withFlowsToken(e.showRun)},
		{"POST", "/runs/{}/resume", e.resumeRun},
	}
}

// flowsError is Flows's error shape.
func flowsError(status int, code, detail string) answer {
	return jsonAnswer(status, object{"error": object{"code": code, "detail": detail}, "debug_id": randomUUID()})
}

func refuseFlows(_ *call, status int, detail string) answer {
	return flowsError(status, strings.ToUpper(strings.ReplaceAll(http.StatusText(status), " ", "_")), detail)
}

// flowsRefusal returns the refusal of a request without a live token for the
// resource server, or with one that has none of the scopes; nil if there is
// nothing to refuse.
func (e *Emulator) flowsRefusal(c *call, resourceServer string, scopes ...string) *answer {
	tok, ok := e.tokens.lookup(c.bearer())
	if !ok || tok.resourceServer != resourceServer {
		ans := flowsError(http.StatusUnauthorized, "AUTHENTICATION_ERROR", "Expired or invalid Bearer token")
		return &ans
	}
	if !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(tok.scopes, s) }) {
		ans := flowsError(http.StatusForbidden, "MISSING_SCOPE", "Call needs scope "+strings.Join(scopes, " or "))
		return &ans
	}
	return nil
}

// withFlowsToken lets requests through that carry a token for Flows itself.
func (e *Emulator) withFlowsToken(handle func(*call) answer) func(*call) answer {
	var scopes []string
	for _, name := range []string{"all", "manage_flows", "view_flows", "run_status", "run_manage"} {
		scopes = append(scopes, urlScope+flowsID+"/"+name)
	}
	return func(c *call) answer {
		if refusal := e.flowsRefusal(c, flowsServer, scopes...); refusal != nil {
			return *refusal
		}
		return handle(c)
	}
}

// withFlow lets requests through that carry a token for the flow in the path.
func (e *Emulator) withFlow(handle func(*call) answer) func(*call) answer {
	return func(c *call) answer {
		id := c.vars[0]
		if !slices.Contains(e.FlowIDs(), id) {
			return noSuchFlow(id)
		}
		if refusal := e.flowsRefusal(c, id, flowScope(id)); refusal != nil {
			return *refusal
		}
		return handle(c)
	}
}

func noSuchFlow(id string) answer {
	return flowsError(http.StatusNotFound, "FLOW_NOT_FOUND", fmt.Sprintf("No Flow exists with id value %q", id))
}

func noSuchRun(id string) answer {
	return flowsError(http.StatusNotFound, "RUN_NOT_FOUND", fmt.Sprintf("No Run exists with id value %q", id))
}

func (e *Emulator) flowDocument(id string) object {
	return object{
		"id": id, "title": "Flow " + id[:8], "description": "Made up by bearerd's emulator",
		"definition":   object{"StartAt": "Wait", "States": object{"Wait": object{"Type": "Wait", "End": true}}},
		"input_schema": object{}, "flow_owner": "urn:globus:auth:identity:" + e.clientID,
		"user_role": "flow_owner", "globus_auth_scope": flowScope(id), "globus_auth_username": id + "@clients.auth.globus.org",
	}
}

func (e *Emulator) runDocument(r run) object {
	return object{
		"run_id": r.id, "flow_id": r.flow, "label": r.label, "status": r.status, "display_status": r.status,
		"flow_title": "Flow " + r.flow[:8], "run_owner": "urn:globus:auth:identity:" + e.clientID,
		"start_time": timestamp(r.started), "details": object{},
	}
}

func (e *Emulator) listFlows(*call) answer {
	list := []object{}
	for _, id := range e.FlowIDs() {
		list = append(list, e.flowDocument(id))
	}
	return jsonAnswer(http.StatusOK, object{"flows": list, "limit": 50, "has_next_page": false, "marker": nil})
}

func (e *Emulator) showFlow(c *call) answer {
	if !slices.Contains(e.FlowIDs(), c.vars[0]) {
		return noSuchFlow(c.vars[0])
	}
	return jsonAnswer(http.StatusOK, e.flowDocument(c.vars[0]))
}

func (e *Emulator) listRuns(*call) answer {
	list := []object{}
	for _, r := range e.runs.all() {
		list = append(list, e.runDocument(r))
	}
	slices.Reverse(list) // newest first
	return jsonAnswer(http.StatusOK, object{"runs": list, "limit": 50, "has_next_page": false, "marker": nil})
}

func (e *Emulator) showRun(c *call) answer {
	found, ok := e.runs.get(c.vars[0])
	if !ok {
		return noSuchRun(c.vars[0])
	}
	return jsonAnswer(http.StatusOK, e.runDocument(found))
}

// runRequest is what of the body of a run is looked at.
type runRequest struct {
	Body  json.RawMessage `json:"body"`
	Label string          `json:"label"`
}

// input reads the body of a run; its refusal is nil if there is nothing to refuse.
func (c *call) input() (doc runRequest, refusal *answer) {
	if err := json.Unmarshal(c.body, &doc); err != nil || len(doc.Body) == 0 {
		ans := flowsError(http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY", "body: field required")
		return runRequest{}, &ans
	}
	return doc, nil
}

func (e *Emulator) startRun(c *call) answer {
	doc, refusal := c.input()
	if refusal != nil {
		return *refusal
	}
	return jsonAnswer(http.StatusCreated, e.runDocument(e.runs.start(c.vars[0], doc.Label)))
}

func (e *Emulator) validateRun(c *call) answer {
	if _, refusal := c.input(); refusal != nil {
		return *refusal
	}
	return jsonAnswer(http.StatusOK, object{"code": "SUCCESS", "message": "validation successful"})
}

// resumeRun wants a token for the flow that the run is of, which its path does
// not name.
func (e *Emulator) resumeRun(c *call) answer {
	found, ok := e.runs.get(c.vars[0])
	if !ok {
		return noSuchRun(c.vars[0])
	}
	if refusal := e.flowsRefusal(c, found.flow, flowScope(found.flow)); refusal != nil {
		return *refusal
	}
	return jsonAnswer(http.StatusOK, e.runDocument(e.runs.resume(found.id)))
}
