package emulator_test

import (
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

func TestDemoClientSecret_LooksLikeOneOfGlobus(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(emulator.DemoClientSecret)
	if err != nil || len(raw) != 32 {
		t.Errorf("secret decodes to %d bytes, %v, want 32", len(raw), err)
	}
	for _, c := range "+/=" {
		if !strings.ContainsRune(emulator.DemoClientSecret, c) {
			t.Errorf("secret has no %q, so it hides mistakes in escaping", c)
		}
	}
}

func TestGrant_HasGlobusShape(t *testing.T) {
	rep := send(emulator.New(emulator.Config{}), tokenRequest(emulator.TransferScope))
	if rep.status != 200 || rep.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d, Cache-Control %q", rep.status, rep.header.Get("Cache-Control"))
	}
	for key, want := range map[string]any{
		"scope": emulator.TransferScope, "expires_in": 172800.0, "token_type": "Bearer",
		"resource_server": "transfer.api.globus.org",
	} {
		if got := rep.doc[key]; got != want {
			t.Errorf("%s = %v, want %v", key, got, want)
		}
	}
	if !regexp.MustCompile(`^AgEMU[0-9A-Za-z]{48}$`).MatchString(rep.text("access_token")) {
		t.Error("access_token has the wrong form")
	}
	if others, ok := rep.doc["other_tokens"].([]any); !ok || len(others) != 0 {
		t.Error("other_tokens is no empty list")
	}
	for _, key := range []string{"id_token", "refresh_token"} {
		if _, ok := rep.doc[key]; ok {
			t.Errorf("%s is there, want none", key)
		}
	}
}

func TestGrant_OneTokenPerResourceServer(t *testing.T) {
	e := emulator.New(emulator.Config{})
	mapped := e.MappedCollection()
	rep := send(e, tokenRequest("openid urn:globus:auth:scope:groups.api.globus.org:all email "+
		emulator.TransferScope+" "+emulator.TransferScope+"[*https://auth.globus.org/scopes/"+mapped+"/data_access] "+
		"https://auth.globus.org/scopes/"+mapped+"/https"))
	got := []string{rep.text("resource_server") + ": " + rep.text("scope")}
	for _, other := range rep.list("other_tokens") {
		doc := other.(map[string]any)
		got = append(got, doc["resource_server"].(string)+": "+doc["scope"].(string))
		if _, nested := doc["other_tokens"]; nested {
			t.Error("a token of other_tokens has other_tokens")
		}
	}
	want := []string{
		"auth.globus.org: openid email",
		"groups.api.globus.org: urn:globus:auth:scope:groups.api.globus.org:all",
		"transfer.api.globus.org: " + emulator.TransferScope,
		mapped + ": https://auth.globus.org/scopes/" + mapped + "/https",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	parts := strings.Split(rep.text("id_token"), ".")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "eyJ") {
		t.Errorf("id_token has %d parts, want 3 that begin with eyJ", len(parts))
	}
}

func TestGrant_KnowsTheScopesOfGlobus(t *testing.T) {
	e := emulator.New(emulator.Config{})
	const flow = "1a2b3c4d-0000-4000-8000-00000000000f"
	url := "https://auth.globus.org/scopes/"
	dataAccess := func(id string) string { return url + id + "/data_access" }
	for _, tt := range []struct{ name, scope, want string }{ // want is a resource server, or an error code
		{"flows", url + "eec9b274-0c81-4334-bdc2-54e90e689b9a/manage_flows", "flows.globus.org"},
		{"compute", url + "facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all", "funcx_service"},
		{"one flow", url + flow + "/flow_" + strings.ReplaceAll(flow, "-", "_") + "_user", flow},
		{"one flow under another's id", url + e.MappedCollection() + "/flow_" + strings.ReplaceAll(flow, "-", "_") + "_user", "UNKNOWN_SCOPE_ERROR"},
		{"an endpoint's manager", "urn:globus:auth:scope:" + flow + ":manage_collections", flow},
		{"timers with a nested dependency", url + "524230d7-ea86-4a52-8312-86065a9e0417/timer[" + emulator.TransferScope + "[*" + dataAccess(e.MappedCollection()) + "]]", "524230d7-ea86-4a52-8312-86065a9e0417"},
		{"search", "urn:globus:auth:scope:search.api.globus.org:search", "search.api.globus.org"},
		{"a made-up scope", "urn:globus:auth:scope:flows.globus.org:manage_flows", "UNKNOWN_SCOPE_ERROR"},
		{"data_access of a guest collection", emulator.TransferScope + "[*" + dataAccess(e.EndpointIDs()[0]) + "]", "UNKNOWN_SCOPE_ERROR"},
		{"a good scope beside a bad one", emulator.TransferScope + " nonsense", "UNKNOWN_SCOPE_ERROR"},
		{"no scope", "", "invalid_scope"},
		{"only spaces", "  ", "invalid_scope"},
		{"an open bracket", "openid[email", "invalid_scope"},
		{"a stray bracket", "openid]", "invalid_scope"},
		{"an optional root scope", "*openid", "invalid_scope"},
		{"bracket after bracket", "openid[email][email]", "invalid_scope"},
		{"very deep brackets", strings.Repeat("openid[", 1000), "invalid_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := send(e, tokenRequest(tt.scope))
			got := rep.text("resource_server")
			if rep.status != 200 {
				got = rep.code()
			}
			if got != tt.want {
				t.Errorf("got %d %q, want %q", rep.status, got, tt.want)
			}
		})
	}
}

