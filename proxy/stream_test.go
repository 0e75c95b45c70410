package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"bearerd/proxy"
)

// TestStream_EachPieceReachesTheCallerAtOnce: the upstream sends a piece only
// when the caller has the one before, so whatever holds one back stops both.
func TestStream_EachPieceReachesTheCallerAtOnce(t *testing.T) {
	pieces := []string{"data: one\n\n", "data: two\n\n", "data: [DONE]\n\n"}
	const prompt = `{"model":"m","stream":true}`
	for _, tt := range []struct {
		name, method, contentType string
		packed                    bool
		length                    int64 // -1: it is not said
	}{
		{"events", "GET", "text/event-stream", false, -1},
		{"events with a charset", "GET", "text/event-stream; charset=utf-8", false, -1},
		{"events that end somewhere", "GET", "text/event-stream", false, int64(len(strings.Join(pieces, "")))},
		{"events, packed", "GET", "text/event-stream", true, -1},
		{"chunks", "GET", "application/x-ndjson", false, -1},
		{"chunks, packed", "GET", "application/json", true, -1},
		{"an answer to a prompt", "POST", "text/event-stream", false, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			has := make(chan struct{}, len(pieces)+1) // the caller has what was sent
			url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); r.Method == "POST" && string(body) != prompt {
					t.Errorf("the upstream received %q", body)
				}
				w.Header().Set("Content-Type", tt.contentType)
				if tt.length >= 0 {
					w.Header().Set("Content-Length", strconv.FormatInt(tt.length, 10))
				}
				var out io.Writer = w
				pack := func() error { return nil }
				if tt.packed {
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					defer func() { _ = z.Close() }()
					out, pack = z, z.Flush
				}
				for i := range len(pieces) + 1 { // the first is the head alone
					if i > 0 {
						_, _ = io.WriteString(out, pieces[i-1])
						_ = pack()
					}
					_ = http.NewResponseController(w).Flush()
					select {
					case <-has:
					case <-ctx.Done():
						return
					}
				}
			})
			r := newRig(t, to(t, url))
			req, err := http.NewRequestWithContext(ctx, tt.method, r.url+"/up/a", nil)
			if tt.method == "POST" {
				req, err = http.NewRequestWithContext(ctx, tt.method, r.url+"/up/a", strings.NewReader(prompt))
			}
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("the answer's head did not come: %v", err)
			}
			defer func() { _ = resp.Body.Close() }()
			if got := resp.Header.Get("Content-Type"); got != tt.contentType || resp.ContentLength != tt.length {
				t.Errorf("Content-Type %q of %d bytes, want %q of %d", got, resp.ContentLength, tt.contentType, tt.length)
			}
			has <- struct{}{}
			var in io.Reader = resp.Body
			for i, want := range pieces {
				if tt.packed && i == 0 {
					if in, err = gzip.NewReader(in); err != nil {
						t.Fatalf("the first piece did not come: %v", err)
					}
				}
				got := make([]byte, len(want))
				if n, err := io.ReadFull(in, got); err != nil || string(got) != want {
					t.Fatalf("piece %d is %q (%v), want %q before the next is sent", i, got[:n], err, want)
				}
				has <- struct{}{}
			}
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				t.Errorf("after the last piece came %q (%v), want the end", rest, err)
			}
		})
	}
}

