package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bearerd/policy"
	"bearerd/proxy"
)

// submissions is a rule that looks at bodies of up to that many bytes.
func submissions(most policy.Size) []policy.RuleConfig {
	return []policy.RuleConfig{
		{
			Name: "nightly", Callers: []string{policy.Local}, Upstreams: []string{"up"}, Methods: []string{"POST"}, Paths: []string{"/transfer"}, MaxBody: most,
			Body: map[string]policy.ConditionConfig{"/source": {In: []any{"A"}}, "/DATA/*/path": {Under: "/archive/"}},
		},
		{Name: "other", Callers: []string{policy.Local}, Upstreams: []string{"up"}, Methods: []string{"POST"}, Paths: []string{"/other"}},
	}
}

const good = `{"source": "A", "DATA": [{"path": "/archive/x"}]}`

func TestDecide_ByWhatTheBodySays(t *testing.T) {
	var received string
	url := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		received = string(data)
	})
	s := to(t, url)
	s.rules = submissions(8 << 20)
	r := newRig(t, s)
	long := strings.Replace(good, "{", "{"+strings.Repeat(" ", 4<<20), 1)
	for _, tt := range []struct {
		name, body, kind string
		allowed          bool
	}{
		{"as it must be", good, "application/json", true},
		{"4 MiB of it", long, "application/json", true},
		{"longer than the rule looks", strings.Replace(good, "{", "{"+strings.Repeat(" ", 8<<20), 1), "application/json", false},
		{"another source", strings.Replace(good, "A", "B", 1), "application/json", false},
		{"outside", strings.Replace(good, "/archive/x", "/archive/../x", 1), "application/json", false},
		{"a form", good, "application/x-www-form-urlencoded", false},
		{"no type", good, "", false},
		{"nothing", "", "application/json", false},
	} {
		for _, chunked := range []bool{false, true} {
			received = ""
			framing := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(tt.body), tt.body)
			if chunked {
				framing = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(tt.body), tt.body)
				if tt.body == "" {
					framing = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
				}
			}
			if tt.kind != "" {
				framing = "Content-Type: " + tt.kind + "\r\n" + framing
			}
			got := r.raw("POST /up/transfer HTTP/1.1\r\nHost: localhost\r\n" + framing)
			if !tt.allowed && !strings.Contains(got.body, "rule nightly would allow it, but the body") {
				t.Errorf("%s: answered %s", tt.name, got.body)
			}
			if allowed := got.status == 200; allowed != tt.allowed || !allowed && got.code() != "denied" || allowed && received != tt.body {
				t.Errorf("%s (chunked: %v): answered %d %s, the upstream received %d bytes of %d", tt.name, chunked, got.status, got.code(), len(received), len(tt.body))
			}
		}
	}
}

// A body that no rule wants to see is not asked for: the answer comes before it.
func TestDecide_ReadsNoBodyThatDecidesNothing(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	s.rules = submissions(8 << 20)
	r := newRig(t, s)
	for path, wanted := range map[string]string{"/up/delete": "HTTP/1.1 403 ", "/up/transfer": "HTTP/1.1 100 ", "/up/other": "HTTP/1.1 100 "} {
		conn, err := net.Dial("tcp4", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\nExpect: 100-continue\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, wanted) {
			t.Errorf("%s: answered %q, %v; want %s", path, line, err, wanted)
		}
		_ = conn.Close()
	}
}

