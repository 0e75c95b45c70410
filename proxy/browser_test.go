package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestBrowser_PagesAreRefusedOnEveryMethod(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.listener.Origins = []string{"https://lab.example.org", "http://localhost:3000"}
	r := newRig(t, s)
	for _, tt := range []struct {
		name, headers string
		method        string
		refused       bool
	}{
		{"a tool", "", "GET", false},
		{"Node's fetch", "Sec-Fetch-Mode: cors\r\n", "GET", false},
		{"a page elsewhere", "Origin: https://evil.example\r\n", "GET", true},
		{"a sandboxed page", "Origin: null\r\n", "POST", true},
		{"an empty Origin", "Origin:\r\n", "GET", true},
		{"an image", "Sec-Fetch-Site: cross-site\r\n", "GET", true},
		{"an image of the same site", "Sec-Fetch-Site: same-site\r\n", "GET", true},
		{"a rebound name", "Sec-Fetch-Site: same-origin\r\n", "GET", true},
		{"an address typed in", "Sec-Fetch-Site: none\r\n", "GET", true},
		{"an empty Sec-Fetch-Site", "Sec-Fetch-Site:\r\n", "GET", true},
		{"a form", "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n", "POST", true},
		{"a preflight", "Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n", "OPTIONS", true},
		{"a preflight without Origin", "Access-Control-Request-Method: DELETE\r\n", "OPTIONS", true},
		{"a preflight for a private network", "Access-Control-Request-Private-Network: true\r\n", "OPTIONS", true},
		{"an OPTIONS of a tool", "", "OPTIONS", false},
		{"a listed page", "Origin: https://lab.example.org\r\nSec-Fetch-Site: cross-site\r\n", "GET", false},
		{"another listed page", "Origin: http://localhost:3000\r\n", "DELETE", false},
		{"a listed name with another port", "Origin: http://localhost:3001\r\n", "GET", true},
		{"a listed name with more behind it", "Origin: https://lab.example.org.evil.example\r\n", "GET", true},
		{"a listed name in another scheme", "Origin: http://lab.example.org\r\n", "GET", true},
		{"a listed page, twice", "Origin: https://lab.example.org\r\nOrigin: https://evil.example\r\n", "GET", true},
		{"two in one", "Origin: https://lab.example.org https://evil.example\r\n", "GET", true},
	} {
		got := r.raw(tt.method + " /up/a HTTP/1.1\r\nHost: localhost\r\n" + tt.headers + "\r\n")
		heads := w.received()
		if (got.code() == "browser_refused") != tt.refused || len(heads) > 0 == tt.refused {
			t.Errorf("%s: answered %d %s, the upstream received %q", tt.name, got.status, got.code(), heads)
		}
		for name := range got.header {
			if strings.HasPrefix(name, "Access-Control-") && !strings.Contains(tt.name, "listed page") {
				t.Errorf("%s: answered with %s", tt.name, name)
			}
		}
	}
}

func TestBrowser_AListedPageReadsItsAnswers(t *testing.T) {
	url := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Vary", "Accept")
	})
	s := to(t, url)
	s.listener.Origins = []string{"https://lab.example.org"}
	r := newRig(t, s)
	got := r.do("GET", "/up/a", "", "Origin", "https://lab.example.org")
	if origin := got.header.Values("Access-Control-Allow-Origin"); len(origin) != 1 || origin[0] != "https://lab.example.org" || strings.Join(got.header.Values("Vary"), ",") != "Accept,Origin" {
		t.Errorf("answered with %v", got.header)
	}
	if refused := r.do("GET", "/nothing", "", "Origin", "https://lab.example.org"); refused.code() != "no_upstream" || refused.header.Get("Access-Control-Allow-Origin") != "https://lab.example.org" {
		t.Errorf("an answer of bearerd's own: %d %v", refused.status, refused.header)
	}
	leave := r.do("OPTIONS", "/up/a", "", "Origin", "https://lab.example.org", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type")
	if leave.status != http.StatusNoContent || leave.header.Get("Access-Control-Allow-Headers") != "content-type" || !strings.Contains(leave.header.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("a preflight: answered %d %v", leave.status, leave.header)
	}
}

func TestBrowser_RequiredHeader(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.listener.RequireHeader = "x-bearerd"
	r := newRig(t, s)
	if got := r.do("GET", "/up/a", ""); got.code() != "browser_refused" || !strings.Contains(got.body, "X-Bearerd") || len(w.received()) > 0 {
		t.Errorf("without it: answered %d %s", got.status, got.body)
	}
	got := r.do("GET", "/up/a", "", "X-Bearerd", "1")
	if heads := w.received(); got.status != 204 || len(heads) != 1 || strings.Contains(heads[0], "X-Bearerd") {
		t.Errorf("with it: answered %d, the upstream received %q", got.status, heads)
	}
}

func TestAnswers_KeepBrowsersFromMakingAnythingOfThem(t *testing.T) {
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		for _, line := range strings.Split(`Set-Cookie: a=b
Access-Control-Allow-Origin: *
Access-Control-Allow-Credentials: true
Alt-Svc: h3=":443"
Strict-Transport-Security: max-age=1
Clear-Site-Data: "*"
Refresh: 0; url=http://evil.example
Server: x
Proxy-Authenticate: Basic
Www-Authenticate: Bearer realm="x"
Content-Security-Policy: default-src *
X-Kept: y`, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		if r.URL.Path == "/401" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	r := newRig(t, to(t, url))
	for path, challenge := range map[string]string{"/a": "", "/401": `Bearer realm="x"`} {
		got := r.do("GET", "/up"+path, "")
		for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Alt-Svc", "Strict-Transport-Security", "Clear-Site-Data", "Refresh", "Server", "Proxy-Authenticate"} {
			if got.header.Get(name) != "" {
				t.Errorf("%s: the caller was told %s", path, name)
			}
		}
		for name, want := range map[string]string{
			"Www-Authenticate": challenge, "X-Kept": "y", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "sandbox; default-src 'none'", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if value := got.header.Values(name); strings.Join(value, "|") != want {
				t.Errorf("%s: %s is %q, want %q", path, name, value, want)
			}
		}
	}
	if got := r.do("GET", "/nothing", ""); got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Content-Security-Policy") == "" {
		t.Errorf("an answer of bearerd's own: %v", got.header)
	}
}

func TestAnswers_LoseTheirTrailers(t *testing.T) {
	url := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Set-Cookie")
		_, _ = w.Write([]byte("body"))
		w.(http.Flusher).Flush()
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set(http.TrailerPrefix+"Bearerd-Error", "denied")
	})
	r := newRig(t, to(t, url))
	resp, err := client.Get(r.url + "/up/a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); string(body) != "body" || err != nil || len(resp.Trailer) > 0 {
		t.Errorf("answered %q, %v, with trailers %v", body, err, resp.Trailer)
	}
}
