package proxy_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"bearerd/credentials"
	"bearerd/proxy"
	"bearerd/test/emulator"
)

// forwarding is s with forward: true.
func forwarding(s settings) settings {
	s.listener.Forward = true
	return s
}

// elsewhere are upstreams of every kind, none of which is asked.
func elsewhere(t *testing.T) settings {
	urls := map[string]string{
		"transfer": "https://Transfer.example", "port": "https://port.example:8443/", "plain": "http://plain.example", "plainport": "http://plain.example:9000",
		"base": "https://base.example/v1/", "deep": "https://base.example/v1/deep", "six": "https://[2001:db8::1]", "sixport": "https://[2001:DB8::1]:8443",
		"dot": "https://dot.example.", "spelled": "https://spelled.example:443", "files": "https://files.example/data", "kelvin": "https://k.example",
	}
	s := forwarding(settings{upstreams: map[string]proxy.UpstreamConfig{}, authorizers: map[string]credentials.Authorizer{}})
	var names []string
	for name, url := range urls {
		names = append(names, name)
		path := map[bool]string{true: "files", false: "strict"}[name == "files"]
		s.upstreams[name] = proxy.UpstreamConfig{URL: url, InsecureHTTP: true, Private: true, Path: path}
		s.authorizers[name] = staticToken(t)
	}
	s.rules = anything(names...)
	return s
}

// explainer returns what says of a raw request what becomes of it: upstream and path,
// or the code.
func explainer(t *testing.T, s settings) func(request string) string {
	t.Helper()
	cfg, deps, bindings := (&rig{t: t, addr: "127.0.0.1:8080"}).parts(s)
	deps.Limiter, deps.Observe = nil, nil
	p := proxy.New(cfg, deps, bindings)
	t.Cleanup(p.Close)
	return func(request string) string {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
		if err != nil {
			return byNetHTTP
		}
		req.RemoteAddr = "127.0.0.1:1"
		e := p.Explain(0, req, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, "")
		if e.Refusal != nil {
			return e.Refusal.Code
		}
		return e.Upstream + " " + e.Path
	}
}

const byNetHTTP = "refused by net/http"