func TestGrant_RefusesAsGlobusDoes(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	e := emulator.New(emulator.Config{})
	for _, tt := range []struct {
		name, method, id, secret, contentType, body string
		wantStatus                                  int
		wantCode                                    string
	}{
		{"wrong secret", "POST", emulator.DemoClientID, "guess", form, "grant_type=client_credentials&scope=openid", 401, "UNAUTHORIZED"},
		{"escaped secret", "POST", emulator.DemoClientID, url.QueryEscape(emulator.DemoClientSecret), form, "grant_type=client_credentials&scope=openid", 401, "UNAUTHORIZED"},
		{"wrong id", "POST", "someone", emulator.DemoClientSecret, form, "grant_type=client_credentials&scope=openid", 401, "UNAUTHORIZED"},
		{"no form", "POST", emulator.DemoClientID, emulator.DemoClientSecret, "application/json", "{}", 400, "invalid_request"},
		{"scope twice", "POST", emulator.DemoClientID, emulator.DemoClientSecret, form, "grant_type=client_credentials&scope=openid&scope=email", 400, "invalid_request"},
		{"other grant", "POST", emulator.DemoClientID, emulator.DemoClientSecret, form, "grant_type=password&scope=openid", 400, "unsupported_grant_type"},
		{"no scope", "POST", emulator.DemoClientID, emulator.DemoClientSecret, form, "grant_type=client_credentials", 400, "invalid_scope"},
		{"GET", "GET", emulator.DemoClientID, emulator.DemoClientSecret, "", "", 405, "METHOD_NOT_ALLOWED"},
		{"too long", "POST", emulator.DemoClientID, emulator.DemoClientSecret, form, strings.Repeat("x", 1<<20+1), 413, "REQUEST_ENTITY_TOO_LARGE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest(tt.method, "/v2/oauth2/token", strings.NewReader(tt.body))
			req.Header.Set("Content-Type", tt.contentType)
			req.SetBasicAuth(tt.id, tt.secret)
			rep := send(e, req)
			if rep.status != tt.wantStatus || rep.code() != tt.wantCode {
				t.Errorf("got %d %s, want %d %s", rep.status, rep.code(), tt.wantStatus, tt.wantCode)
			}
			if tt.wantStatus == 401 && !strings.Contains(rep.body, `"detail":"Basic auth failed"`) {
				t.Error("detail is not Globus's")
			}
		})
	}
}

func TestSetSecret_AcceptsOnlyTheNewOne(t *testing.T) {
	e := emulator.New(emulator.Config{})
	old := token(t, e, emulator.TransferScope)
	e.SetSecret("next")
	if rep := send(e, tokenRequest("openid")); rep.status != 401 {
		t.Errorf("old secret: got %d, want 401", rep.status)
	}
	req := tokenRequest("openid")
	req.SetBasicAuth(emulator.DemoClientID, "next")
	if rep := send(e, req); rep.status != 200 {
		t.Errorf("new secret: got %d, want 200", rep.status)
	}
	if rep := send(e, request("GET", "/v0.10/task_list", old, "")); rep.status != 200 {
		t.Errorf("token from before: got %d, want 200", rep.status)
	}
}

