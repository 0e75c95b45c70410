package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bearerd/proxy"
	"bearerd/test/harness"
)

// overHTTP2 is the same proxy by HTTP/2.
func (r *rig) overHTTP2(t *testing.T) *rig {
	t.Helper()
	listener := r.Listener(0)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.serving.RLock()
		defer r.serving.RUnlock()
		if req.ProtoMajor != 2 {
			t.Errorf("the proxy is spoken %s to", req.Proto)
		}
		listener.ServeHTTP(w, req)
	}))
	server.EnableHTTP2 = true
	server.Config.DisableGeneralOptionsHandler, server.Config.ConnContext = true, proxy.ConnContext
	server.StartTLS()
	t.Cleanup(server.Close)
	via := *client
	via.Transport = server.Client().Transport
	via.Transport.(*http.Transport).DisableCompression = true
	return &rig{Proxy: r.Proxy, t: t, url: server.URL, addr: server.Listener.Addr().String(), via: &via}
}

// frames are a caller of the proxy in HTTP/2.
func (r *rig) frames() *harness.Frames {
	return harness.DialFrames(r.t, r.addr, r.via.Transport.(*http.Transport).TLSClientConfig)
}

// asks is a request in HTTP/2, with more fields or other ones in place of its own.
func asks(method, path string, more ...string) []string {
	fields := []string{":method", method, ":scheme", "https", ":authority", "127.0.0.1", ":path", path}
	for len(more) > 0 && strings.HasPrefix(more[0], ":") {
		at := slices.Index(fields, more[0])
		fields[at+1], more = more[1], more[2:]
	}
	return append(fields, more...)
}