func TestForward_AURLIsForTheUpstreamThatIsThere(t *testing.T) {
	s := elsewhere(t)
	with := explainer(t, s)
	s.listener.Forward = false
	without := explainer(t, s)
	for target, want := range map[string]string{
		"http://transfer.example/v0.10/task_list?a=b": "transfer /v0.10/task_list",
		"http://transfer.example:80/a":                "transfer /a",
		"http://transfer.example:443/a":               "transfer /a",
		"https://transfer.example/a":                  "transfer /a",
		"https://transfer.example:443/a":              "transfer /a",
		"http://TRANSFER.Example/a":                   "transfer /a",
		"HTTP://transfer.example/a":                   "transfer /a",
		"http://transfer.example":                     "transfer /",
		"http://transfer.example?a=b":                 "transfer /",
		"http://transfer.example/":                    "transfer /",
		"http://transfer.example/gr%C3%B6%c3%9fe":     "transfer /gr%C3%B6%c3%9fe",
		"https://transfer.example:80/a":               "host_refused",
		"http://transfer.example:8443/a":              "host_refused",
		"http://transfer.example:0443/a":              "host_refused",
		"http://transfer.example:/a":                  "host_refused",
		"http://transfer.example./a":                  "host_refused",
		"http://transfer.example.evil.example/a":      "host_refused",
		"http://evil.example/a":                       "host_refused",
		"http://evil.example:80/transfer/a":           "host_refused",
		"http://localhost/transfer/a":                 "host_refused",
		"http://127.0.0.1/transfer/a":                 "host_refused",
		"http://169.254.169.254/latest/meta-data":     "host_refused",
		"http://transfer/a":                           "host_refused",

		"http://port.example:8443/a":  "port /a",
		"https://port.example:8443/a": "port /a",
		"http://port.example/a":       "host_refused",
		"http://port.example:80/a":    "host_refused",
		"https://port.example/a":      "host_refused",
		"http://port.example:443/a":   "host_refused",

		"http://plain.example/a":       "plain /a",
		"http://plain.example:80/a":    "plain /a",
		"https://plain.example/a":      "host_refused", // it would leave in the clear
		"https://plain.example:80/a":   "host_refused",
		"http://plain.example:9000/a":  "plainport /a",
		"https://plain.example:9000/a": "host_refused",

		"http://spelled.example/a":     "spelled /a",
		"http://spelled.example:443/a": "spelled /a",
		"http://dot.example./a":        "dot /a",
		"http://dot.example/a":         "host_refused",

		"http://[2001:db8::1]/a":         "six /a",
		"http://[2001:DB8::1]:443/a":     "six /a",
		"http://[2001:db8::1]:8443/a":    "sixport /a",
		"http://[2001:db8:0::1]/a":       "host_refused", // the same, in other words
		"http://[2001:db8::2]/a":         "host_refused",
		"http://[2001:db8::1%25lo]/a":    "request_ambiguous",
		"http://2001:db8::1/a":           byNetHTTP,
		"http://[2001:db8::1/a":          byNetHTTP,
		"http://[2001:db8::1]evil.org/a": byNetHTTP,

		"http://base.example/v1/a":        "base /a",
		"http://base.example/v1/":         "base /",
		"http://base.example/v1/deeper":   "base /deeper",
		"http://base.example/v1/deep/a":   "deep /a",
		"http://base.example/v1/deep":     "base /deep",
		"http://base.example/v1":          "no_upstream",
		"http://base.example/v10/a":       "no_upstream",
		"http://base.example/":            "no_upstream",
		"http://base.example":             "no_upstream",
		"http://base.example/V1/a":        "no_upstream",
		"http://base.example/v%31/a":      "no_upstream",
		"http://base.example/v1%2fa":      "no_upstream",
		"http://base.example/v1/../admin": "request_ambiguous",
		"http://base.example/v1/%2e%2e/a": "request_ambiguous",
		"http://base.example/v1/a%2fb":    "request_ambiguous",
		"http://base.example//v1/a":       "request_ambiguous",
		"http://files.example/data/a%2fb": "files /a%2fb",

		"http://me@transfer.example/a":                         "request_ambiguous",
		"http://me:secret@transfer.example/a":                  "request_ambiguous",
		"http://@transfer.example/a":                           "request_ambiguous",
		"http://evil.example@transfer.example/a":               "request_ambiguous",
		"http://transfer.example@evil.example/a":               "request_ambiguous",
		"http://transfer.example#@evil.example/a":              byNetHTTP,
		"http://transfer.example/a#b":                          "request_ambiguous",
		"http://transfer.example/a?b#c":                        "request_ambiguous",
		"http://transfer.example#":                             byNetHTTP,
		`http://transfer.example\a`:                            byNetHTTP,
		`http://transfer.example\@evil.example/a`:              byNetHTTP,
		"http://transfer.example;evil.example/a":               "request_ambiguous",
		"http://transfer.example,evil.example/a":               "request_ambiguous",
		"http://transfer%2eexample/a":                          byNetHTTP,
		"http://%74ransfer.example/a":                          byNetHTTP,
		"http://%c3%bc.example/a":                              "request_ambiguous",
		"http://\u212a.example/a":                              "request_ambiguous", // lower-case it is k
		"http://ｔransfer.example/a":                            "request_ambiguous",
		"http:///a":                                            "request_ambiguous",
		"http:transfer.example/a":                              "request_ambiguous",
		"http:/transfer.example/a":                             "request_ambiguous",
		"ftp://transfer.example/a":                             "request_ambiguous",
		"ws://transfer.example/a":                              "request_ambiguous",
		"x:http://transfer.example/a":                          "request_ambiguous",
		"http://http://transfer.example/a":                     "request_ambiguous",
		"http://transfer.example/http://evil.example/":         "request_ambiguous",
		"http://transfer.example/a?access_token=b":             "request_ambiguous",
		"http://transfer.example/" + strings.Repeat("a", 5000): "request_too_long",

		"//transfer.example/a": "request_ambiguous",
		"transfer.example:443": "request_ambiguous",
		"*":                    "request_ambiguous",
		"/transfer/a":          "transfer /a", // the other ways in stay
	} {
		request := "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
		if got := with(request); got != want {
			t.Errorf("%.80s: %s, want %s", target, got, want)
		}
		if got := without(request); !strings.HasPrefix(target, "/") && got != "request_ambiguous" && got != byNetHTTP {
			t.Errorf("%.80s without forward: %s", target, got)
		}
	}
	for request, want := range map[string]string{
		"OPTIONS http://transfer.example HTTP/1.1":                                  "request_ambiguous", // it would be * to the upstream
		"OPTIONS http://transfer.example?a HTTP/1.1":                                "request_ambiguous",
		"OPTIONS http://transfer.example/ HTTP/1.1":                                 "transfer /",
		"GET http://transfer.example/a HTTP/1.0":                                    "transfer /a",
		"CONNECT transfer.example:443 HTTP/1.1":                                     "method_refused",
		"CONNECT http://transfer.example/ HTTP/1.1":                                 "method_refused",
		"CONNECT /transfer HTTP/1.1":                                                "method_refused",
		"TRACE http://transfer.example/a HTTP/1.1":                                  "method_refused",
		"GET http://transfer.example/a HTTP/1.1\r\nOrigin: x":                       "browser_refused",
		"GET http://transfer.example/a HTTP/1.1\r\nSec-Fetch-Site: none":            "browser_refused",
		"GET http://transfer.example/a HTTP/1.1\r\nConnection: Proxy-Authorization": "request_ambiguous",
	} {
		if got := with(request + "\r\nHost: transfer.example\r\n\r\n"); got != want {
			t.Errorf("%q: %s, want %s", request, got, want)
		}
	}
}