func TestAuth_AnswersAboutTheClient(t *testing.T) {
	e := emulator.New(emulator.Config{})
	openid, transfer := token(t, e, "openid"), token(t, e, emulator.TransferScope)
	narrow := token(t, e, "urn:globus:auth:scope:auth.globus.org:view_consents")
	const username = emulator.DemoClientID + "@clients.auth.globus.org"
	for _, tt := range []struct {
		name, target, tok string
		wantStatus        int
		want              string // in the body
	}{
		{"userinfo", "/v2/oauth2/userinfo", openid, 200, `"preferred_username":"` + username + `"`},
		{"userinfo without token", "/v2/oauth2/userinfo", "", 401, `"code":"UNAUTHORIZED"`},
		{"userinfo with Transfer's token", "/v2/oauth2/userinfo", transfer, 401, `"code":"UNAUTHORIZED"`},
		{"userinfo without the scope", "/v2/oauth2/userinfo", narrow, 403, `"code":"FORBIDDEN"`},
		{"identity by id", "/v2/api/identities?ids=x," + emulator.DemoClientID, openid, 200, username},
		{"identity by name", "/v2/api/identities?usernames=" + url.QueryEscape(username), openid, 200, emulator.DemoClientID},
		{"unknown identity", "/v2/api/identities?usernames=a@b.example", openid, 200, `"identities":[]`},
		{"no question", "/v2/api/identities", openid, 400, `"code":"BAD_REQUEST"`},
		{"discovery", "/.well-known/openid-configuration", "", 200, `"issuer":"https://auth.globus.org"`},
		{"keys", "/jwk.json", "", 200, `"kty":"RSA"`},
		{"unknown path", "/v2/api/nothing", openid, 404, `"code":"NOT_FOUND"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := send(e, request("GET", tt.target, tt.tok, ""))
			if rep.status != tt.wantStatus || !strings.Contains(rep.body, tt.want) {
				t.Errorf("got %d %s, want %d with %s", rep.status, rep.code(), tt.wantStatus, tt.want)
			}
		})
	}
}

func TestIntrospect_KnowsLiveFromRevoked(t *testing.T) {
	e := emulator.New(emulator.Config{})
	tok := token(t, e, emulator.TransferScope)
	ask := func() reply {
		req := httptest.NewRequest("POST", "/v2/oauth2/token/introspect", strings.NewReader("token="+tok))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(emulator.DemoClientID, emulator.DemoClientSecret)
		return send(e, req)
	}
	if rep := ask(); rep.doc["active"] != true || rep.text("scope") != emulator.TransferScope {
		t.Errorf("live token: got %d, active %v", rep.status, rep.doc["active"])
	}
	if got := e.Revoke(""); got != 1 {
		t.Errorf("Revoke = %d, want 1", got)
	}
	if rep := ask(); rep.status != 200 || rep.doc["active"] != false {
		t.Errorf("revoked token: got %d, active %v", rep.status, rep.doc["active"])
	}
}

func TestToken_ExpiresToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := emulator.New(emulator.Config{Lifetime: time.Minute})
		status := func(tok string) int { return send(e, request("GET", "/v0.10/task_list", tok, "")).status }
		tok := token(t, e, emulator.TransferScope)
		time.Sleep(time.Minute - 1)
		if got := status(tok); got != 200 {
			t.Errorf("just before its end: got %d, want 200", got)
		}
		time.Sleep(1)
		if got := status(tok); got != 401 {
			t.Errorf("at its end: got %d, want 401", got)
		}
		if got := e.Revoke(""); got != 0 {
			t.Errorf("Revoke = %d with none live, want 0", got)
		}
		e.SetLifetime(90*time.Second + 500*time.Millisecond)
		if got := send(e, tokenRequest("openid")).doc["expires_in"]; got != 90.0 {
			t.Errorf("expires_in = %v, want 90", got)
		}
		for range 1500 { // old tokens do not pile up
			token(t, e, "openid")
			time.Sleep(time.Second)
		}
		if got := e.Revoke("auth.globus.org"); got != 90 {
			t.Errorf("Revoke = %d, want the 90 live ones", got)
		}
	})
}