// TestHTTP2_ReadsTheSameToEveryParser has requests of which net/http heeds one half, and
// those that HTTP/1.1 refuses too. None of them harms the next one.
func TestHTTP2_ReadsTheSameToEveryParser(t *testing.T) {
	up := newWire(t)
	r := newRig(t, forwarding(to(t, up.url))).overHTTP2(t)
	const reset = 0
	good := asks("GET", "/up/good")
	post := func(more ...string) []string { return asks("POST", "/up/a", more...) }
	at := func(path string) []string { return asks("GET", path) }
	for _, tt := range []struct {
		name   string
		fields []string
		body   []string // nil: there is none
		status int
		code   string
	}{
		{"a request", good, nil, 204, ""},
		{"the host twice, and the same", asks("GET", "/up/a", "host", "127.0.0.1"), nil, 204, ""},
		{"another host beside it", asks("GET", "/up/a", "host", "evil.example"), nil, 400, "request_ambiguous"},
		{"two hosts beside it", asks("GET", "/up/a", "host", "127.0.0.1", "host", "127.0.0.1"), nil, 400, "request_ambiguous"},
		{"a foreign authority", asks("GET", "/up/a", ":authority", "evil.example"), nil, 421, "host_refused"},
		{"a foreign authority and a host of ours", asks("GET", "/up/a", ":authority", "evil.example", "host", "127.0.0.1"), nil, 400, "request_ambiguous"},
		{"no authority", asks("GET", "/up/a", ":authority", ""), nil, 421, "host_refused"},
		{"a host in place of an authority", asks("GET", "/up/a", ":authority", "", "host", "127.0.0.1"), nil, 204, ""},
		{"an authority with a user", asks("GET", "/up/a", ":authority", "me@127.0.0.1"), nil, reset, ""},
		{"another scheme, which nobody heeds", asks("GET", "/up/a", ":scheme", "http"), nil, 204, ""},

		{"a body", post(), []string{"abc"}, 204, ""},
		{"a body with its length", post("content-length", "3"), []string{"ab", "c"}, 204, ""},
		{"an empty body with its length", post("content-length", "0"), nil, 204, ""},
		{"a length and no body", post("content-length", "3"), nil, 400, "request_ambiguous"},
		{"a length and an empty body", post("content-length", "3"), []string{""}, 400, "body_unreadable"},
		{"a length and a shorter body", post("content-length", "3"), []string{"ab"}, 400, "body_unreadable"},
		{"a length and a longer body", post("content-length", "3"), []string{"abc", "GET /up/b"}, reset, ""},
		{"two lengths", post("content-length", "3", "content-length", "4"), []string{"abc"}, 400, "request_ambiguous"},
		{"a length twice", post("content-length", "3", "content-length", "3"), []string{"abc"}, 400, "request_ambiguous"},
		{"a length that is none", post("content-length", "three"), []string{""}, 400, "request_ambiguous"},
		{"a length with a sign", post("content-length", "+3"), []string{""}, 400, "request_ambiguous"},
		{"a length that begins with 0", post("content-length", "03"), []string{"abc"}, 400, "request_ambiguous"},
		{"a body on a GET", at("/up/a"), []string{"abc"}, 400, "request_ambiguous"},
		{"an empty body on a GET", at("/up/a"), []string{""}, 400, "request_ambiguous"},
		{"trailers announced", post("trailer", "x-a"), []string{"abc"}, 400, "request_ambiguous"},

		{"a path as to a proxy", at("https://evil.example/up/a"), nil, 400, "request_ambiguous"},
		{"a path as to a proxy, of an upstream", at(up.url + "/a"), nil, 400, "request_ambiguous"},
		{"no path", at("*"), nil, 400, "request_ambiguous"},
		{"no path for options", asks("OPTIONS", "*"), nil, 400, "request_ambiguous"},
		{"an empty segment", at("//up/a"), nil, 400, "request_ambiguous"},
		{"dots", at("/up/../up/a"), nil, 400, "request_ambiguous"},
		{"encoded dots", at("/up/%2e%2e/a"), nil, 400, "request_ambiguous"},
		{"a fragment", at("/up/a#b"), nil, 400, "request_ambiguous"},
		{"a space", at("/up/a HTTP/1.1"), nil, 400, "request_ambiguous"},
		{"a line's end", at("/up/a\r\nx: y"), nil, reset, ""},
		{"half an escape", at("/up/%a"), nil, reset, ""},
		{"an encoded slash", at("/up/a%2fb"), nil, 400, "request_ambiguous"},
		{"a path that does not begin", at("up/a"), nil, reset, ""},

		{"a tunnel", []string{":method", "CONNECT", ":authority", "127.0.0.1:80"}, nil, 405, "method_refused"},
		{"TRACE", asks("TRACE", "/up/a"), nil, 405, "method_refused"},
		{"a method in small letters", asks("get", "/up/a"), nil, 405, "method_refused"},
		{"a method with more behind it", asks("GET /up/b HTTP/1.1\t", "/up/a"), nil, 405, "method_refused"},
		{"another method asked for", post("x-http-method-override", "DELETE"), nil, 400, "request_ambiguous"},

		{"a name with an underscore", asks("GET", "/up/a", "x_forwarded_for", "::1"), nil, 400, "request_ambiguous"},
		{"a name in capitals", asks("GET", "/up/a", "X-A", "b"), nil, reset, ""},
		{"a name with a colon", asks("GET", "/up/a", "x:a", "b"), nil, reset, ""},
		{"a value with a line's end", asks("GET", "/up/a", "x-a", "b\r\nauthorization: c"), nil, reset, ""},
		{"a value that is not UTF-8", asks("GET", "/up/a", "x-a", "\xff"), nil, 400, "request_ambiguous"},
		{"a connection's own header", asks("GET", "/up/a", "connection", "close"), nil, 400, ""},
		{"chunks", post("transfer-encoding", "chunked"), []string{"3\r\nabc\r\n0\r\n\r\n"}, 400, ""},
		{"an upgrade", asks("GET", "/up/a", "upgrade", "h2c"), nil, 400, ""},
		{"a pseudo-header twice", append(good, ":path", "/up/b"), nil, reset, ""},
		{"a pseudo-header behind the others", asks("GET", "/up/a", "x-a", "b", ":path", "/up/b"), nil, reset, ""},
		{"a pseudo-header that there is not", append([]string{":user", "me"}, good...), nil, reset, ""},
		{"201 fields", asks("GET", "/up/a", strings.Split(strings.Repeat("a,b,", 201), ",")[:402]...), nil, 431, "request_too_long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			f := r.frames()
			f.Ask(1, tt.body != nil, tt.fields...)
			for i, piece := range tt.body {
				end := byte(0)
				if i == len(tt.body)-1 {
					end = harness.EndStream
				}
				f.Send(harness.FrameData, end, 1, []byte(piece))
			}
			got := f.Answered(1)
			if got.Status != tt.status || !strings.Contains(got.Body, tt.code) || (got.Reset != nil) != (tt.status == reset) && !got.Ended {
				t.Errorf("answered %+v, want %d %s", *got, tt.status, tt.code)
			}
			if arrived := up.received(); (len(arrived) == 1) != (tt.status == 204) {
				t.Errorf("the upstream received %q", arrived)
			}
			f.Ask(3, false, good...)
			if next := f.Answered(3); next.Status != 204 || f.GoneAway != nil {
				t.Errorf("the next one was answered %+v, and the connection's end is %+v", *next, f.GoneAway)
			}
			up.received()
		})
	}
}

