package proxy_test

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bearerd/credentials"
	"bearerd/proxy"
)

// versions runs a test in front of an upstream that speaks HTTP/1.1, and of one that
// speaks HTTP/2; with what is changed of how it is configured.
func versions(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, r *rig), changes ...func(*proxy.UpstreamConfig)) {
	changed := func(s settings, up proxy.UpstreamConfig) settings {
		for _, change := range changes {
			change(&up)
		}
		s.upstreams["up"] = up
		return s
	}
	t.Run("HTTP/1.1", func(t *testing.T) {
		s := to(t, upstream(t, handler))
		test(t, newRig(t, changed(s, s.upstreams["up"])))
	})
	t.Run("HTTP/2", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("the upstream is spoken %s to", r.Proto)
			}
			handler(w, r)
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		test(t, newRig(t, changed(to(t, server.URL), proxy.UpstreamConfig{
			URL: server.URL, Private: true,
			TLS: credentials.TLSConfig{CA: credentials.Reference("file:" + file)}, Tuning: proxy.TuningConfig{HTTP2: true},
		})))
	})
}

// heads returns the status lines and headers of all that comes in answer to a request
// that is the last of its connection, and the text as a whole.
func (r *rig) heads(request string) (statuses []string, text string) {
	r.t.Helper()
	conn, err := net.Dial("tcp4", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, request)
	all, err := io.ReadAll(conn)
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		if strings.HasPrefix(line, "HTTP/1.1 ") {
			statuses = append(statuses, strings.TrimSpace(line))
		}
	}
	return statuses, string(all)
}

const last = "GET /up/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

func TestAnswers_BeforeTheAnswerReachNobody(t *testing.T) {
	versions(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, status := range []int{http.StatusEarlyHints, http.StatusProcessing, http.StatusContinue} {
			w.Header().Set("Set-Cookie", "a=b")
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Link", "</x>; rel=preload")
			w.WriteHeader(status)
		}
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "the answer")
	}, func(t *testing.T, r *rig) {
		statuses, text := r.heads(last)
		if len(statuses) != 1 || statuses[0] != "HTTP/1.1 200 OK" || !strings.HasSuffix(text, "\r\n\r\nthe answer") {
			t.Errorf("the caller gets %q:\n%s", statuses, text)
		}
		for _, name := range []string{"Set-Cookie", "Access-Control", "Link"} {
			if strings.Contains(text, name) {
				t.Errorf("the caller is told %s", name)
			}
		}
	})
}

// An upstream that never comes to the point is not listened to for long, and is not
// asked again.
func TestAnswers_BeforeTheAnswerHaveABound(t *testing.T) {
	const flood = 1_500_000
	var given, asked atomic.Int64
	versions(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Set-Cookie", "a=b")
		for range flood {
			if r.Context().Err() != nil {
				return
			}
			w.WriteHeader(http.StatusEarlyHints)
			given.Add(1)
		}
	}, func(t *testing.T, r *rig) {
		given.Store(0)
		asked.Store(0)
		statuses, text := r.heads(last)
		if len(statuses) != 1 || !strings.Contains(text, "Bearerd-Error: upstream_invalid\r\n") || asked.Load() != 1 {
			t.Errorf("after %d requests the caller gets %q:\n%s", asked.Load(), statuses, text)
		}
		// What was given when the connection ended was on its way, in the kernel at most.
		if n := given.Load(); n > 200_000 {
			t.Errorf("%d early hints were taken", n)
		}
	})
}

// Over HTTP/2 trailers come behind an answer whose length was told, too.
func TestAnswers_OfEitherVersionLoseTheirTrailers(t *testing.T) {
	versions(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Set-Cookie")
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "4")
		}
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set(http.TrailerPrefix+"Bearerd-Error", "denied")
	}, func(t *testing.T, r *rig) {
		for _, path := range []string{"/length", "/none"} {
			_, text := r.heads(strings.Replace(last, "/a ", path+" ", 1))
			for _, name := range []string{"Set-Cookie", "Bearerd-Error", "Trailer"} {
				if strings.Contains(text, name) {
					t.Errorf("%s: the caller is told %s:\n%s", path, name, text)
				}
			}
			if !strings.Contains(text, "body") || path == "/none" && !strings.HasSuffix(text, "body\r\n0\r\n\r\n") {
				t.Errorf("%s: the caller gets\n%s", path, text)
			}
		}
	})
}