// A generated answer costs until it is stopped.
func TestStream_EndsAtTheUpstreamWhenTheCallerLeaves(t *testing.T) {
	ended := make(chan error, 1)
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			ended <- nil
		case <-time.After(10 * time.Second):
			ended <- fmt.Errorf("the upstream's request outlived the caller")
		}
	})
	r := newRig(t, to(t, url))
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "POST", r.url+"/up/a", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	_ = resp.Body.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// library is an upstream with a file, as a web server serves one, and with
// answers that are easily spoiled.
func library(packed []byte) http.HandlerFunc {
	const file = "0123456789abcdefghijklmnopqrstuvwxyz"
	answers := map[string]func(w http.ResponseWriter){
		"/packed": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Length", fmt.Sprint(len(packed)))
			w.Header().Set("Vary", "Accept-Encoding")
			_, _ = w.Write(packed)
		},
		"/404": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "{\"code\":\"ClientError.NotFound\"}\n\n")
		},
		"/409": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, "<h1>\xff\x00no</h1>")
		},
		"/422": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"detail":[{"loc":["body"]}]}`)
		},
		"/429": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"/204": func(w http.ResponseWriter) {
			w.Header().Set("ETag", `"v2"`)
			w.Header().Set("Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT")
			w.WriteHeader(http.StatusNoContent)
		},
		"/201": func(w http.ResponseWriter) {
			w.Header().Set("Content-Location", "v2")
			w.Header().Set("Content-Digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusCreated)
		},
		"/part": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 3-9/%d", len(packed)))
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(packed[3:10])
		},
		"/long": func(w http.ResponseWriter) {
			w.Header().Set("ETag", `"v3"`)
			w.Header().Set("Content-Type", "application/octet-stream")
			for range 100 {
				_, _ = w.Write(bytes.Repeat([]byte{0, '\r', '\n', 0xff}, 1000))
				_ = http.NewResponseController(w).Flush()
			}
		},
		"/untyped": func(w http.ResponseWriter) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<html>what is this</html>")
		},
		"/cached": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "IMAGE/x-Odd ;a=b")
			w.Header().Set("Cache-Control", "private, max-age=5")
			w.Header().Set("Expires", "0")
			w.Header().Set("Age", "3")
			w.Header().Add("Link", "<a>; rel=next")
			w.Header().Add("Link", "<b>; rel=last")
			w.Header().Set("Server", "theirs/1")
			w.WriteHeader(http.StatusNonAuthoritativeInfo)
		},
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if answer, ok := answers[r.URL.Path]; ok {
			answer(w)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Type", "application/x-file")
		w.Header().Set("Content-Disposition", `attachment; filename="größe.bin"`)
		http.ServeContent(w, r, "file", time.Unix(1_000_000_000, 0), strings.NewReader(file))
	}
}

// boundary is what multipart/byteranges makes up anew for each answer.
var boundary = regexp.MustCompile(`[0-9a-f]{60}`)

// exactly is a request, and what the answer to it is known by.
type exactly struct {
	name, method, path string
	header             []string
	status             int
	want               string // a header that makes the answer what it is
}

// TestStream_AnswersAreThoseOfTheUpstream asks the upstream itself, too: tools
// must not be able to tell the two apart.
func TestStream_AnswersAreThoseOfTheUpstream(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, `{"a":1}`)
	_ = z.Close()
	direct := &rig{t: t, url: upstream(t, library(packed.Bytes()))}
	rows := []exactly{
		{"the file", "GET", "/file", nil, 200, "Content-Length: 36"},
		{"its head", "HEAD", "/file", nil, 200, "Content-Length: 36"},
		{"a range", "GET", "/file", []string{"Range", "bytes=10-19"}, 206, "Content-Range: bytes 10-19/36"},
		{"the end", "GET", "/file", []string{"Range", "bytes=-6"}, 206, "Content-Range: bytes 30-35/36"},
		{"a range's head", "HEAD", "/file", []string{"Range", "bytes=10-19"}, 206, "Content-Length: 10"},
		{"several ranges", "GET", "/file", []string{"Range", "bytes=0-1,5-6"}, 206, "Content-Type: multipart/byteranges; boundary=B"},
		{"a range behind the end", "GET", "/file", []string{"Range", "bytes=99-"}, 416, "Content-Range: bytes */36"},
		{"a range of the same version", "GET", "/file", []string{"Range", "bytes=1-2", "If-Range", `"v1"`}, 206, "Content-Range: bytes 1-2/36"},
		{"a range of another version", "GET", "/file", []string{"Range", "bytes=1-2", "If-Range", `"v0"`}, 200, "Content-Length: 36"},
		{"the same version", "GET", "/file", []string{"If-None-Match", `"v1"`}, 304, `Etag: "v1"`},
		{"the same version's head", "HEAD", "/file", []string{"If-None-Match", `W/"v1"`}, 304, `Etag: "v1"`},
		{"another version", "GET", "/file", []string{"If-None-Match", `"v0"`}, 200, `Etag: "v1"`},
		{"not modified since", "GET", "/file", []string{"If-Modified-Since", "Sun, 09 Sep 2001 01:46:40 GMT"}, 304, `Etag: "v1"`},
		{"a failed precondition", "GET", "/file", []string{"If-Match", `"v0"`}, 412, `Etag: "v1"`},
		{"packed bytes", "GET", "/packed", []string{"Accept-Encoding", "gzip"}, 200, "Content-Encoding: gzip"},
		{"packed bytes nobody asked for", "GET", "/packed", nil, 200, "Content-Encoding: gzip"},
		{"their 404", "GET", "/404", nil, 404, "Content-Type: application/json; charset=UTF-8"},
		{"their 409", "POST", "/409", nil, 409, "Content-Type: text/html"},
		{"their 422", "PUT", "/422", nil, 422, "Content-Type: application/problem+json"},
		{"their 429", "GET", "/429", nil, 429, "Retry-After: 7"},
		{"an odd type, and headers that come twice", "GET", "/cached", nil, 203, "Content-Type: IMAGE/x-Odd ;a=b"},
		{"no type at all", "GET", "/untyped", nil, 200, "Content-Length: 25"},
		{"nothing", "DELETE", "/204", nil, 204, `Etag: "v2"`},
		{"something new", "POST", "/201", nil, 201, "Content-Location: v2"},
		{"part of what is packed", "GET", "/part", nil, 206, "Content-Encoding: gzip"},
		{"what has no length", "GET", "/long", nil, 200, `Etag: "v3"`},
		{"its head, which has none either", "HEAD", "/long", nil, 200, `Etag: "v3"`},
	}
	versions(t, library(packed.Bytes()), func(t *testing.T, r *rig) {
		for name, way := range map[string]*rig{"TCP": r, "unix": r.overUnix(t), "TLS": r.overTLS(t), "HTTP/2": r.overHTTP2(t)} {
			for _, tt := range rows {
				t.Run(name+"/"+tt.name, func(t *testing.T) { sameAnswer(t, way, direct, tt) })
			}
		}
	})
}

// sameAnswer asks both.
func sameAnswer(t *testing.T, way, direct *rig, tt exactly) {
	got, want := way.do(tt.method, "/up"+tt.path, "", tt.header...), direct.do(tt.method, tt.path, "", tt.header...)
	if got.status != tt.status || got.status != want.status {
		t.Errorf("answered %d and the upstream %d, want %d", got.status, want.status, tt.status)
	}
	if headers := lines(got.header); !strings.Contains(headers, tt.want+"\r\n") {
		t.Errorf("the headers are\n%swant one to be %s", headers, tt.want)
	}
	if got, want := lines(got.header), lines(expected(want.header)); got != want {
		t.Errorf("the headers are\n%sand the upstream's\n%s", got, want)
	}
	if got, want := boundary.ReplaceAllString(got.body, "B"), boundary.ReplaceAllString(want.body, "B"); got != want {
		t.Errorf("the body is %q and the upstream's %q", got, want)
	}
}

// overUnix is the same proxy by a unix socket.
func (r *rig) overUnix(t *testing.T) *rig {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r.Listener(0))
	_ = server.Listener.Close()
	server.Listener, server.Config.ConnContext = l, proxy.ConnContext
	server.Start()
	t.Cleanup(server.Close)
	transport := client.Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	via := *client
	via.Transport = transport
	return &rig{Proxy: r.Proxy, t: t, url: r.url, via: &via}
}

// overTLS is the same proxy by TLS.
func (r *rig) overTLS(t *testing.T) *rig {
	t.Helper()
	server := httptest.NewUnstartedServer(r.Listener(0))
	server.StartTLS()
	t.Cleanup(server.Close)
	via := *client
	via.Transport = server.Client().Transport
	via.Transport.(*http.Transport).DisableCompression = true
	return &rig{Proxy: r.Proxy, t: t, url: server.URL, via: &via}
}

// expected is what bearerd makes of an upstream's headers.
func expected(h http.Header) http.Header {
	h = h.Clone()
	h.Del("Server")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	return h
}

// lines are headers as on the wire, sorted, but for the clock's and the connection's.
func lines(h http.Header) string {
	var b strings.Builder
	_ = h.WriteSubset(&b, map[string]bool{"Date": true, "Connection": true})
	return boundary.ReplaceAllString(b.String(), "B")
}

// Answers without a body must leave the connection where the next one begins.
func TestStream_NothingFollowsTheHeadOfAnAnswerWithoutBody(t *testing.T) {
	r := newRig(t, to(t, upstream(t, library(nil))))
	for _, tt := range []struct {
		method, header string
		status         int
	}{
		{"HEAD", "", 200},
		{"HEAD", "Range: bytes=0-3\r\n", 206},
		{"GET", "If-None-Match: \"v1\"\r\n", 304},
	} {
		conn, err := net.Dial("tcp4", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a hang is a failure, not a wait
		in := bufio.NewReader(conn)
		_, _ = io.WriteString(conn, tt.method+" /up/file HTTP/1.1\r\nHost: localhost\r\n"+tt.header+"\r\n")
		_, _ = io.WriteString(conn, "GET /up/404 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		for _, want := range []struct {
			method string
			status int
		}{{tt.method, tt.status}, {"GET", 404}} {
			resp, err := http.ReadResponse(in, &http.Request{Method: want.method})
			if err != nil {
				t.Fatalf("%s %q: then %s is answered with no HTTP: %v", tt.method, tt.header, want.method, err)
			}
			if resp.StatusCode != want.status {
				t.Errorf("%s %q: answered %d, want %d", tt.method, tt.header, resp.StatusCode, want.status)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		_ = conn.Close()
	}
}

// What a tool can unpack is for it to say. That none is added is in
// TestForward_CallersIdentityEndsHere.
func TestStream_AcceptEncodingPassesAsSent(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	for _, header := range []string{
		"Accept-Encoding: gzip\r\n", "Accept-Encoding: gzip, deflate, br;q=0.5\r\n", "Accept-Encoding: identity\r\n",
		"Accept-Encoding: *;q=0\r\n", "Accept-Encoding: gzip\r\nAccept-Encoding: zstd\r\n", "Accept-Encoding: \r\n",
	} {
		r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\n" + header + "\r\n")
		for _, head := range w.received() {
			if !strings.Contains(head, "\r\n"+header) || strings.Count(head, "Accept-Encoding") != strings.Count(header, "Accept-Encoding") {
				t.Errorf("with %q the upstream received\n%s", header, head)
			}
		}
	}
}

// TestErrors_HeadIsToldWhatGetIs: with HEAD the code is all there is to go by.
func TestErrors_HeadIsToldWhatGetIs(t *testing.T) {
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	s := to(t, newWire(t).url)
	s.upstreams["gone"] = proxy.UpstreamConfig{URL: "http://" + gone.Addr().String(), InsecureHTTP: true, Private: true}
	s.authorizers["gone"] = staticToken(t)
	s.rules = anything("up", "gone")
	s.rules[0].Paths = []string{"/a"}
	r := newRig(t, s)
	for _, tt := range []struct {
		code, path string
		header     []string
	}{
		{"no_upstream", "/nowhere", nil},
		{"denied", "/up/b", nil},
		{"host_refused", "/up/a", []string{"Host", "evil.example"}},
		{"browser_refused", "/up/a", []string{"Origin", "https://evil.example"}},
		{"request_ambiguous", "/up/a", []string{"X-HTTP-Method", "DELETE"}},
		{"request_too_long", "/up/" + strings.Repeat("a", 5000), nil},
		{"upstream_unreachable", "/gone/a", nil},
	} {
		for _, accept := range []string{"*/*", "application/json"} {
			header := append([]string{"Accept", accept}, tt.header...)
			get, head := r.do("GET", tt.path, "", header...), r.do("HEAD", tt.path, "", header...)
			if get.code() != tt.code || head.code() != tt.code || head.status != get.status {
				t.Errorf("%s: GET answered %d %s, HEAD %d %s", tt.code, get.status, get.code(), head.status, head.code())
			}
			for _, name := range []string{"Content-Type", "Retry-After", "Cache-Control"} {
				if got, want := head.header.Get(name), get.header.Get(name); got != want {
					t.Errorf("%s: HEAD has %s %q, GET %q", tt.code, name, got, want)
				}
			}
			if head.header.Get("Content-Length") == "" || head.body != "" || get.body == "" {
				t.Errorf("%s: HEAD has %q and Content-Length %q, want the length alone", tt.code, head.body, head.header.Get("Content-Length"))
			}
		}
	}
}