// TestHTTP2_TrailersThatNobodyAnnouncedEndHere: net/http does not tell of them, and so
// they cannot be refused as in HTTP/1.1.
func TestHTTP2_TrailersThatNobodyAnnouncedEndHere(t *testing.T) {
	up := newWire(t)
	f := newRig(t, to(t, up.url)).overHTTP2(t).frames()
	f.Ask(1, true, asks("POST", "/up/a")...)
	f.Send(harness.FrameData, 0, 1, []byte("abc"))
	f.Send(harness.FrameHeaders, harness.EndHeaders|harness.EndStream, 1, harness.HeaderBlock("authorization", "Bearer attacker", "x-a", "b"))
	if got := f.Answered(1); got.Status != 204 {
		t.Errorf("answered %+v, want 204", *got)
	}
	if heads := up.received(); len(heads) != 1 || strings.Contains(heads[0], "attacker") || strings.Contains(heads[0], "X-A") || strings.Contains(heads[0], "chunked") {
		t.Errorf("the upstream received %q", heads)
	}
}

// TestHTTP2_OneConnectionIsEnough for bodies of every kind, answered at their end or
// before it.
func TestHTTP2_OneConnectionIsEnough(t *testing.T) {
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			w.WriteHeader(http.StatusForbidden)
			return
		case "/via":
			_, _ = io.WriteString(w, r.Header.Get("Via")+r.Header.Get("Host"))
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strconv.FormatInt(n, 10))
	})
	r := newRig(t, limited(to(t, url), proxy.LimitsConfig{Body: 4 << 20})).overHTTP2(t)
	if got := r.do("GET", "/up/via", ""); !strings.HasPrefix(got.body, "2 bearerd-") || strings.Contains(got.body, ",") {
		t.Errorf("the upstream is told that it came via %q", got.body)
	}
	connections := map[net.Addr]bool{}
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { connections[info.Conn.LocalAddr()] = true }})
	for _, size := range []int{0, 3, 64 << 10, 3 << 20, 5 << 20} {
		for _, path := range []string{"/up/all", "/up/early", "/none"} {
			for _, told := range []bool{true, false} {
				var body io.Reader = strings.NewReader(strings.Repeat("b", size))
				if !told {
					body = io.MultiReader(body)
				}
				req, err := http.NewRequestWithContext(ctx, "PUT", r.url+path, body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := r.via.Do(req)
				if err != nil {
					t.Fatalf("%d bytes to %s: %v", size, path, err)
				}
				said, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				want := map[string]int{"/up/all": 200, "/up/early": 403, "/none": 404}[path]
				if size > 4<<20 && want != 404 {
					want = 413
				}
				if resp.StatusCode != want && !(want == 413 && resp.StatusCode == 403) || err != nil || want == 200 && string(said) != strconv.Itoa(size) {
					t.Errorf("%d bytes to %s were answered %d %q (%v), want %d", size, path, resp.StatusCode, said, err, want)
				}
			}
		}
	}
	if len(connections) != 1 {
		t.Errorf("it took %d connections, want one", len(connections))
	}
}

