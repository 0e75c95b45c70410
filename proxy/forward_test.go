package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bearerd/credentials"
	"bearerd/proxy"
	"bearerd/test/emulator"
)

// upstream is a real server with a handler of the test's.
func upstream(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestForward_ExactlyOneAuthorizationAndItIsOurs(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	for _, header := range []string{
		"", "Authorization: Bearer attacker\r\n", "Authorization: Bearer a\r\nauthorization: Basic eDp5\r\n",
		"Proxy-Authorization: Basic eDp5\r\n", "Connection: close\r\nAuthorization: x\r\n",
	} {
		r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\n" + header + "\r\n")
		for _, head := range w.received() {
			if n := strings.Count(strings.ToLower(head), "authorization:"); n != 1 || !strings.Contains(head, "\r\nAuthorization: Bearer "+stamped+"\r\n") {
				t.Errorf("with %q the upstream received\n%s", header, head)
			}
		}
	}
}

func TestForward_CallersIdentityEndsHere(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	r.do("GET", "/up/a", "", "Cookie", "a=b", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-User", "root", "X-Forwarded-Prefix", "/x", "Forwarded", "for=1.2.3.4",
		"X-Real-IP", "1.2.3.4", "X-Remote-User", "root", "X-Original-URL", "/admin", "X-Rewrite-URL", "/admin", "Upgrade", "websocket", "Connection", "Upgrade",
		"X-Globus-Client-Info", "product=tool", "Idempotency-Key", "k", "User-Agent", "tool/1")
	got := w.received()[0]
	for _, gone := range []string{"Cookie", "Forwarded", "Real-Ip", "Remote-User", "Original", "Rewrite", "Upgrade", "Connection"} {
		if strings.Contains(got, gone) {
			t.Errorf("the upstream received %s:\n%s", gone, got)
		}
	}
	for _, kept := range []string{"X-Globus-Client-Info: product=tool", "Idempotency-Key: k", "User-Agent: tool/1"} {
		if !strings.Contains(got, kept) {
			t.Errorf("the upstream did not receive %s:\n%s", kept, got)
		}
	}
	r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if got := w.received()[0]; strings.Contains(got, "User-Agent") || strings.Contains(got, "Accept-Encoding") {
		t.Errorf("bearerd added headers of its own:\n%s", got)
	}
}

func TestForward_AnswersPassButForWhatIsOurs(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(`{"a":1}`))
	_ = z.Close()
	url := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("Bearerd-Error", "denied")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("X-Transfer-Api-Error", "ClientError.NotFound")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write(packed.Bytes())
	})
	r := newRig(t, to(t, url))
	got := r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
	if got.status != http.StatusNotFound || got.body != packed.String() {
		t.Errorf("answered %d with %d bytes, want 404 with the upstream's %d", got.status, len(got.body), packed.Len())
	}
	for name, want := range map[string]string{"Set-Cookie": "", "Bearerd-Error": "", "X-Transfer-Api-Error": "ClientError.NotFound"} {
		if value := got.header.Get(name); value != want {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
}

func TestForward_AnswersDoNotWaitForWhatIsNotedOfThem(t *testing.T) {
	r := newRig(t, to(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.Method+strconv.FormatInt(n, 10))
	})))
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/up/a", "", "GET0"},
		{"HEAD", "/up/a", "", ""},
		{"POST", "/up/a", "kept", "POST4"},
		{"POST", "/up/a", strings.Repeat("streamed", 100_000), "POST800000"},
		{"GET", "/nowhere", "", "bearerd"},
	} {
		r.mu.Lock() // which who notes it waits for
		got := r.do(tt.method, tt.path, tt.body)
		if !strings.Contains(got.body, tt.want) {
			t.Errorf("%s %s is answered %d %.20q", tt.method, tt.path, got.status, got.body)
		}
		noted := len(r.exchanges)
		r.mu.Unlock()
		if seen := r.seen(); noted != 0 || len(seen) != 1 || seen[0].Status != got.status {
			t.Errorf("%s %s: %d noted before, then %d of status %d, want one of %d", tt.method, tt.path, noted, len(seen), seen[0].Status, got.status)
		}
	}
}

func TestForward_FollowsNoRedirect(t *testing.T) {
	var asked atomic.Int32
	target := upstream(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", target+"/there")
		w.WriteHeader(http.StatusFound)
	})
	r := newRig(t, to(t, url))
	got := r.do("GET", "/up/a", "")
	if got.status != http.StatusFound || got.header.Get("Location") != target+"/there" || asked.Load() != 0 {
		t.Errorf("answered %d to %s and asked there %d times, want 302, unchanged, 0", got.status, got.header.Get("Location"), asked.Load())
	}
}

