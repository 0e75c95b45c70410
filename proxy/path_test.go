package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"bearerd/proxy"
)

// send puts a raw request target on the wire and tells what became of it: what
// was decided on, and what the upstream received ("" if nothing).
func send(r *rig, w *wire, target_ string) (got answer, decided, received string) {
	got = r.raw("GET " + target_ + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	for _, x := range r.seen() {
		decided = x.Path + x.Query
	}
	for _, head := range w.received() {
		received = target(head)
	}
	return got, decided, received
}

// everyByte is each byte, raw, escaped once (both cases) and escaped twice, as
// what stands between other bytes, alone in a segment, and at the end.
func everyByte() []string {
	var forms []string
	for b := range 256 {
		for _, form := range []string{string([]byte{byte(b)}), fmt.Sprintf("%%%02X", b), fmt.Sprintf("%%%02x", b), fmt.Sprintf("%%25%02X", b)} {
			forms = append(forms, "a"+form+"b", form, "x"+form, form+form, ".."+form, form+"..")
		}
	}
	return forms
}

// TestPath_ForwardedAsDecided is the promise of one path: what the upstream
// receives is, byte for byte, what was decided on and what the caller sent; or
// the request is refused and the upstream hears nothing.
func TestPath_ForwardedAsDecided(t *testing.T) {
	for _, mode := range []string{"strict", "files"} {
		t.Run(mode, func(t *testing.T) {
			w := newWire(t)
			s := to(t, w.url+"/base/")
			s.upstreams = map[string]proxy.UpstreamConfig{"up": {URL: w.url + "/base/", InsecureHTTP: true, Private: true, Path: mode}}
			r := newRig(t, s)
			forwarded := 0
			for _, form := range everyByte() {
				sent := "/v1/" + form + "/z"
				got, decided, received := send(r, w, "/up"+sent)
				if received == "" {
					if got.status != http.StatusBadRequest {
						t.Fatalf("%q was not forwarded, and answered %d %s, want 400", sent, got.status, got.body)
					}
					continue
				}
				forwarded++
				if decided != sent || received != "/base"+sent {
					t.Fatalf("sent %q, decided on %q, upstream received %q", sent, decided, received)
				}
			}
			if forwarded < 400 {
				t.Fatalf("only %d of %d forms were forwarded", forwarded, len(everyByte()))
			}
		})
	}
}

func TestQuery_ForwardedAsSent(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	queries := append(everyByte(), "", "x=1;y=2&z=3", "b=2&a=1&f=x;y", "path=%2F~%2Fa+b%2F%C3%BC%2B%25", "a=ü&b=[1]|\"<>", "?", "a??b", strings.Repeat("a&", 999))
	forwarded := 0
	for _, query := range queries {
		sent := "/v1/x?" + query
		got, decided, received := send(r, w, "/up"+sent)
		if received == "" {
			if got.status != http.StatusBadRequest {
				t.Fatalf("%q was not forwarded, and answered %d, want 400", sent, got.status)
			}
			continue
		}
		forwarded++
		if decided != sent || received != sent {
			t.Fatalf("sent %q, decided on %q, upstream received %q", sent, decided, received)
		}
	}
	if forwarded < 4000 {
		t.Fatalf("only %d of %d queries were forwarded", forwarded, len(queries))
	}
}

func TestPath_RefusesWhatServersReadDifferently(t *testing.T) {
	w := newWire(t)
	strict := to(t, w.url+"/v0.10")
	strict.upstreams["files"] = proxy.UpstreamConfig{URL: w.url + "/v0.10", InsecureHTTP: true, Private: true, Path: "files", Credential: "up"}
	strict.rules = anything("up", "files")
	r := newRig(t, strict)
	for _, tt := range []struct {
		target        string
		strict, files bool // forwarded
	}{
		{"/a", true, true},
		{"/a/", true, true},
		{"/", true, true},
		{"", true, true},
		{"/~user/a+b(c)'*,;=:@&$!", true, true},
		{"/a%20b/%C3%BC:%3A", true, true},
		{"/..", false, false},
		{"/a/../b", false, false},
		{"/a/.", false, false},
		{"/./a", false, false},
		{"/%2e%2e/b", false, false},
		{"/.%2E/b", false, false},
		{"/%252e%252e/b", false, false},
		{"/a%2f..%2f..%2fb", false, false},
		{"/a%252f..%252fb", false, false},
		{"/..;/b", false, false},
		{"/..;x=1/b", false, false},
		{"/..%3B/b", false, false},
		{"/..%5cb", false, false},
		{"/..\\b", false, false},
		{"//a", false, false},
		{"/a//b", false, false},
		{"/a%2Fb", false, true},
		{"/100%25", false, true},
		{"/a%3Fb%23c%3Bd", false, true},
		{"/a%5Cb", false, true},
		{"/v1%2E0", false, true},
		{"/a%00b", false, false},
		{"/a%0d%0aX-Inj:1", false, false},
		{"/a%7f", false, false},
		{"/%c0%ae%c0%ae/b", false, false},
		{"/%zz", false, false},
		{"/%u002e", false, false},
		{"/a%", false, false},
		{"/a#/../b", false, false},
		{"/\xc3\xbc", false, false},
		{"/a[1]", false, false},
		{"/" + strings.Repeat("a", 5000), false, false},
	} {
		for prefix, want := range map[string]bool{"/up": tt.strict, "/files": tt.files} {
			got, _, received := send(r, w, prefix+tt.target)
			if (received != "") != want {
				t.Errorf("%s%.60s: forwarded %q and answered %d, want forwarded %v", prefix, tt.target, received, got.status, want)
			}
			if !want && got.status != 400 && got.status != 414 {
				t.Errorf("%s%.60s: answered %d, want 400 or 414", prefix, tt.target, got.status)
			}
		}
	}
}

func TestTarget_RefusesAllButPaths(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	for _, line := range []string{
		"GET http://localhost/up/a", "GET " + w.url + "/up/a", "GET x:http://169.254.169.254/admin", "GET x:y", "GET http:evil/a",
		"GET localhost:80", "GET *", "OPTIONS *", "GET ?x", "CONNECT evil.example:443", "CONNECT /up/a", "PRI *", "TRACE /up/a",
		"get /up/a", "FOO /up/a", "PROPFIND /up/a",
	} {
		got := r.raw(line + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if got.status != 400 && got.status != 405 {
			t.Errorf("%s: answered %d, want 400 or 405", line, got.status)
		}
		if heads := w.received(); len(heads) > 0 {
			t.Errorf("%s: the upstream received %q", line, heads)
		}
	}
}
