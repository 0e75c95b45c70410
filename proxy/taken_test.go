package proxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/test/harness"
)

// proxyInMemory is a proxy in front of one upstream "up", which are both in memory.
func proxyInMemory(t *testing.T, upstream http.HandlerFunc) *Proxy {
	t.Helper()
	token, err := credentials.AccessToken(credentials.NewSecret("AgStaticTestToken"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Listeners = []ListenerConfig{{Address: "localhost:8080"}}
	cfg.Upstreams = map[string]UpstreamConfig{"up": {URL: "http://up.example", InsecureHTTP: true}}
	cfg.Resolve(mistakes{t})
	rules := []policy.RuleConfig{{Name: "all", Callers: []string{policy.Local}, Upstreams: []string{"up"}, Methods: []string{"GET", "POST"}, Paths: []string{"/**"}}}
	deps := Deps{
		Authorizer: func(string) (credentials.Authorizer, bool) { return token, true },
		Policy:     policy.New(policy.Config{Rules: rules}, map[string]policy.Upstream{"up": {}}, mistakes{t}),
	}
	p := New(cfg, deps, cfg.Bind(rules, mistakes{t}))
	t.Cleanup(p.Close)
	served := newPipes()
	served.serve(t, upstream)
	connectBy(p.table.Load().upstreams["up"].way.wire, served.dial)
	return p
}

// inHTTP2 is a caller of the proxy in HTTP/2.
func inHTTP2(t *testing.T, p *Proxy) *harness.Frames {
	t.Helper()
	authority := harness.NewAuthority(t)
	pair, err := tls.X509KeyPair(bytesOf(authority.IssueServer()))
	if err != nil {
		t.Fatal(err)
	}
	callers := newPipes()
	server := &http.Server{Handler: p.Listener(0)}
	ended := make(chan struct{})
	go func() { // until the test ends
		_ = server.Serve(tls.NewListener(callers, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}))
		close(ended)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	conn, err := callers.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	f := harness.NewFrames(t, tls.Client(conn, &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", NextProtos: []string{"h2"}}))
	f.Greet()
	more(f, 0, 1<<30) // of all streams together
	return f
}

func bytesOf(a, b string) ([]byte, []byte) { return []byte(a), []byte(b) }

// more lets so many bytes more of a stream come.
func more(f *harness.Frames, stream uint32, bytes int) {
	f.Send(harness.FrameWindowUpdate, 0, stream, binary.BigEndian.AppendUint32(nil, uint32(bytes)))
}

// TestHTTP2_OnlyAStreamThatNobodyTakesIsLetGoOf in virtual time.
func TestHTTP2_OnlyAStreamThatNobodyTakesIsLetGoOf(t *testing.T) {
	const long = 1 << 20
	for _, tt := range []struct {
		name    string
		path    string
		window  uint32 // of each stream, at first
		each    int    // bytes that the caller takes a second, from then on
		whole   int    // bytes that come; 0: it is reset
		atLeast time.Duration
	}{
		{"a long answer that is not read", "/long", 64 << 10, 0, 0, takeTime},
		{"a short one that is not read", "/short", 0, 0, 0, takeTime},
		{"events that are not read", "/events", 1 << 10, 0, 0, takeTime},
		{"one that is read too slowly", "/long", 64 << 10, 512, 0, takeTime},
		{"one that is read slowly", "/long", 64 << 10, 2 << 10, long, 8 * time.Minute},
		{"events that come slowly", "/slow", 64 << 10, 0, 8, 16 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := inHTTP2(t, proxyInMemory(t, func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/long":
						_, _ = io.WriteString(w, strings.Repeat("x", long))
					case "/events":
						w.Header().Set("Content-Type", "text/event-stream")
						for r.Context().Err() == nil {
							_, _ = io.WriteString(w, "x")
							_ = http.NewResponseController(w).Flush()
						}
					case "/slow":
						w.Header().Set("Content-Type", "text/event-stream")
						for range 8 {
							_, _ = io.WriteString(w, "x")
							_ = http.NewResponseController(w).Flush()
							time.Sleep(2 * time.Minute)
						}
					default:
						_, _ = io.WriteString(w, "x")
					}
				}))
				f.Send(harness.FrameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, tt.window))
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				asks := func(stream uint32, path string) {
					f.Ask(stream, false, ":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/up"+path)
				}
				start := time.Now()
				asks(1, tt.path)
				asks(3, "/other")
				more(f, 3, 1)
				if other := f.Answered(3); other.Body != "x" || time.Since(start) > time.Second {
					t.Errorf("beside it another came after %v: %+v", time.Since(start), *other)
				}
				if tt.each > 0 {
					go func() { // until the stream's end
						for ctx.Err() == nil {
							time.Sleep(time.Second)
							more(f, 1, tt.each)
						}
					}()
				}
				got := f.Answered(1)
				took := time.Since(start)
				stop()
				if whole := got.Ended && len(got.Body) == tt.whole; whole != (tt.whole > 0) || took < tt.atLeast || tt.whole == 0 && took > 3*takeTime {
					t.Errorf("after %v %d bytes had come, and all of them: %v; want %d after %v", took, len(got.Body), got.Ended, tt.whole, tt.atLeast)
				}
				time.Sleep(2 * time.Second) // the end of what lets more come
			})
		})
	}
}

// TestHTTP2_ABodyThatDoesNotComeIsNotWaitedFor in virtual time, whether it is read ahead
// of the upstream or streams there.
func TestHTTP2_ABodyThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	for _, length := range []string{"100", "1000000"} {
		t.Run(length, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := inHTTP2(t, proxyInMemory(t, func(_ http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err == nil {
						t.Error("the upstream takes the body for whole")
					}
				}))
				f.Ask(1, true, ":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", "/up/a", "content-length", length)
				start := time.Now()
				f.Send(harness.FrameData, 0, 1, []byte("some"))
				got := f.Answered(1)
				if took := time.Since(start); got.Status != 400 || !strings.Contains(got.Body, "body_unreadable") || took < idleBody || took > 2*idleBody {
					t.Errorf("answered %+v after %v, want 400 body_unreadable after %v", *got, took, idleBody)
				}
				time.Sleep(time.Second) // within which the upstream lets go of its connection
			})
		})
	}
}