func TestForward_CredentialOfTheDecisionNotOfTheUpstream(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	other, err := credentials.AccessToken(credentials.NewSecret("AgOtherTestToken"))
	if err != nil {
		t.Fatal(err)
	}
	s.authorizers["other"] = other
	s.rules = append(anything("up")[:0], anything("up")[0], anything("up")[0])
	s.rules[0].Name, s.rules[0].Credential, s.rules[0].Paths = "narrow", "other", []string{"/other/**"}
	s.rules[1].Credential = ""
	r := newRig(t, s)
	for path, want := range map[string]string{"/up/other/a": "AgOtherTestToken", "/up/a": stamped} {
		r.do("GET", path, "")
		if got := w.received()[0]; !strings.Contains(got, "Authorization: Bearer "+want+"\r\n") {
			t.Errorf("%s left without the token of its decision", path)
		}
	}
}

func TestForward_RefusedTokenIsRenewedOnceForAll(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	r := newRig(t, g.settings(t))
	if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 200 {
		t.Fatalf("first request answered %d %s", got.status, got.body)
	}
	g.Revoke("")
	before := g.Count("auth", "/v2/oauth2/token")
	var wait sync.WaitGroup
	for range 200 {
		wait.Go(func() {
			if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 200 {
				t.Errorf("answered %d %s, want 200", got.status, got.code())
			}
		})
	}
	wait.Wait()
	if got := g.Count("auth", "/v2/oauth2/token") - before; got != 1 {
		t.Errorf("200 requests with a revoked token made %d token requests, want 1", got)
	}
}

func TestForward_FirstRequestsShareOneTokenRequest(t *testing.T) {
	g := newGlobus(t, emulator.Config{})
	g.SetTokenDelay(200 * time.Millisecond)
	r := newRig(t, g.settings(t))
	var wait sync.WaitGroup
	for range 500 {
		wait.Go(func() {
			if got := r.do("GET", "/transfer/v0.10/task_list", ""); got.status != 200 {
				t.Errorf("answered %d %s, want 200", got.status, got.code())
			}
		})
	}
	wait.Wait()
	if got := g.Count("auth", "/v2/oauth2/token"); got != 1 {
		t.Errorf("500 first requests made %d token requests, want 1", got)
	}
}

// refusing is an upstream that refuses the first n requests as told, and then
// answers with the body it received.
func refusing(t *testing.T, n int, refuse http.HandlerFunc) (string, *atomic.Int32) {
	var asked atomic.Int32
	return upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if int(asked.Add(1)) <= n {
			refuse(w, r)
			return
		}
		_, _ = w.Write(body)
	}), &asked
}

// renewing is an Authorizer whose every refusal leads to another token.
type renewing struct{ refused atomic.Int32 }

func (a *renewing) Authorize(req *http.Request) (credentials.Token, error) {
	static, err := credentials.AccessToken(credentials.NewSecret(stamped + strconv.Itoa(int(a.refused.Load()))))
	if err != nil {
		return credentials.Token{}, err
	}
	return static.Authorize(req)
}

func (a *renewing) Rejected(credentials.Token) bool {
	a.refused.Add(1)
	return true
}

func TestForward_WhatCountsAsARefusedToken(t *testing.T) {
	answer := func(status int, contentType, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	const authFailed = `{"code":"ClientError.AuthenticationFailed","message":"No credentials supplied"}`
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   int32 // refusals handed back
	}{
		{"401", answer(401, "text/plain", "no"), 1},
		{"Transfer's 400 by its header", answer(400, "application/json", "packed", "X-Transfer-Api-Error", "ClientError.AuthenticationFailed"), 1},
		{"Transfer's 400 by its body", answer(400, "application/json", authFailed), 1},
		{"another 400 of Transfer", answer(400, "application/json", authFailed, "X-Transfer-Api-Error", "ClientError.BadRequest"), 0},
		{"another 400 by its body", answer(400, "application/json", `{"code":"ClientError.BadRequest","message":"ClientError.AuthenticationFailed"}`), 0},
		{"400 that is not JSON", answer(400, "text/html", authFailed), 0},
		{"a long 400", answer(400, "application/json", `{"a":"`+strings.Repeat("x", 100_000)+`"}`), 0},
		{"403", answer(403, "application/json", authFailed), 0},
		{"500", answer(500, "application/json", authFailed), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, asked := refusing(t, 1, tt.answer)
			s, authorizer := to(t, url), &renewing{}
			s.authorizers["up"] = authorizer
			r := newRig(t, s)
			got := r.do("POST", "/up/a", "the body")
			if refused := authorizer.refused.Load(); refused != tt.want {
				t.Errorf("%d refusals, want %d", refused, tt.want)
			}
			if tt.want == 1 && (got.status != 200 || got.body != "the body" || asked.Load() != 2) {
				t.Errorf("answered %d %q after %d requests, want the body sent again", got.status, got.body, asked.Load())
			}
			if tt.want == 0 {
				direct := httptest.NewRecorder()
				tt.answer(direct, nil)
				if got.status != direct.Code || got.body != direct.Body.String() {
					t.Errorf("answered %d with %d bytes, want the upstream's own %d with %d", got.status, len(got.body), direct.Code, direct.Body.Len())
				}
			}
		})
	}
}