func TestForward_AListenerOfOneUpstreamHasNoOther(t *testing.T) {
	s := elsewhere(t)
	s.listener.Upstream = "transfer"
	explain := explainer(t, s)
	for target, want := range map[string]string{
		"/a": "transfer /a", "http://transfer.example/a": "transfer /a", "http://plain.example/a": "host_refused",
	} {
		if got := explain("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n"); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// What a client says to its proxy ends here, and the upstream is told its own name.
func TestForward_ARequestThroughBearerdArrivesAsOneBelowAPrefix(t *testing.T) {
	w := newWire(t)
	s := forwarding(to(t, w.url+"/v1"))
	r := newRig(t, s)
	for _, tt := range []struct{ target, host, want string }{
		{w.url + "/v1/a%20b;c?d=e&&f", w.url[len("http://"):], "/v1/a%20b;c?d=e&&f"},
		{w.url + "/v1/a?", "localhost", "/v1/a?"},
		{w.url + "/v1/a", "evil.example", "/v1/a"}, // RFC 9112 §3.2.2: it is ignored
		{w.url + "/v1/a", "169.254.169.254", "/v1/a"},
		{w.url + "/v2/a", "localhost", ""},
		{"http://evil.example/v1/a", w.url[len("http://"):], ""},
		{"http://169.254.169.254/v1/a", "localhost", ""},
		{strings.Replace(w.url, "//", "//me:secret@", 1) + "/v1/a", "localhost", ""},
	} {
		r.raw("GET " + tt.target + " HTTP/1.1\r\nHost: " + tt.host + "\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" +
			"Authorization: Bearer attacker\r\nConnection: close\r\n\r\n")
		heads := w.received()
		if first(heads) != tt.want || len(heads) > 1 {
			t.Errorf("%s, Host %s: the upstream received %q, want %q", tt.target, tt.host, heads, tt.want)
			continue
		}
		if tt.want != "" {
			head := heads[0]
			if !strings.Contains(head, "\r\nHost: "+w.url[len("http://"):]+"\r\n") || strings.Contains(head, "Proxy-") || !strings.Contains(head, "\r\nAuthorization: Bearer "+stamped+"\r\n") || strings.Contains(head, tt.host+":") {
				t.Errorf("%s, Host %s: the upstream received\n%s", tt.target, tt.host, head)
			}
		}
		for _, x := range r.seen() {
			if !strings.HasPrefix(x.Target, "/v") || strings.Contains(fmt.Sprint(x.Target, x.Err, x.Warning), "secret") {
				t.Errorf("%s: the log has path %q and error %v", tt.target, x.Target, x.Err)
			}
		}
	}
	r.raw("CONNECT " + w.url[len("http://"):] + " HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if heads := w.received(); len(heads) > 0 {
		t.Errorf("after CONNECT the upstream received %q", heads)
	}
}

func TestForward_RefusalsSayWhatToDo(t *testing.T) {
	s := elsewhere(t)
	s.rules[0].Methods = []string{"GET"}
	r := newRig(t, s)
	for request, want := range map[string]string{
		"POST http://transfer.example/a HTTP/1.1":         "bearerd explain POST http://transfer.example/a --as local",
		"POST http://Transfer.example:80/a?b=c HTTP/1.1":  "bearerd explain POST 'http://Transfer.example:80/a?...' --as local",
		"GET http://base.example/v2 HTTP/1.1":             "there are http://base.example/v1/deep/, http://base.example/v1/",
		"GET http://evil.example/ HTTP/1.1":               "proxy.upstreams",
		"GET http://me:secret@transfer.example/ HTTP/1.1": "user information",
		"CONNECT transfer.example:443 HTTP/1.1":           "forward: true",
	} {
		got := r.raw(request + "\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		if got.code() == "" || !strings.Contains(got.body, want) || strings.Contains(got.body, "secret") {
			t.Errorf("%s: answered %d %s, want %q in it", request, got.status, got.body, want)
		}
	}
}

// The caller has one proxy, for http://, and follows where it is led through that.
func TestForward_ALocationLeadsThroughBearerdAgain(t *testing.T) {
	var host string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{strings.ReplaceAll(r.URL.Query().Get("to"), "HERE", host)}
		w.WriteHeader(http.StatusFound)
	}))
	t.Cleanup(up.Close)
	host = up.URL
	r := newRig(t, forwarding(to(t, up.URL+"/v1")))
	sentTo := strings.Replace(up.URL, "http://", "HTTP://", 1)
	for to, want := range map[string]string{
		"HERE/v1/a?b": sentTo + "/v1/a?b", "HERE/v2/a": sentTo + "/v2/a", "/v1/a": "/v1/a", "a": "a", "https://auth.example/a": "https://auth.example/a",
	} {
		got := r.raw("GET " + sentTo + "/v1/x?to=" + strings.ReplaceAll(to, "?", "%3f") + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if location := got.header.Get("Location"); location != want {
			t.Errorf("Location %s: told %q, want %q", to, location, want)
		}
	}
}

