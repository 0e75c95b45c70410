package proxy_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"bearerd/credentials"
	"bearerd/proxy"
	"bearerd/test/emulator"
)

// newCollection is a proxy in front of a collection over HTTPS.
func newCollection(t *testing.T) (globus, *rig, string) {
	t.Helper()
	g := newGlobus(t, emulator.Config{})
	id := g.MappedCollection()
	server := httptest.NewServer(g.Collection(id))
	t.Cleanup(server.Close)
	s := g.settings(t)
	s.upstreams["files"] = proxy.UpstreamConfig{URL: server.URL, InsecureHTTP: true, Private: true, Path: "files", LoginRedirect: true}
	s.credentials.Tokens["files"] = credentials.TokenConfig{ResourceServer: id, Scopes: []string{"https://auth.globus.org/scopes/" + id + "/https"}}
	s.rules = anything("files")
	return g, newRig(t, s), id
}

func TestCollection_FilesGoBothWaysWhateverTheirNames(t *testing.T) {
	g, r, _ := newCollection(t)
	for _, path := range []string{
		"/plain.txt", "/run%201/gr%C3%B6%C3%9Fe.csv", "/100%25+1;v=2.dat", "/..hidden/...", "/a:b%3F%23.log", "/%22quoted%22&'x'", "/~/it%5Bs%5D",
	} {
		body := "content of " + path
		if got := r.do("PUT", "/files"+path, body); got.status != 201 {
			t.Errorf("PUT %s: got %d %s", path, got.status, got.body)
		}
		if got := r.do("GET", "/files"+path, ""); got.status != 200 || got.body != body {
			t.Errorf("GET %s: got %d %q", path, got.status, got.body)
		}
		if got := r.do("GET", "/files"+path, "", "Range", "bytes=0-6"); got.status != 206 || got.body != "content" {
			t.Errorf("part of %s: got %d %q", path, got.status, got.body)
		}
		if got := r.do("HEAD", "/files"+path, ""); got.status != 200 || got.header.Get("Etag") == "" {
			t.Errorf("HEAD %s: got %d", path, got.status)
		}
		for _, record := range g.Records() {
			if record.Service == "collection" && record.Target != path {
				t.Errorf("%s arrived as %s", path, record.Target)
			}
		}
		g.Reset()
	}
}

func TestCollection_ARedirectToLogInCostsOneRenewal(t *testing.T) {
	g, r, id := newCollection(t)
	r.do("PUT", "/files/a", "first")
	g.Revoke(id)
	g.Reset()
	if got := r.do("PUT", "/files/a", "second"); got.status != 200 {
		t.Errorf("got %d to %q", got.status, got.header.Get("Location"))
	}
	if n := len(g.grants()); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
	if got := r.do("GET", "/files/a", ""); got.body != "second" {
		t.Errorf("got %q", got.body)
	}
	g.Revoke(id) // within 10 s of the renewal: the redirect stands
	if got := r.do("GET", "/files/a", ""); got.status != 302 || !strings.HasPrefix(got.header.Get("Location"), "https://auth.globus.org/v2/oauth2/authorize?") {
		t.Errorf("got %d to %q", got.status, got.header.Get("Location"))
	}
}

func TestCollection_ALargeBodyIsNotSentTwice(t *testing.T) {
	g, r, id := newCollection(t)
	r.do("PUT", "/files/a", "first")
	g.Revoke(id)
	large := strings.Repeat("x", 200<<10)
	if got := r.do("PUT", "/files/a", large); got.status != 503 || got.code() != "token_refused_not_replayed" || got.header.Get("Retry-After") != "0" {
		t.Errorf("got %d %s", got.status, got.code())
	}
	if got := r.do("PUT", "/files/a", large); got.status != 200 {
		t.Errorf("the next: got %d", got.status)
	}
	if got := r.do("GET", "/files/a", ""); got.body != large {
		t.Errorf("got %d bytes, want %d", len(got.body), len(large))
	}
}