func TestForward_SecondRefusalPassesUntouched(t *testing.T) {
	url, asked := refusing(t, 9, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Www-Authenticate", "Bearer error=\"invalid_token\"")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "theirs")
	})
	s := to(t, url)
	s.authorizers["up"] = &renewing{}
	r := newRig(t, s)
	got := r.do("GET", "/up/a", "")
	if got.status != 401 || got.body != "theirs" || got.header.Get("Www-Authenticate") == "" || got.code() != "" || asked.Load() != 2 {
		t.Errorf("answered %d %q (%s) after %d requests, want the upstream's 401 after 2", got.status, got.body, got.code(), asked.Load())
	}
}

func TestForward_BodiesAreReplayedOnlyWhenKept(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	for _, tt := range []struct {
		name    string
		size    int
		chunked bool
		want    int
	}{
		{"none", 0, false, 200},
		{"short", 10, false, 200},
		{"64 KiB", 64 << 10, false, 200},
		{"64 KiB chunked", 64 << 10, true, 200},
		{"more", 64<<10 + 1, false, 503},
		{"more chunked", 1 << 20, true, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, asked := refusing(t, 1, refuse)
			s := to(t, url)
			s.authorizers["up"] = &renewing{}
			r := newRig(t, s)
			body := strings.Repeat("b", tt.size)
			var reader io.Reader = strings.NewReader(body)
			if tt.chunked {
				reader = io.MultiReader(reader) // of unknown length
			}
			resp, err := client.Post(r.url+"/up/a", "text/plain", reader)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			got, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.want {
				t.Fatalf("answered %d %s, want %d", resp.StatusCode, resp.Header.Get("Bearerd-Error"), tt.want)
			}
			if tt.want == 200 && string(got) != body {
				t.Errorf("the upstream received %d bytes, want %d", len(got), tt.size)
			}
			if tt.want == 503 && (asked.Load() != 1 || resp.Header.Get("Bearerd-Error") != "token_refused_not_replayed" || resp.Header.Get("Retry-After") != "0") {
				t.Errorf("%s, Retry-After %q after %d requests", resp.Header.Get("Bearerd-Error"), resp.Header.Get("Retry-After"), asked.Load())
			}
		})
	}
}

func TestForward_BrokenBodyNeverReachesTheUpstream(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	got := r.raw("POST /up/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
	if got.status != 400 || got.code() != "body_unreadable" {
		t.Errorf("answered %d %s, want 400 body_unreadable", got.status, got.code())
	}
	if heads := w.received(); len(heads) > 0 {
		t.Errorf("the upstream received %q", heads)
	}
}

// Go before 1.26.11 could take the next request for the body of one that was
// answered early: the connection must end there.
func TestForward_AnsweringEarlyEndsTheConnection(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.rules[0].Methods = []string{"GET"}
	r := newRig(t, s)
	for _, length := range []string{"10", "100000", "10000000"} {
		conn, err := net.Dial("tcp4", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST /up/a HTTP/1.1\r\nHost: evil.example\r\nExpect: 100-continue\r\nContent-Length: "+length+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 421 || !resp.Close {
			t.Errorf("Content-Length %s: answered %d, closing %v; want 421 and a close", length, resp.StatusCode, resp.Close)
		}
		_ = resp.Body.Close()
		_ = conn.Close()
	}
	if heads := w.received(); len(heads) > 0 {
		t.Errorf("the upstream received %q", heads)
	}
}

// An upstream may answer while it still reads: the rest of the body is its own.
func TestForward_AnswerBeforeTheBodysEndLosesNoByte(t *testing.T) {
	const first, second = 70_000, 100_000
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		n, _ := io.CopyN(io.Discard, r.Body, first)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		rest, err := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strconv.FormatInt(n+rest, 10))
		if err != nil {
			_, _ = io.WriteString(w, " and broken")
		}
	})
	transport := &http.Transport{} // that keeps connections, which is what net/http takes the bytes away for
	t.Cleanup(transport.CloseIdleConnections)
	keeping := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for _, length := range []int64{-1, first + second} {
		r := newRig(t, to(t, url))
		body, send := io.Pipe()
		req, err := http.NewRequest("POST", r.url+"/up/a", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		go func() { _, _ = send.Write(make([]byte, first)) }() // ends once it is read
		resp, err := keeping.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends once it is read
			_, _ = send.Write(make([]byte, second))
			_ = send.Close()
		}()
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(got) != strconv.Itoa(first+second) || err != nil {
			t.Errorf("Content-Length %d: the upstream received %q (%v), want %d", length, got, err, first+second)
		}
	}
}