// TestAnswers_WithTheCredentialAreStopped: a page for debugging, or a redirect that
// carries it on, would show it to who must not have it.
func TestAnswers_WithTheCredentialAreStopped(t *testing.T) {
	escaped := ""
	for _, b := range []byte(stamped) {
		escaped += fmt.Sprintf("%%%02x", b)
	}
	for _, tt := range []struct{ name, header, value string }{
		{"as it was sent", "X-Echo", "Bearer " + stamped},
		{"in the middle of something", "X-Debug", `{"authorization":"Bearer ` + stamped + `","a":1}`},
		{"in a redirect", "Location", "https://elsewhere.example/login?access_token=" + stamped + "&a=b"},
		{"in a redirect, encoded", "Location", "https://elsewhere.example/?t=" + escaped},
		{"in a redirect, partly encoded", "Location", "/x?t=" + stamped[:3] + url.QueryEscape(string(stamped[3])) + fmt.Sprintf("%%%02X", stamped[4]) + stamped[5:]},
		{"in a link", "Link", "</x?t=" + stamped + ">; rel=next"},
		{"in a header that is dropped anyway", "Set-Cookie", "token=" + stamped},
		{"in a header that has others before it", "Vary", stamped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			versions(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Add(tt.header, "harmless")
				w.Header().Add(tt.header, tt.value)
				w.WriteHeader(http.StatusFound)
				_, _ = io.WriteString(w, "the body")
			}, func(t *testing.T, r *rig) {
				got := r.do("GET", "/up/a", "")
				if got.status != http.StatusBadGateway || got.code() != "upstream_invalid" || got.header.Get(tt.header) != "" {
					t.Errorf("answered %d %s with %v", got.status, got.code(), got.header)
				}
				if all := lines(got.header) + got.body; strings.Contains(all, stamped) || strings.Contains(all, escaped) || strings.Contains(all, "the body") {
					t.Errorf("the caller is told\n%s", all)
				}
				x := r.seen()[0]
				if !strings.Contains(x.Warning, "header "+tt.header) || strings.Contains(x.Warning, stamped) || strings.Contains(fmt.Sprint(x.Err), stamped) {
					t.Errorf("the log is told %q and %v, want the header's name alone", x.Warning, x.Err)
				}
			})
		})
	}
}

// An answer of another request's credential, or of part of this one, is nobody's secret here.
func TestAnswers_ThatLookLikeTheCredentialPass(t *testing.T) {
	versions(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-A", stamped[:len(stamped)-1]+" Bearer %zz"+strings.ToLower(stamped))
	}, func(t *testing.T, r *rig) {
		if got := r.do("GET", "/up/a", ""); got.status != 200 || r.seen()[0].Warning != "" {
			t.Errorf("answered %d %s", got.status, got.code())
		}
	})
}

// The connection of an upstream that was stopped is not used again.
func TestAnswers_BeforeTheAnswerEndTheirConnection(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	written := make(chan int64, 2)
	serving.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		if _, err = http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		hints, sum := []byte(strings.Repeat("HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b\r\n\r\n", 1000)), int64(0)
		for err == nil {
			var n int
			n, err = conn.Write(hints)
			sum += int64(n)
		}
		written <- sum
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	r := newRig(t, to(t, "http://"+l.Addr().String()))
	if got := r.do("POST", "/up/a", "x"); got.code() != "upstream_invalid" {
		t.Errorf("answered %d %s", got.status, got.code())
	}
	sum := <-written
	if sum > 16<<20 {
		t.Errorf("%d MiB of early hints went out", sum>>20)
	}
	t.Logf("%d KiB of early hints went out before the end", sum>>10)
}
