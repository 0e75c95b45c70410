package proxy_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"bearerd/policy"
	"bearerd/test/emulator"
)

func TestErrors_CarryCodeAndForm(t *testing.T) {
	r := newRig(t, to(t, newWire(t).url))
	plain := r.do("GET", "/nowhere", "")
	if plain.status != 404 || plain.code() != "no_upstream" || plain.header.Get("Cache-Control") != "no-store" || plain.header.Get("X-Request-Id") == "" {
		t.Errorf("answered %d with headers %v", plain.status, plain.header)
	}
	if !strings.HasPrefix(plain.header.Get("Content-Type"), "text/plain") || strings.Count(plain.body, "\n") != 1 || !strings.Contains(plain.body, "no_upstream") {
		t.Errorf("without Accept: %s %q, want one plain line", plain.header.Get("Content-Type"), plain.body)
	}
	for _, accept := range []string{"application/json", "text/html, application/problem+json;q=0.5"} {
		got := r.do("GET", "/nowhere", "", "Accept", accept)
		var problem map[string]any
		if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.header.Get("Content-Type") != "application/problem+json" {
			t.Fatalf("Accept %s: %s %q: %v", accept, got.header.Get("Content-Type"), got.body, err)
		}
		for name, want := range map[string]any{
			"code": "no_upstream", "status": 404.0, "title": "no upstream", "key": "proxy.upstreams",
			"message": problem["detail"], "request_id": got.header.Get("X-Request-Id"),
		} {
			if problem[name] != want || want == "" {
				t.Errorf("Accept %s: %s is %v, want %v", accept, name, problem[name], want)
			}
		}
	}
	if head := r.do("HEAD", "/nowhere", ""); head.status != 404 || head.code() != "no_upstream" || head.body != "" {
		t.Errorf("HEAD answered %d %s %q", head.status, head.code(), head.body)
	}
}

func TestErrors_DeniedNamesTheRuleThatWouldAllow(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	never, err := policy.ParsePattern("/v2/oauth2/token")
	if err != nil {
		t.Fatal(err)
	}
	s.known = map[string]policy.Upstream{"up": {Never: []policy.Pattern{never}}}
	s.rules[0].Methods = []string{"GET"}
	r := newRig(t, s)
	got := r.do("POST", "/up/v1/x", "")
	if want := `- {name: local-up, callers: [local], upstreams: [up], methods: [POST], paths: ["/v1/x"]}`; got.status != 403 || !strings.Contains(got.body, want) {
		t.Errorf("answered %d %q, want 403 with %s", got.status, got.body, want)
	}
	for _, path := range []string{"/up/v2/oauth2/token", "/up/v2/oauth2/token/introspect", "/up/v2/oauth2/%74oken", "/up/v2/OAuth2/token/"} {
		if got := r.do("GET", path, ""); got.status != 403 || got.code() != "denied" || strings.Contains(got.body, "- {") {
			t.Errorf("%s: answered %d %q, want 403 without a rule to add", path, got.status, got.body)
		}
	}
	if heads := w.received(); len(heads) > 0 {
		t.Errorf("the upstream received %q", heads)
	}
}

// TestErrors_TokenFaultsAreNever401 because a tool would take one for the upstream's.
func TestErrors_TokenFaultsAreNever401(t *testing.T) {
	for _, tt := range []struct {
		name    string
		breakIt func(globus)
		status  int
		code    string
		retry   bool
	}{
		{"endpoint down", func(g globus) { g.FailTokens(9, emulator.Unavailable()) }, 503, "token_unavailable", true},
		{"connection cut", func(g globus) { g.FailTokens(9, emulator.Aborted()) }, 503, "token_unavailable", true},
		{"a login page", func(g globus) { g.FailTokens(9, emulator.Malformed("html")) }, 503, "token_unavailable", true},
		{"asked to wait", func(g globus) { g.FailTokens(9, emulator.RateLimited("7")) }, 503, "token_unavailable", true},
		{"another's token", func(g globus) { g.FailTokens(9, emulator.Malformed("other resource server")) }, 424, "token_rejected", false},
		{"wrong secret", func(g globus) { g.SetSecret("rotated") }, 424, "token_rejected", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGlobus(t, emulator.Config{})
			tt.breakIt(g)
			r := newRig(t, g.settings(t))
			for range 2 { // the second is told from the first one's memory
				got := r.do("GET", "/transfer/v0.10/task_list", "", "Accept", "application/json")
				if got.status != tt.status || got.code() != tt.code || (got.header.Get("Retry-After") != "") != tt.retry {
					t.Errorf("answered %d %s, Retry-After %q; want %d %s", got.status, got.code(), got.header.Get("Retry-After"), tt.status, tt.code)
				}
				if strings.Contains(got.body, emulator.DemoClientSecret) {
					t.Error("the answer holds the secret")
				}
			}
			if got := g.Count("auth", "/v2/oauth2/token"); got != 1 {
				t.Errorf("two requests made %d token requests, want 1", got)
			}
			if got := g.Count("transfer", "/v0.10/task_list"); got != 0 {
				t.Errorf("the upstream was asked %d times without a token", got)
			}
		})
	}
}

func TestErrors_WhatTheWireDoes(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		answer       string // what the upstream sends before it closes
		status       int
		code         string
	}{
		{"cut before an answer, GET", "GET", "", 502, "upstream_unreachable"},
		{"cut before an answer, POST", "POST", "", 502, "outcome_unknown"},
		{"not HTTP", "GET", "SSH-2.0-OpenSSH\r\n\r\n", 502, "upstream_invalid"},
		{"a status HTTP does not have", "GET", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 502, "upstream_invalid"},
		{"a status below 100", "GET", "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", 502, "upstream_invalid"},
		{"switching protocols unasked", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 502, "upstream_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() { // ends when the listener is closed
				defer close(served)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = io.WriteString(conn, tt.answer)
					_ = conn.Close()
				}
			}()
			t.Cleanup(func() {
				_ = l.Close()
				<-served
			})
			r := newRig(t, to(t, "http://"+l.Addr().String()))
			got := r.do(tt.method, "/up/a", "")
			if got.status != tt.status || got.code() != tt.code {
				t.Errorf("answered %d %s, want %d %s", got.status, got.code(), tt.status, tt.code)
			}
			if strings.Contains(got.body, "SSH") {
				t.Error("the answer quotes the upstream")
			}
		})
	}
}

func TestErrors_UpstreamThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for url, want := range map[string]string{
		"http://" + l.Addr().String(): "cannot be reached",
		"http://no-such-host.invalid": "not found",
	} {
		r := newRig(t, to(t, url))
		if got := r.do("POST", "/up/a", "x"); got.status != http.StatusBadGateway || got.code() != "upstream_unreachable" || !strings.Contains(got.body, want) {
			t.Errorf("%s: answered %d %s %q, want 502 that says %q", url, got.status, got.code(), got.body, want)
		}
	}
}