// Bodies that rules look at are held at once up to a budget; past it such requests
// are told to come again, and others stream.
func TestDecide_BodiesArePastTheBudgetTurnedAway(t *testing.T) {
	w := newWire(t)
	s := limited(to(t, w.url), proxy.LimitsConfig{Body: 16 << 20})
	s.rules = submissions(16 << 20)
	r := newRig(t, s)
	// Nearly 16 MB each: what the kernel keeps of it aside, room for all of it is held.
	part := strings.Repeat(" ", 15_900_000)
	var held []net.Conn
	for range 4 {
		conn, err := net.Dial("tcp4", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_ = conn.(*net.TCPConn).SetWriteBuffer(256 << 10) // what is written is soon read
		if _, err := io.WriteString(conn, "POST /up/transfer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16000000\r\n\r\n"+part); err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	got := r.do("POST", "/up/transfer", good, "Content-Type", "application/json")
	if got.status != 204 && got.code() != "overloaded" {
		t.Errorf("a small one: answered %d %s", got.status, got.code())
	}
	// No more of it is sent than is read before the budget is found spent.
	if got := r.raw("POST /up/transfer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4194304\r\n\r\n" + strings.Repeat(" ", 2<<20)); got.code() != "overloaded" || got.header.Get("Retry-After") != "1" {
		t.Errorf("one of 4 MiB: answered %d %s, want 503 overloaded with Retry-After", got.status, got.code())
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	r.seen() // waits until those are gone
	if got := r.do("POST", "/up/transfer", good+strings.Repeat(" ", 4<<20), "Content-Type", "application/json"); got.status != 204 {
		t.Errorf("when they are gone: answered %d %s, want 204", got.status, got.code())
	}
}

func TestDecide_KeepsACallerToTheRulesLimits(t *testing.T) {
	entered, release := make(chan struct{}, 8), make(chan struct{})
	url := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-release
		}
	})
	s := to(t, url)
	s.callers = []policy.CallerConfig{{Name: "other", Key: "file:k", Keys: []policy.KeyHash{policy.HashKey("k")}}}
	s.rules = []policy.RuleConfig{
		{Name: "slow", Callers: []string{policy.Local, "other"}, Upstreams: []string{"up"}, Methods: []string{"GET"}, Paths: []string{"/slow"}, Limits: policy.LimitsConfig{Concurrency: 2}},
		{Name: "rare", Callers: []string{policy.Local, "other"}, Upstreams: []string{"up"}, Methods: []string{"GET"}, Paths: []string{"/rare"}, Limits: policy.LimitsConfig{Rate: "1/h"}},
	}
	r := newRig(t, s)
	done := make(chan answer, 4)
	for range 2 {
		go func() { done <- r.do("GET", "/up/slow", "") }() // read below
		<-entered
	}
	if got := r.do("GET", "/up/slow", ""); got.code() != "rate_limited" || got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("a third at a time: answered %d %s %q", got.status, got.code(), got.header.Get("Retry-After"))
	}
	go func() { done <- r.do("GET", "/up/slow", "", "X-Api-Key", "k") }() // another caller has places of its own
	<-entered
	close(release)
	for range 3 {
		if got := <-done; got.status != 200 {
			t.Errorf("one that had a place: answered %d %s", got.status, got.body)
		}
	}
	if got := r.do("GET", "/up/slow", ""); got.status != 200 {
		t.Errorf("when they are done: answered %d %s", got.status, got.code())
	}
	for caller, key := range map[string][]string{"local": nil, "other": {"X-Api-Key", "k"}} {
		if got := r.do("GET", "/up/rare", "", key...); got.status != 200 {
			t.Errorf("%s's first this hour: answered %d %s", caller, got.status, got.body)
		}
		got := r.do("GET", "/up/rare", "", key...)
		if seconds, _ := strconv.Atoi(got.header.Get("Retry-After")); got.code() != "rate_limited" || seconds < 3000 || seconds > 3600 {
			t.Errorf("%s's second: answered %d %s, Retry-After %q", caller, got.status, got.code(), got.header.Get("Retry-After"))
		}
	}
}

// What the upstream has is let go of, however long it answers: more such requests
// can be under way than the budget has room for.
func TestDecide_BodiesAreLetGoOfWhenTheUpstreamHasThem(t *testing.T) {
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-release
	})
	s := limited(to(t, url), proxy.LimitsConfig{Body: 16 << 20})
	s.rules = submissions(16 << 20)
	r := newRig(t, s)
	t.Cleanup(letGo) // also where the test fails, or the upstream would not end
	body := good + strings.Repeat(" ", 15<<20)
	var answers []*http.Response
	for i := range 6 { // four would fill the budget
		req, err := http.NewRequest("POST", r.url+"/up/transfer", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, resp)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("request %d: answered %d %s", i, resp.StatusCode, resp.Header.Get("Bearerd-Error"))
		}
	}
	letGo()
	for _, resp := range answers {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
