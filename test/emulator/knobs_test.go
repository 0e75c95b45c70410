package emulator_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

func TestRevoke_OneResourceServerOnly(t *testing.T) {
	e := emulator.New(emulator.Config{})
	transfer, auth := token(t, e, emulator.TransferScope), token(t, e, "openid")
	if got := e.Revoke("transfer.api.globus.org"); got != 1 {
		t.Errorf("Revoke = %d, want 1", got)
	}
	if got := send(e, request("GET", "/v0.10/task_list", transfer, "")).status; got != 401 {
		t.Errorf("revoked token: got %d, want 401", got)
	}
	if got := send(e, request("GET", "/v2/oauth2/userinfo", auth, "")).status; got != 200 {
		t.Errorf("other token: got %d, want 200", got)
	}
}

func TestSetTokenDelay_WaitsOrGivesUpWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := emulator.New(emulator.Config{})
		e.SetTokenDelay(time.Minute)
		start := time.Now()
		if rep := send(e, tokenRequest("openid")); rep.status != 200 || time.Since(start) != time.Minute {
			t.Errorf("got %d after %v, want 200 after 1m", rep.status, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		rep := send(e, tokenRequest("openid").WithContext(ctx))
		if rep.status != 499 || time.Since(start) != time.Second {
			t.Errorf("got %d after %v, want 499 after 1s", rep.status, time.Since(start))
		}
		if got := e.Revoke(""); got != 1 {
			t.Errorf("%d tokens were issued, want 1", got)
		}
	})
}

func TestFail_AnswersInOrderThenTellsTheTruth(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok := token(t, e, emulator.TransferScope)
	e.FailTokens(2, emulator.Unavailable())
	e.FailTokens(1, emulator.RateLimited("7"))
	e.FailRequests(1, emulator.HTML())
	for _, want := range []int{503, 503, 429, 200} {
		if got := send(e, tokenRequest("openid")).status; got != want {
			t.Errorf("token request: got %d, want %d", got, want)
		}
	}
	for _, want := range []int{502, 200} {
		if got := send(e, request("GET", "/v0.10/task_list", tok, "")).status; got != want {
			t.Errorf("request: got %d, want %d", got, want)
		}
	}
	e.FailTokens(100, emulator.RateLimited("never"))
	e.FailTokens(0, emulator.Failure{})
	if got := send(e, tokenRequest("openid")).status; got != 200 {
		t.Errorf("with an emptied queue: got %d, want 200", got)
	}
}

func TestFail_DemandsHaveGlobussShape(t *testing.T) {
	e := emulator.New(emulator.Config{})
	e.FailRequests(1, emulator.ConsentRequired("a", "b"))
	e.FailRequests(1, emulator.SessionRequired("someone@example.org"))
	e.FailRequests(1, emulator.InsufficientScope("a"))
	next := func() reply { return send(e, request("GET", "/v0.10/task_list", "", "")) }
	if rep := next(); rep.status != 403 || rep.code() != "ConsentRequired" || len(rep.list("required_scopes")) != 2 ||
		len(rep.doc["authorization_parameters"].(map[string]any)["required_scopes"].([]any)) != 2 {
		t.Errorf("consent: got %d %s", rep.status, rep.body)
	}
	if rep := next(); rep.status != 403 || !strings.Contains(rep.body, `"session_required_identities":["someone@example.org"]`) {
		t.Errorf("session: got %d %s", rep.status, rep.body)
	}
	if rep := next(); rep.status != 401 || !strings.Contains(rep.header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
		t.Errorf("scope: got %d, WWW-Authenticate %s", rep.status, rep.header.Get("WWW-Authenticate"))
	}
}

func TestFail_StatusZeroCutsTheConnection(t *testing.T) {
	e := emulator.New(emulator.Config{})
	server := httptest.NewServer(e)
	defer server.Close()
	e.FailRequests(1, emulator.Aborted())
	if resp, err := http.Post(server.URL+"/jwk.json", "", nil); err == nil {
		resp.Body.Close()
		t.Errorf("got %d, want no answer", resp.StatusCode)
	}
	if got := e.Records()[0].Status; got != 0 {
		t.Errorf("recorded status %d, want 0", got)
	}
}

func TestMalformed_IsWrongInOneWay(t *testing.T) {
	field := func(name string, want any) func(map[string]any) bool {
		return func(doc map[string]any) bool { return doc[name] == want }
	}
	without := func(name string) func(map[string]any) bool {
		return func(doc map[string]any) bool { _, ok := doc[name]; return !ok && len(doc) == 5 }
	}
	notAnObject := func(doc map[string]any) bool { return doc == nil }
	for which, holds := range map[string]func(map[string]any) bool{
		"not json": notAnObject, "html": notAnObject, "empty": notAnObject, "truncated": notAnObject, "array": notAnObject,
		"no access_token": without("access_token"), "no expires_in": without("expires_in"), "no scope": without("scope"),
		"no token_type": without("token_type"), "no resource_server": without("resource_server"), "no other_tokens": without("other_tokens"),
		"empty access_token": field("access_token", ""), "token_type mac": field("token_type", "mac"),
		"token_type lower case": field("token_type", "bearer"), "expires_in zero": field("expires_in", 0.0),
		"expires_in negative": field("expires_in", -1.0), "expires_in string": field("expires_in", "172800"),
		"expires_in huge": field("expires_in", 1e18), "other resource server": field("resource_server", "groups.api.globus.org"),
		"token with newline": func(doc map[string]any) bool { return strings.Contains(doc["access_token"].(string), "\n") },
		"token with space":   func(doc map[string]any) bool { return strings.Contains(doc["access_token"].(string), " ") },
	} {
		t.Run(which, func(t *testing.T) {
			e := emulator.New(emulator.Config{})
			e.FailTokens(1, emulator.Malformed(which))
			rep := send(e, tokenRequest(emulator.TransferScope))
			if rep.status != 200 || !holds(rep.doc) {
				t.Errorf("got %d, and not what was asked for", rep.status)
			}
		})
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown name did not panic")
		}
	}()
	emulator.Malformed("no such thing")
}

