package faults_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m, leakNothing) }

func leakNothing() {
	if err := goleak.Find(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

const patience = 30 * time.Second // for what takes a fraction of it

const token = "of-the-upstreams-own-0123456789"

// start runs bearerd before one upstream, which has more settings, in flow style.
func start(t *testing.T, url, settings string, options ...harness.Option) *harness.Bearerd {
	t.Helper()
	if strings.HasPrefix(url, "http://") {
		settings = "insecure_http: true, " + settings
	}
	return harness.Start(t, fmt.Sprintf(`proxy:
  listeners: [{address: "127.0.0.1:0"}]
  upstreams: {up: {url: "%s", private: true, %s}}
  drain: {delay: 0s}
credentials: {tokens: {up: {token: "file:token"}}}
policy:
  rules: [{name: all, callers: [local], upstreams: [up], methods: [GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE], paths: [/**]}]
`, url, settings), append(options, harness.File("token", token+"\n"))...)
}

// A caller sends requests to bearerd, each once: net/http's client does not repeat
// what was answered.
type caller struct {
	t      *testing.T
	client *http.Client
	url    string // of the upstream at bearerd
}

func newCaller(t *testing.T, b *harness.Bearerd) *caller {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t, &http.Client{Transport: transport, Timeout: 4 * patience}, b.URL + "/up"}
}

// An answer is what a caller makes of one.
type answer struct {
	status int    // 0: none came
	code   string // bearerd's own
	body   string
	header http.Header
	broke  bool // it is not whole
}

// String is its status and code, for counting. Of one that broke off it depends on
// how fast that was whether the status came.
func (a answer) String() string {
	if a.broke {
		return "broken off"
	}
	text := fmt.Sprint(a.status)
	if a.code != "" {
		text += " " + a.code
	}
	return text
}

// do sends a request with a body, if any, and more headers.
func (c *caller) do(method, path string, body io.Reader, header ...string) answer {
	req, err := http.NewRequest(method, c.url+path, body)
	if err != nil {
		c.t.Error(err)
		return answer{}
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return answer{broke: true}
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Bearerd-Error"), string(got), resp.Header, err != nil}
}

// A ledger is what an upstream did: how often each path was asked for, by requests
// that were whole and had the token.
type ledger struct {
	mu   sync.Mutex // guards the fields below
	done map[string]int
	odd  []string // requests that were not as sent
}

// note enters one, and returns how often its like came.
func (l *ledger) note(r *http.Request) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = map[string]int{}
	}
	if r.Header.Get("Authorization") != "Bearer "+token {
		l.odd = append(l.odd, r.URL.Path+" has not the token")
	}
	l.done[r.URL.Path]++
	return l.done[r.URL.Path]
}

func (l *ledger) times(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done[path]
}

// check fails the test if anything was done that was not asked for as it was, and
// returns how many paths were asked for at all, and how many more than once.
func (l *ledger) check(t *testing.T) (done, twice int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, odd := range l.odd {
		t.Error(odd)
	}
	for _, n := range l.done {
		if n > 1 {
			twice++
		}
	}
	return len(l.done), twice
}

// serveRaw serves each connection to a port of its own by serve until the test ends,
// and closes it behind it.
func serveRaw(t *testing.T, serve func(conn *net.TCPConn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		serving sync.WaitGroup
		mu      sync.Mutex // guards conns
		conns   = map[net.Conn]bool{}
	)
	serving.Go(func() { // until the listener closes
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = true
			mu.Unlock()
			serving.Go(func() { // until either side closes
				serve(conn.(*net.TCPConn))
				_ = conn.Close()
				mu.Lock()
				delete(conns, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return "http://" + l.Addr().String()
}

// receive reads a request whole, and reports whether it was.
func receive(conn net.Conn, in *bufio.Reader) (*http.Request, bool) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, false
	}
	if r.Header.Get("Expect") != "" {
		_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r, err == nil
}

// reset has the connection end with a reset instead of in good order.
func reset(conn *net.TCPConn) { _ = conn.SetLinger(0) }

// inParallel does n things by so many workers.
func inParallel(n, workers int, do func(i int)) {
	next := make(chan int)
	var working sync.WaitGroup
	for range workers {
		working.Go(func() { // until next closes
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	working.Wait()
}

// A tally counts answers by what they are.
type tally struct {
	mu    sync.Mutex // guards the field below
	count map[string]int
}

func (c *tally) add(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.count[a.String()]++
}

func (c *tally) of(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[what]
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, what := range slices.Sorted(maps.Keys(c.count)) {
		all = append(all, fmt.Sprintf("%d times %s", c.count[what], what))
	}
	return strings.Join(all, ", ")
}