// TestHTTP2_WhatHasNoBodyHasNoLength: servers say one with 304, as they may, and some
// with 204. To curl and Go the answer would be cut short.
func TestHTTP2_WhatHasNoBodyHasNoLength(t *testing.T) {
	said := map[string]string{"/none": "204 No Content", "/same": "304 Not Modified", "/head": "200 OK"}
	plain := newRig(t, to(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 "+said[r.URL.Path]+"\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
		_ = conn.Close()
	})))
	two := plain.overHTTP2(t)
	for _, tt := range []struct{ method, path, length string }{
		{"GET", "/none", ""}, {"GET", "/same", ""}, {"HEAD", "/same", ""}, {"HEAD", "/head", "5"},
	} {
		for _, r := range []*rig{plain, two} {
			got := r.do(tt.method, "/up"+tt.path, "")
			if length := got.header.Get("Content-Length"); !strings.HasPrefix(said[tt.path], strconv.Itoa(got.status)) || length != tt.length {
				t.Errorf("%s %s at %s: answered %d with length %q, want %q", tt.method, tt.path, r.url, got.status, length, tt.length)
			}
		}
	}
}

// TestHTTP2_OneStreamsEndIsNotTheOthers: an answer that breaks off, and a caller that
// leaves one.
func TestHTTP2_OneStreamsEndIsNotTheOthers(t *testing.T) {
	goOn, left := make(chan bool), make(chan error, 1)
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		_ = http.NewResponseController(w).Flush()
		switch r.URL.Path {
		case "/broken":
			<-goOn
			panic(http.ErrAbortHandler)
		case "/left":
			<-r.Context().Done()
			left <- r.Context().Err()
		default:
			<-goOn
			_, _ = io.WriteString(w, "thing")
		}
	})
	plain := newRig(t, to(t, url))
	r := plain.overHTTP2(t)
	f := r.frames()
	f.Ask(1, false, asks("GET", "/up/broken")...)
	f.Ask(3, false, asks("GET", "/up/left")...)
	f.Ask(5, false, asks("GET", "/up/whole")...)
	f.Until(func() bool {
		for _, stream := range []uint32{1, 3, 5} {
			if f.Streams[stream] == nil || f.Streams[stream].Body != "some" {
				return false
			}
		}
		return true
	})
	const cancel = 8
	f.Send(harness.FrameReset, 0, 3, []byte{0, 0, 0, cancel})
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("of the caller that left the upstream hears %v", err)
	}
	goOn <- true
	goOn <- true
	if broken := f.Answered(1); broken.Ended || broken.Reset == nil || *broken.Reset == 0 || broken.Body != "some" {
		t.Errorf("an answer that broke off seems to be %+v", *broken)
	}
	if whole := f.Answered(5); !whole.Ended || whole.Body != "something" {
		t.Errorf("beside it came %+v", *whole)
	}
	if f.GoneAway != nil {
		t.Errorf("and the connection goes away: %+v", *f.GoneAway)
	}
	told := map[string]string{}
	for _, x := range plain.seen() {
		told[x.Path] = strconv.Itoa(x.Status) + " " + errorText(x.Err)
	}
	for path, want := range map[string]string{"/broken": "200 upstream up broke its answer off", "/left": "200 the answer broke off", "/whole": "200 "} {
		if !strings.HasPrefix(told[path], want) {
			t.Errorf("the log has %q of %s, want %q", told[path], path, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestHTTP2_WhoLeavesBeforeTheAnswerIsLoggedSo, and the upstream is let go of.
func TestHTTP2_WhoLeavesBeforeTheAnswerIsLoggedSo(t *testing.T) {
	asked, left := make(chan bool), make(chan bool)
	plain := newRig(t, to(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
		left <- true
	})))
	f := plain.overHTTP2(t).frames()
	f.Ask(1, false, asks("GET", "/up/a")...)
	<-asked
	f.Send(harness.FrameReset, 0, 1, []byte{0, 0, 0, 8})
	<-left
	if x := plain.seen()[0]; x.Status != 499 {
		t.Errorf("the log has %d, want 499", x.Status)
	}
}

// TestHTTP2_ADrainIsTold to who asks meanwhile.
func TestHTTP2_ADrainIsTold(t *testing.T) {
	r := newRig(t, to(t, newWire(t).url)).overHTTP2(t)
	f := r.frames()
	r.Drain()
	f.Ask(1, false, asks("GET", "/up/a")...)
	if got := f.Answered(1); got.Status != 204 {
		t.Errorf("answered %+v, want 204", *got)
	}
	f.Until(func() bool { return f.GoneAway != nil })
	if f.GoneAway == nil || *f.GoneAway != (harness.GoneAway{Last: 1}) {
		t.Errorf("told %+v, want that stream 1 is the last", f.GoneAway)
	}
}
