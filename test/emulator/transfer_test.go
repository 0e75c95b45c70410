package emulator_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"bearerd/test/emulator"
)

func TestTransfer_RefusesWithoutALiveTokenOfItsOwn(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok := token(t, e, emulator.TransferScope)
	for _, tt := range []struct {
		name, authorization string
		wantStatus          int
		wantMessage         string
	}{
		{"none", "", 400, "No credentials supplied"},
		{"basic", "Basic eDp5", 400, "No credentials supplied"},
		{"made up", "Bearer nonsense", 401, "Token is not active"},
		{"Auth's", "Bearer " + token(t, e, "openid"), 401, "Token is not active"},
		{"live", "Bearer " + tok, 200, ""},
		{"live, lower case", "bearer " + tok, 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest("GET", "/v0.10/task_list", nil)
			if tt.authorization != "" {
				req.Header.Set("Authorization", tt.authorization)
			}
			rep := send(e, req)
			if rep.status != tt.wantStatus || rep.text("message") != tt.wantMessage {
				t.Errorf("got %d %q, want %d %q", rep.status, rep.text("message"), tt.wantStatus, tt.wantMessage)
			}
			if rep.code() != rep.header.Get("X-Transfer-API-Error") || tt.wantStatus != 200 && rep.code() != "ClientError.AuthenticationFailed" {
				t.Errorf("code %q, header %q", rep.code(), rep.header.Get("X-Transfer-API-Error"))
			}
			for name, want := range map[string]string{
				"X-Transfer-API-Version": "0.10", "Access-Control-Allow-Origin": "*",
				"Cache-Control": "no-cache", "Content-Type": "application/json",
			} {
				if got := rep.header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestEndpointSearch_PagesOverAll(t *testing.T) {
	e := emulator.New(emulator.Config{Endpoints: 250})
	tok := token(t, e, emulator.TransferScope)
	var got []string
	for more := true; more; {
		rep := send(e, request("GET", fmt.Sprintf("/v0.10/endpoint_search?filter_scope=my-endpoints&offset=%d", len(got)), tok, ""))
		if rep.status != 200 || rep.doc["limit"] != 100.0 {
			t.Fatalf("got %d %s, limit %v", rep.status, rep.code(), rep.doc["limit"])
		}
		for _, item := range rep.list("DATA") {
			got = append(got, item.(map[string]any)["id"].(string))
		}
		more = rep.doc["has_next_page"].(bool)
	}
	if strings.Join(got, " ") != strings.Join(e.EndpointIDs(), " ") || len(got) != 250 {
		t.Errorf("got %d collections, want the 250 there are, in order", len(got))
	}
}

func TestTransfer_AnswersByPath(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok, guest := token(t, e, emulator.TransferScope), e.EndpointIDs()[0]
	ls := func(path string) string {
		return "/v0.10/operation/endpoint/" + guest + "/ls?path=" + url.QueryEscape(path)
	}
	for _, tt := range []struct {
		name, method, target string
		wantStatus           int
		want                 string // in the body; an error's code
	}{
		{"search without filter", "GET", "/v0.10/endpoint_search", 400, "ClientError.BadRequest"},
		{"search in an unknown scope", "GET", "/v0.10/endpoint_search?filter_scope=yours", 400, "ClientError.BadRequest"},
		{"search by name", "GET", "/v0.10/endpoint_search?filter_fulltext=s%C3%BCd", 200, "Mikroskopie Süd 2"},
		{"search for nothing", "GET", "/v0.10/endpoint_search?filter_fulltext=zzz", 200, `"DATA":[]`},
		{"search far beyond", "GET", "/v0.10/endpoint_search?filter_scope=all&offset=9223372036854775807", 200, `"has_next_page":false`},
		{"search with a bad limit", "GET", "/v0.10/endpoint_search?filter_scope=all&limit=-1", 400, "ClientError.BadRequest"},
		{"endpoint", "GET", "/v0.10/endpoint/" + guest, 200, `"entity_type":"GCSv5_guest_collection"`},
		{"endpoint, segment encoded", "GET", "/v0.10/endpoint/%" + fmt.Sprintf("%x", guest[0]) + guest[1:], 200, guest},
		{"unknown endpoint", "GET", "/v0.10/endpoint/a%20b", 404, "EndpointNotFound"},
		{"encoded slash stays in its segment", "GET", "/v0.10/endpoint%2F" + guest, 404, "ClientError.NotFound"},
		{"ls home", "GET", ls(""), 200, "größe.csv"},
		{"ls with a space", "GET", ls("/~/run 1/"), 200, "frame-0001.h5"},
		{"ls root", "GET", ls("/"), 200, `"absolute_path":"/"`},
		{"ls nowhere", "GET", ls("/nowhere"), 404, "ClientError.NotFound"},
		{"unknown task", "GET", "/v0.10/task/none", 404, "ClientError.NotFound"},
		{"unknown path", "GET", "/v0.10/nothing", 404, "ClientError.NotFound"},
		{"double slash is not cleaned", "GET", "/v0.10//task_list", 404, "ClientError.NotFound"},
		{"wrong method", "DELETE", "/v0.10/task_list", 405, "ClientError.MethodNotAllowed"},
		{"Auth's path on Transfer", "GET", "/v2/tunnels", 404, "ClientError.NotFound"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := send(e, request(tt.method, tt.target, tok, ""))
			if rep.status != tt.wantStatus || !strings.Contains(rep.body, tt.want) {
				t.Errorf("got %d %s, want %d with %s", rep.status, rep.code(), tt.wantStatus, tt.want)
			}
		})
	}
}

func TestHead_IsGetWithoutABody(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok := token(t, e, emulator.TransferScope)
	get := send(e, request("GET", "/v0.10/task_list", tok, ""))
	head := send(e, request("HEAD", "/v0.10/task_list", tok, ""))
	if head.status != 200 || head.body != "" || head.header.Get("Content-Length") != get.header.Get("Content-Length") {
		t.Errorf("got %d, %d bytes, Content-Length %s", head.status, len(head.body), head.header.Get("Content-Length"))
	}
}

func TestMappedCollection_WantsConsentOnce(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok, mapped := token(t, e, emulator.TransferScope), e.MappedCollection()
	ls := func() reply { return send(e, request("GET", "/v0.10/operation/endpoint/"+mapped+"/ls", tok, "")) }
	refused := ls()
	wanted := emulator.TransferScope + "[*https://auth.globus.org/scopes/" + mapped + "/data_access]"
	if refused.status != 403 || refused.code() != "ConsentRequired" || len(refused.list("required_scopes")) != 1 ||
		refused.list("required_scopes")[0] != wanted || refused.text("resource") != "/operation/endpoint/"+mapped+"/ls" {
		t.Fatalf("got %d %s on %s, required_scopes %v", refused.status, refused.code(), refused.text("resource"), refused.list("required_scopes"))
	}
	nested := "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer[" + wanted + "]"
	token(t, e, nested) // consent to Timers is none to the client itself
	if rep := ls(); rep.status != 403 || !e.Consented(mapped, "524230d7-ea86-4a52-8312-86065a9e0417") || e.Consented(mapped, "transfer.api.globus.org") {
		t.Errorf("after consent to Timers: got %d, want 403", rep.status)
	}
	token(t, e, wanted) // the new token is thrown away: the grant is the consent
	if rep := ls(); rep.status != 200 || rep.text("DATA_TYPE") != "file_list" {
		t.Errorf("after consent: got %d %s, want 200", rep.status, rep.code())
	}
}

func TestMappedCollections_AreConsentedToOneByOne(t *testing.T) {
	e := emulator.New(emulator.Config{Endpoints: 4, Mapped: 2})
	tok, ids := token(t, e, emulator.TransferScope), e.EndpointIDs()
	access := func(id string) string { return "*https://auth.globus.org/scopes/" + id + "/data_access" }
	id := send(e, request("GET", "/v0.10/submission_id", tok, "")).text("value")
	submit := func(from, to string) reply {
		return send(e, request("POST", "/v0.10/transfer", tok, submission(id, from, to, "{}")))
	}
	if rep := submit(ids[2], ids[3]); rep.status != 403 || rep.list("required_scopes")[0] != emulator.TransferScope+"["+access(ids[2])+" "+access(ids[3])+"]" {
		t.Errorf("both: got %d, required_scopes %v", rep.status, rep.list("required_scopes"))
	}
	token(t, e, emulator.TransferScope+"["+access(ids[3])+"]")
	if rep := submit(ids[2], ids[3]); rep.status != 403 || rep.list("required_scopes")[0] != emulator.TransferScope+"["+access(ids[2])+"]" {
		t.Errorf("one: got %d, required_scopes %v", rep.status, rep.list("required_scopes"))
	}
	if rep := submit(ids[0], ids[3]); rep.status != 202 {
		t.Errorf("the other: got %d, want 202", rep.status)
	}
}

// submission is a document for POST /transfer.
func submission(id, source, destination, items string) string {
	return fmt.Sprintf(`{"DATA_TYPE":"transfer","submission_id":%q,"source_endpoint":%q,"destination_endpoint":%q,"DATA":[%s]}`,
		id, source, destination, items)
}

func TestSubmit_ChecksTheDocument(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok, ids := token(t, e, emulator.TransferScope), e.EndpointIDs()
	id := send(e, request("GET", "/v0.10/submission_id", tok, "")).text("value")
	for _, tt := range []struct {
		name, path, body string
		wantStatus       int
		wantCode         string
	}{
		{"no JSON", "transfer", "{", 400, "ClientError.BadRequest"},
		{"a delete as a transfer", "transfer", `{"DATA_TYPE":"delete"}`, 400, "ClientError.BadRequest"},
		{"no items", "transfer", submission(id, ids[0], ids[1], ""), 400, "ClientError.BadRequest.NoTransferItems"},
		{"unknown endpoint", "transfer", submission(id, ids[0], "elsewhere", "{}"), 404, "EndpointNotFound"},
		{"mapped collection", "transfer", submission(id, ids[0], ids[2], "{}"), 403, "ConsentRequired"},
		{"made-up submission id", "transfer", submission("mine", ids[0], ids[1], "{}"), 400, "ClientError.BadRequest"},
		{"good", "transfer", submission(id, ids[0], ids[1], "{}"), 202, "Accepted"},
		{"again", "transfer", submission(id, ids[0], ids[1], "{}"), 200, "Duplicate"},
		{"delete without endpoint", "delete", `{"DATA_TYPE":"delete","DATA":[{}]}`, 404, "EndpointNotFound"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := send(e, request("POST", "/v0.10/"+tt.path, tok, tt.body))
			if rep.status != tt.wantStatus || rep.code() != tt.wantCode {
				t.Errorf("got %d %s, want %d %s", rep.status, rep.code(), tt.wantStatus, tt.wantCode)
			}
		})
	}
}

func TestSubmit_RepeatedGivesTheSameTask(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok, ids := token(t, e, emulator.TransferScope), e.EndpointIDs()
	id := send(e, request("GET", "/v0.10/submission_id", tok, "")).text("value")
	body := submission(id, ids[0], ids[1], "{}")
	first := send(e, request("POST", "/v0.10/transfer", tok, body))
	second := send(e, request("POST", "/v0.10/transfer", tok, body))
	if first.text("task_id") == "" || first.text("task_id") != second.text("task_id") {
		t.Errorf("tasks %q and %q, want one", first.text("task_id"), second.text("task_id"))
	}
	if got := send(e, request("GET", "/v0.10/task_list", tok, "")).doc["total"]; got != 1.0 {
		t.Errorf("%v tasks, want 1", got)
	}
}

func TestTask_FinishesByPolling(t *testing.T) {
	for _, tt := range []struct {
		name  string
		polls int
		want  string
	}{
		{"by default after one", 0, "ACTIVE SUCCEEDED SUCCEEDED"},
		{"after two", 2, "ACTIVE ACTIVE SUCCEEDED"},
		{"at once", -1, "SUCCEEDED SUCCEEDED SUCCEEDED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := emulator.New(emulator.Config{TaskPolls: tt.polls})
			tok := token(t, e, emulator.TransferScope)
			path := "/v0.10/task/" + start(t, e, tok)
			var got []string
			for range 3 {
				got = append(got, send(e, request("GET", path, tok, "")).text("status"))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
			if code := send(e, request("POST", path+"/cancel", tok, "")).code(); code != "TaskComplete" {
				t.Errorf("canceling a finished task: %s, want TaskComplete", code)
			}
			if events := send(e, request("GET", path+"/event_list", tok, "")); events.doc["total"] != 2.0 {
				t.Errorf("%v events, want 2", events.doc["total"])
			}
		})
	}
}

func TestTask_CanBeCanceled(t *testing.T) {
	e := emulator.New(emulator.Config{TaskPolls: 100})
	tok := token(t, e, emulator.TransferScope)
	path := "/v0.10/task/" + start(t, e, tok)
	if code := send(e, request("POST", path+"/cancel", tok, "")).code(); code != "Canceled" {
		t.Errorf("got %s, want Canceled", code)
	}
	if status := send(e, request("GET", path, tok, "")).text("status"); status != "FAILED" {
		t.Errorf("got %s, want FAILED", status)
	}
}

func TestTaskList_IsNewestFirst(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok := token(t, e, emulator.TransferScope)
	var want []string
	for range 12 {
		want = append([]string{start(t, e, tok)}, want...)
	}
	var got []string
	for _, query := range []string{"", "?offset=10&limit=1000", "?offset=12", "?limit=0"} {
		rep := send(e, request("GET", "/v0.10/task_list"+query, tok, ""))
		if rep.doc["total"] != 12.0 || rep.list("DATA") == nil {
			t.Errorf("%q: total %v, want 12 and a list", query, rep.doc["total"])
		}
		for _, item := range rep.list("DATA") {
			got = append(got, item.(map[string]any)["task_id"].(string))
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %d tasks in another order than submitted, want %d", len(got), len(want))
	}
}

// start deletes a file and returns the task's id.
func start(t *testing.T, e *emulator.Emulator, tok string) string {
	t.Helper()
	id := send(e, request("GET", "/v0.10/submission_id", tok, "")).text("value")
	rep := send(e, request("POST", "/v0.10/delete", tok, fmt.Sprintf(
		`{"DATA_TYPE":"delete","submission_id":%q,"endpoint":%q,"DATA":[{"DATA_TYPE":"delete_item","path":"/a"}]}`, id, e.EndpointIDs()[0])))
	if rep.status != 202 {
		t.Fatalf("delete: got %d %s", rep.status, rep.code())
	}
	return rep.text("task_id")
}