// A tool that is told of Globus Auth by its own name gets its placeholder there.
func TestForward_TheTokenShimAnswersAtItsURL(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	r := newRig(t, forwarding(shimmed(t, g)))
	body := "grant_type=client_credentials&scope=openid"
	got := r.raw(fmt.Sprintf("POST %s/v2/oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", g.auth, formType, len(body), body))
	if got.status != 200 || !strings.Contains(got.body, `"access_token":"bearerd`) {
		t.Errorf("answered %d %s", got.status, got.body)
	}
	if records := g.Records(); len(records) > 0 {
		t.Errorf("Auth received %d requests", len(records))
	}
}

// A listener takes URLs from the reload on that says so.
func TestForward_AReloadTurnsItOnAndOff(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	r := newRig(t, s)
	for _, on := range []bool{false, true, false} {
		cfg, deps, bindings := r.parts(s)
		cfg.Listeners[0].Forward = on
		r.Reload(cfg, deps, bindings)
		got := r.raw("GET " + w.url + "/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if heads := w.received(); len(heads) > 0 != on || (got.code() == "") != on {
			t.Errorf("forward %v: answered %d %s, the upstream received %q", on, got.status, got.code(), heads)
		}
	}
}

// mistaken collects what it is told.
type mistaken struct{ found []string }

func (m *mistaken) Add(path []any, format string, args ...any) {
	m.found = append(m.found, fmt.Sprint(path)+" "+fmt.Sprintf(format, args...))
}

func (m *mistaken) Unknown(path []any, kind, name string, _ []string) {
	m.Add(path, "no %s %s", kind, name)
}

func TestForward_TwoUpstreamsAtOneURLAreAMistake(t *testing.T) {
	for _, tt := range []struct {
		one, other string
		upstream   string // of the listener
		mistake    bool
	}{
		{"https://a.example", "https://a.example/", "", true},
		{"https://a.example", "https://A.example:443", "", true},
		{"https://a.example/v1", "https://a.example/v1/", "", true},
		{"https://a.example", "http://a.example", "", true}, // http://a.example is either
		{"https://a.example", "https://a.example", "one", false},
		{"https://a.example/v1", "https://a.example/v2", "", false},
		{"https://a.example", "https://a.example/v2", "", false},
		{"https://a.example", "https://b.example", "", false},
		{"https://a.example", "https://a.example:8443", "", false},
	} {
		cfg := proxy.Default()
		cfg.Listeners = []proxy.ListenerConfig{{Address: "localhost:8080", Forward: true, Upstream: tt.upstream}}
		cfg.Upstreams = map[string]proxy.UpstreamConfig{"one": {URL: tt.one, InsecureHTTP: true}, "other": {URL: tt.other, InsecureHTTP: true}}
		var m mistaken
		cfg.Resolve(&m)
		if len(m.found) > 0 != tt.mistake || len(m.found) > 1 {
			t.Errorf("%s and %s, upstream %q: %q", tt.one, tt.other, tt.upstream, m.found)
		}
		cfg.Listeners[0].Forward = false
		m.found = nil
		if cfg.Resolve(&m); len(m.found) > 0 {
			t.Errorf("%s and %s without forward: %q", tt.one, tt.other, m.found)
		}
	}
}