func TestFlows_EachFlowIsRunWithItsOwnToken(t *testing.T) {
	const input = `{"body":{}}`
	g := newGlobus(t, emulator.Config{})
	flows := httptest.NewServer(g.Flows())
	t.Cleanup(flows.Close)
	ids := g.FlowIDs()
	behind := func(t *testing.T, ids ...string) *rig {
		s := g.settings(t)
		u := proxy.UpstreamConfig{URL: flows.URL, InsecureHTTP: true, Private: true}
		s.credentials.Tokens["flows"] = credentials.TokenConfig{ResourceServer: "flows.globus.org",
			Scopes: []string{"https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/all"}}
		for _, id := range ids {
			s.credentials.Tokens["flows."+id] = credentials.TokenConfig{ResourceServer: id,
				Scopes: []string{"https://auth.globus.org/scopes/" + id + "/flow_" + strings.ReplaceAll(id, "-", "_") + "_user"}}
			for _, last := range []string{"run", "validate_run"} {
				u.Routes = append(u.Routes, proxy.CredentialRoute{Method: "POST", Path: "/flows/" + id + "/" + last, Credential: "flows." + id})
			}
		}
		if len(ids) == 1 {
			u.Routes = append(u.Routes, proxy.CredentialRoute{Method: "POST", Path: "/runs/*/resume", Credential: "flows." + ids[0]})
		}
		s.upstreams["flows"] = u
		s.rules = anything("flows")
		resume := s.rules[0]
		resume.Name, resume.Paths, resume.Credential = "resume", []string{"/runs/*/resume"}, "flows."+ids[0]
		if len(ids) == 2 {
			s.rules = append(s.rules[:0:0], resume, s.rules[0])
		}
		return newRig(t, s)
	}
	one, both := behind(t, ids[0]), behind(t, ids...)
	var runs []string
	for _, tt := range []struct {
		name       string
		r          *rig
		method     string
		path, body string
		credential string
		want       int
	}{
		{"list", one, "GET", "/flows", "", "flows", 200},
		{"run", one, "POST", "/flows/" + ids[0] + "/run", input, "flows." + ids[0], 201},
		{"validate", one, "POST", "/flows/" + ids[0] + "/validate_run", input, "flows." + ids[0], 200},
		{"run, encoded", one, "POST", "/flows/" + ids[0] + "/%72un", input, "flows." + ids[0], 201},
		{"upper case", one, "POST", "/flows/" + strings.ToUpper(ids[0]) + "/run", input, "flows." + ids[0], 404}, // not to the emulator
		{"another method", one, "GET", "/flows/" + ids[0] + "/run", "", "flows", 405},
		{"deeper", one, "POST", "/flows/" + ids[0] + "/run/x", input, "flows", 404},
		{"a flow that is not configured", one, "POST", "/flows/" + ids[1] + "/run", input, "flows", 401},
		{"resume, of one flow", one, "POST", "/runs/RUN/resume", "", "flows." + ids[0], 200},
		{"run the first", both, "POST", "/flows/" + ids[0] + "/run", input, "flows." + ids[0], 201},
		{"run the second", both, "POST", "/flows/" + ids[1] + "/run", input, "flows." + ids[1], 201},
		{"resume, with the rule's credential", both, "POST", "/runs/RUN/resume", "", "flows." + ids[0], 200},
	} {
		got := tt.r.do(tt.method, "/flows"+strings.Replace(tt.path, "RUN", append(runs, "")[0], 1), tt.body)
		if _, after, ok := strings.Cut(got.body, `"run_id":"`); ok {
			id, _, _ := strings.Cut(after, `"`)
			runs = append(runs, id)
		}
		if x := tt.r.seen()[0]; got.status != tt.want || x.Credential != tt.credential {
			t.Errorf("%s: got %d with %s, want %d with %s\n%s", tt.name, got.status, x.Credential, tt.want, tt.credential, got.body)
		}
	}
}

func TestAuthorize_TakesInsufficientScopeForAnAnswer(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	r := newRig(t, g.settings(t))
	failure := emulator.InsufficientScope(emulator.TransferScope)
	g.FailRequests(1, failure)
	got := r.do("GET", "/transfer/v0.10/task_list", "")
	if got.status != 401 || got.body != failure.Body || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if x := r.seen()[0]; x.Attempts != 1 || len(g.grants()) != 1 {
		t.Errorf("%d attempts, %d token requests; want 1 each", x.Attempts, len(g.grants()))
	}
}