func TestBreaker_OpensOnFailuresAndNotOnCallersLeaving(t *testing.T) {
	var failing atomic.Bool
	hold := make(chan struct{})
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case failing.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/hold":
			<-hold
		}
	})
	t.Cleanup(func() { close(hold) })
	r := newRig(t, to(t, url))
	for range 40 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/up/hold", nil)
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
		cancel()
	}
	if got := r.do("GET", "/up/a", ""); got.status != 200 {
		t.Fatalf("after 40 callers left: answered %d %s, want 200", got.status, got.code())
	}
	failing.Store(true)
	opened := 0
	for range 200 {
		if got := r.do("GET", "/up/a", ""); got.code() == "breaker_open" {
			opened++
			if got.status != 503 || got.header.Get("Retry-After") == "" {
				t.Fatalf("answered %d with Retry-After %q, want 503 with one", got.status, got.header.Get("Retry-After"))
			}
		}
	}
	if opened < 100 {
		t.Errorf("the breaker refused %d of 200 requests to a failing upstream", opened)
	}
}

func TestBreaker_BrokenBodiesAreTheCallersFault(t *testing.T) {
	url := upstream(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	r := newRig(t, to(t, url))
	start := "POST /up/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" + strings.Repeat("x", 0x11170) + "\r\nzz\r\n"
	for range 40 {
		if got := r.raw(start); got.status != 400 || got.code() != "body_unreadable" {
			t.Fatalf("a bad chunk: answered %d %s, want 400 body_unreadable", got.status, got.code())
		}
	}
	if got := r.do("GET", "/up/a", ""); got.status != 200 {
		t.Errorf("after 40 callers' bad chunks: answered %d %s, want 200", got.status, got.code())
	}
}

func TestReload_UnchangedUpstreamKeepsItsConnections(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	s := to(t, server.URL)
	r := newRig(t, s)
	for range 5 {
		r.do("GET", "/up/a", "")
		r.Reload(r.parts(s))
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("5 requests with reloads between opened %d connections, want 1", got)
	}
	s.upstreams = map[string]proxy.UpstreamConfig{"up": {URL: server.URL + "/v2", InsecureHTTP: true, Private: true}}
	r.Reload(r.parts(s))
	r.do("GET", "/up/a", "")
	if got := opened.Load(); got != 1 {
		t.Errorf("an upstream with another path on the same host used %d connections in all, want the one", got)
	}
	s.upstreams["up"] = proxy.UpstreamConfig{URL: server.URL, InsecureHTTP: true, Private: true, Tuning: proxy.TuningConfig{Idle: time.Minute}}
	r.Reload(r.parts(s))
	r.do("GET", "/up/a", "")
	if got := opened.Load(); got != 2 {
		t.Errorf("an upstream that is connected to otherwise used %d connections in all, want a second one", got)
	}
}

func TestDrain_EveryAnswerIsTheLastOfItsConnection(t *testing.T) {
	r := newRig(t, to(t, newWire(t).url))
	if got := r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\n\r\n"); got.last {
		t.Error("before draining: the connection ends")
	}
	r.Drain()
	for _, path := range []string{"/up/a", "/nowhere"} {
		if got := r.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"); !got.last {
			t.Errorf("%s while draining: the connection goes on", path)
		}
	}
}
