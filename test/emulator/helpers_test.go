package emulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"bearerd/test/emulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reply is an answer taken apart; doc is nil when the body is no JSON object.
type reply struct {
	status int
	header http.Header
	doc    map[string]any
	body   string // may hold a token: never print it
}

// send gives the request to h without a network.
func send(h http.Handler, req *http.Request) reply {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	rep := reply{status: w.Code, header: w.Header(), body: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &rep.doc)
	return rep
}

// code is the error code of either service, or "".
func (r reply) code() string {
	if list, ok := r.doc["errors"].([]any); ok {
		return list[0].(map[string]any)["code"].(string)
	}
	for _, key := range []string{"code", "error"} {
		if s, ok := r.doc[key].(string); ok {
			return s
		}
	}
	return ""
}

func (r reply) text(key string) string { s, _ := r.doc[key].(string); return s }

func (r reply) list(key string) []any { l, _ := r.doc[key].([]any); return l }

// tokenRequest asks for scope as Globus's own clients do.
func tokenRequest(scope string) *http.Request {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
	req := httptest.NewRequest("POST", "/v2/oauth2/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(emulator.DemoClientID, emulator.DemoClientSecret)
	return req
}

// token returns a fresh token for scope.
func token(t *testing.T, e *emulator.Emulator, scope string) string {
	t.Helper()
	rep := send(e, tokenRequest(scope))
	if rep.status != 200 {
		t.Fatalf("token request for %q: got %d %s", scope, rep.status, rep.code())
	}
	return rep.text("access_token")
}

// request is one that carries a bearer token, if tok is not "".
func request(method, target, tok, body string) *http.Request {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if tok != "" {
		req.Header.Set("Authorization", "Bearer "+tok)
	}
	return req
}