func TestRecords_AreRawAndWithoutCredentials(t *testing.T) {
	e := emulator.New(emulator.Config{})
	server := httptest.NewServer(e)
	defer server.Close()
	tok := token(t, e, emulator.TransferScope)
	e.Reset()

	const target = "/v0.10/endpoint/a%20b/%C3%BC%252Fx%3Fy%3D1//z?path=%2F~%2Fa+b%2F%C3%BC%2B%25&&x"
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PATCH "+target+" HTTP/1.1\r\nHost: transfer.example\r\nX-Two: a\r\nX-Two: b\r\n"+
		"Authorization: Bearer "+tok+"\r\nAuthorization: Basic eDp5\r\nContent-Length: 3\r\nConnection: close\r\n\r\n\x00\xff\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}

	records := e.Records()
	if len(records) != 1 {
		t.Fatalf("%d records, want 1", len(records))
	}
	r := records[0]
	if r.Service != "transfer" || r.Method != "PATCH" || r.Target != target || r.Host != "transfer.example" || r.Status != 404 {
		t.Errorf("got %s %s %s on %s: %d", r.Service, r.Method, r.Target, r.Host, r.Status)
	}
	if r.Authorization != "Bearer "+emulator.Fingerprint(tok) || r.Authorizations != 2 {
		t.Errorf("Authorization %d times, the first not known by its fingerprint", r.Authorizations)
	}
	if got := strings.Join(r.Header.Values("X-Two"), ","); got != "a,b" || string(r.Body) != "\x00\xff\n" {
		t.Errorf("X-Two %q, body %q", got, r.Body)
	}
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), tok) {
		t.Errorf("the record holds the token, or %v", err)
	}
	if got := e.Count("transfer", "/v0.10/endpoint/a%20b/%C3%BC%252Fx%3Fy%3D1//z"); got != 1 {
		t.Errorf("Count = %d, want 1", got)
	}
}

func TestRecords_DescribeAuthorizationWithoutGivingItAway(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"none", "", ""},
		{"bearer in any case", "bEARER abc", "Bearer sha256:ba7816bf"},
		{"basic", "Basic eDp5", "Basic"},
		{"a bare token", "AgEMUabc", "other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := emulator.New(emulator.Config{})
			req := httptest.NewRequest("GET", "/", nil)
			if tt.value != "" {
				req.Header.Set("Authorization", tt.value)
			}
			send(e, req)
			if got := e.Records()[0].Authorization; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRecords_KeepTheNewestAndCountAll(t *testing.T) {
	e := emulator.New(emulator.Config{})
	var mu sync.Mutex
	told := 0
	e.OnRequest(func(emulator.Record) { mu.Lock(); told++; mu.Unlock() })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2600 {
				send(e.Auth(), httptest.NewRequest("GET", "/nothing?x", nil))
			}
		})
	}
	wg.Wait()
	if records, count := len(e.Records()), e.Count("auth", "/nothing"); records != 10_000 || count != 10_400 || told != 10_400 {
		t.Errorf("%d records, count %d, told %d; want 10000, 10400, 10400", records, count, told)
	}
	e.OnRequest(nil)
	e.Reset()
	send(e.Transfer(), httptest.NewRequest("GET", "/nothing", nil))
	if auth, transfer := e.Count("auth", "/nothing"), e.Count("transfer", "/nothing"); auth != 0 || transfer != 1 || told != 10_400 {
		t.Errorf("after Reset: auth %d, transfer %d, told %d", auth, transfer, told)
	}
}

func TestRecords_DoNotHoardBodies(t *testing.T) {
	e := emulator.New(emulator.Config{})
	body := strings.Repeat("x", 2<<20)
	for range 70 {
		send(e, httptest.NewRequest("POST", "/v0.10/transfer", strings.NewReader(body)))
	}
	records := e.Records()
	if len(records) != 64 || len(records[0].Body) != 1<<20 || records[0].Status != 413 {
		t.Errorf("%d records of %d bytes, status %d; want 64 of 1 MiB, 413", len(records), len(records[0].Body), records[0].Status)
	}
}

func TestServeHTTP_TakesAClientsRequestWithoutAWire(t *testing.T) {
	e := emulator.New(emulator.Config{})
	req, err := http.NewRequest("GET", "https://transfer.api.globus.org/v0.10/task_list?limit=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	send(e, req)
	if r := e.Records()[0]; r.Target != "/v0.10/task_list?limit=1" || r.Host != "transfer.api.globus.org" {
		t.Errorf("got target %q, host %q", r.Target, r.Host)
	}
}
