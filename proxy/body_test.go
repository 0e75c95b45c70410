package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"bearerd/proxy"
)

// wary is an upstream that refuses as many tokens without looking at the body, and
// counts what it receives of those it takes.
type wary struct {
	url      string
	asked    atomic.Int32
	expected atomic.Int32 // requests that asked first
	received atomic.Int64
}

func newWary(t *testing.T, refuse int32, status int, header http.Header) *wary {
	u := &wary{}
	u.url = upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") == "100-continue" {
			u.expected.Add(1)
		}
		if u.asked.Add(1) <= refuse {
			for name, values := range header {
				w.Header()[name] = values
			}
			w.WriteHeader(status)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		u.received.Add(n)
	})
	return u
}

// upload sends a body of that many bytes, whose length is told or not.
func (r *rig) upload(size int, chunked bool) answer {
	r.t.Helper()
	var body io.Reader = strings.NewReader(strings.Repeat("b", size))
	if chunked {
		body = io.MultiReader(body)
	}
	resp, err := client.Post(r.url+"/up/a", "application/octet-stream", body)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text), resp.Close}
}

func TestStream_ATokenRefusedAtItsStartCostsNoUpload(t *testing.T) {
	const size = 4 << 20
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			u := newWary(t, 1, http.StatusUnauthorized, nil)
			s := limited(to(t, u.url), proxy.LimitsConfig{})
			authorizer := &renewing{}
			s.authorizers["up"] = authorizer
			r := newRig(t, s)
			if got := r.upload(size, chunked); got.status != 200 || u.received.Load() != size {
				t.Errorf("answered %d %s, and the upstream has %d bytes, want %d", got.status, got.code(), u.received.Load(), size)
			}
			if u.asked.Load() != 2 || u.expected.Load() != 2 {
				t.Errorf("%d requests, %d of them with Expect, want 2", u.asked.Load(), u.expected.Load())
			}
			if x := r.seen()[0]; x.Sent() != size {
				t.Errorf("%d bytes were sent in all, want %d: the body once", x.Sent(), size)
			}
		})
	}
}

// Who does not know what is expected of it is asked without (RFC 9110 §10.1.1).
func TestStream_AnUpstreamThatWillNotBeAskedIsSentTheBody(t *testing.T) {
	u := newWary(t, 1, http.StatusExpectationFailed, nil)
	r := newRig(t, to(t, u.url))
	if got := r.upload(2<<20, false); got.status != 200 || u.received.Load() != 2<<20 || u.asked.Load() != 2 || u.expected.Load() != 1 {
		t.Errorf("answered %d %s after %d requests, %d with Expect; %d bytes", got.status, got.code(), u.asked.Load(), u.expected.Load(), u.received.Load())
	}
}

// Short bodies are not asked about: an upstream may answer that only after a second.
func TestStream_OnlyLongBodiesAreAskedAbout(t *testing.T) {
	for size, want := range map[int]int32{0: 0, 10: 0, 64 << 10: 0, 1 << 20: 0, 1<<20 + 1: 1} {
		u := newWary(t, 0, 0, nil)
		r := newRig(t, to(t, u.url))
		if got := r.upload(size, false); got.status != 200 || u.expected.Load() != want || u.received.Load() != int64(size) {
			t.Errorf("%d bytes: answered %d, %d asked about, want %d", size, got.status, u.expected.Load(), want)
		}
	}
}

func TestLimits_ABodyThatIsTooLongIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name        string
		limit       proxy.Limit
		size        int
		chunked     bool
		status      int
		contacted   bool
		whichPasses bool
	}{
		{name: "as long as may be", limit: 200_000, size: 200_000, status: 200, contacted: true, whichPasses: true},
		{name: "one longer", limit: 200_000, size: 200_001, status: 413},
		{name: "one longer, short", limit: 10, size: 11, status: 413},
		{name: "one longer, short, of unknown length", limit: 10, size: 11, chunked: true, status: 413},
		{name: "as long as may be, of unknown length", limit: 200_000, size: 200_000, chunked: true, status: 200, contacted: true, whichPasses: true},
		{name: "longer, of unknown length", limit: 200_000, size: 900_000, chunked: true, status: 413, contacted: true},
		{name: "the usual limit", size: 10<<20 + 1, status: 413},
		{name: "no limit", limit: 1 << 62, size: 11 << 20, status: 200, contacted: true, whichPasses: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var whole atomic.Bool
			var contacted atomic.Int32
			url := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
				contacted.Add(1)
				n, err := io.Copy(io.Discard, r.Body)
				whole.Store(err == nil && n == int64(tt.size))
			})
			r := newRig(t, limited(to(t, url), proxy.LimitsConfig{Body: tt.limit}))
			got := r.upload(tt.size, tt.chunked)
			if got.status != tt.status || (got.code() == "body_too_large") != (tt.status == 413) {
				t.Errorf("answered %d %s %s, want %d", got.status, got.code(), got.body, tt.status)
			}
			if n := contacted.Load(); (n > 0) != tt.contacted || n > 1 || whole.Load() != tt.whichPasses {
				t.Errorf("the upstream was asked %d times, and had a body that ended well: %v", n, whole.Load())
			}
			if tt.status == 413 && !got.last {
				t.Error("what is left of the body could be taken for the next request")
			}
		})
	}
}

// How long a body is that is read first, and can be sent again, is the upstream's own.
func TestLimits_Spool(t *testing.T) {
	for spool, want := range map[proxy.Limit]int{1 << 10: 503, 256 << 10: 200} {
		url, _ := refusing(t, 1, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
		s := limited(to(t, url), proxy.LimitsConfig{Spool: spool})
		s.authorizers["up"] = &renewing{}
		r := newRig(t, s)
		if got := r.upload(200<<10, false); got.status != want {
			t.Errorf("spool %v: answered %d %s, want %d", spool, got.status, got.code(), want)
		}
	}
}

// Many callers send all they have before they read. They get to see why it was in vain.
func TestLinger_ACallerThatSendsOnSeesTheAnswer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit proxy.Limit
		code  string
	}{
		{"of bearerd", 1 << 20, "body_too_large"},
		{"of the upstream", 1 << 40, ""},
	} {
		for range 20 {
			url := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			})
			r := newRig(t, limited(to(t, url), proxy.LimitsConfig{Body: tt.limit}))
			const size = 8 << 20
			got := r.raw("PUT /up/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + fmt.Sprint(size) + "\r\n\r\n" + strings.Repeat("b", size))
			if got.status != 413 || got.code() != tt.code {
				t.Fatalf("%s: answered %d %s", tt.name, got.status, got.code())
			}
		}
	}
}
