package accepting_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bearerd/test/harness"
)

const drainConfig = `proxy:
  listeners: [{address: "127.0.0.1:0"}, {address: "unix:b.sock"}]
  upstreams: {up: {url: "%s", insecure_http: true, private: true, credential: none}}
  drain: {delay: %v, timeout: 10s}
policy:
  rules: [{name: all, callers: [local], upstreams: [up], methods: [GET, POST], paths: [/**]}]
log: {access: false}
`

// quick is an upstream that answers at once.
func quick(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// tally is what became of the requests of many clients.
type tally struct {
	answered, toldToClose, closedUnused, refused atomic.Int64
	lost, lostFirst                              atomic.Int64 // all, and those that were the first of a connection

	mu  sync.Mutex // guards the field below
	how []string   // of the lost, the first few
}

func (c *tally) loses(i int, what string, err error) {
	c.lost.Add(1)
	if i == 0 {
		c.lostFirst.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.how) < 5 {
		c.how = append(c.how, fmt.Sprintf("%s: %v", what, err))
	}
}

// use sends requests on a connection, with a pause before each but the first, until
// it is told to close it or finds it closed. It reports whether the connection came
// to an end that it should.
func (c *tally) use(conn net.Conn, pause func(i int) time.Duration) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for i := 0; ; i++ {
		if i > 0 {
			time.Sleep(pause(i)) // what clients do between requests
			if ended(conn) {     // as every client looks before it sends
				c.closedUnused.Add(1)
				return
			}
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "POST /up/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
			c.loses(i, "sending", err)
			return
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			c.loses(i, "reading the answer's head", err)
			return
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
			c.loses(i, fmt.Sprintf("reading the answer %d %q", resp.StatusCode, body), err)
			return
		}
		c.answered.Add(1)
		if resp.Close {
			c.toldToClose.Add(1)
			return
		}
	}
}

// ended reports whether the other end of a connection has closed it.
func ended(conn net.Conn) (closed bool) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	_ = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = n == 0 && err == nil || errors.Is(err, syscall.ECONNRESET)
	})
	return closed
}

func (c *tally) String() string {
	return fmt.Sprintf("%d answered, %d told to close, %d closed while unused, %d refused, %d lost (%d of them the first of a connection) %v",
		c.answered.Load(), c.toldToClose.Load(), c.closedUnused.Load(), c.refused.Load(), c.lost.Load(), c.lostFirst.Load(), c.how)
}

// stop has bearerd drain, once the clients have had a thousand answers.
func stop(t *testing.T, b *harness.Bearerd, c *tally, delay time.Duration) {
	t.Helper()
	for giveUp := time.Now().Add(patience); c.answered.Load() < 1000; time.Sleep(time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("before the stop: %v", c)
		}
	}
	start := time.Now()
	b.Stop()
	took := time.Since(start)
	t.Logf("drain: stopped %v after the signal, with a delay of %v", took.Round(time.Millisecond), delay)
	if took > delay+10*time.Second+time.Second {
		t.Errorf("stopped after %v, want no more than delay, timeout and a second", took)
	}
}

func TestDrain_LosesNoRequestOnAConnectionInUse(t *testing.T) {
	const delay = 2 * time.Second // within which each is used, however much else the machine has to do
	b := harness.Start(t, fmt.Sprintf(drainConfig, quick(t), delay))
	var busy, now tally
	var clients sync.WaitGroup
	client := func(c *tally, pause func(i int) time.Duration) {
		clients.Go(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(b.URL, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			c.use(conn, pause)
		})
	}
	for i := range 200 {
		client(&busy, func(int) time.Duration { return time.Duration(i%20) * time.Millisecond })
	}
	for i := range 100 { // some of their pauses are longer than the delay
		client(&now, func(n int) time.Duration { return time.Duration(1+(i*n*7919)%3000) * time.Millisecond })
	}
	stop(t, b, &busy, delay)
	clients.Wait()
	t.Logf("drain: 200 keep-alive connections in use: %v", &busy)
	t.Logf("drain: 100 more that are used now and then: %v", &now)
	if busy.lost.Load() != 0 {
		t.Errorf("%d requests were lost", busy.lost.Load())
	}
	// In HTTP/1.1 a request can meet the end of a connection that nobody used. It does
	// so for some microseconds here, not for as long as bearerd takes to wake up.
	if now.lost.Load() > 2 {
		t.Errorf("%d requests were lost on connections used now and then", now.lost.Load())
	}
}

func TestDrain_AnswersWhomeverItAccepted(t *testing.T) {
	const delay = 300 * time.Millisecond
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			b := harness.Start(t, fmt.Sprintf(drainConfig, quick(t), delay))
			address := strings.TrimPrefix(b.URL, "http://")
			if network == "unix" {
				address = filepath.Join(b.Dir, "b.sock")
			}
			var c tally
			var clients sync.WaitGroup
			for range 200 {
				clients.Go(func() {
					for {
						conn, err := net.Dial(network, address)
						if err != nil {
							c.refused.Add(1)
							return
						}
						c.use(conn, func(int) time.Duration { return 0 })
					}
				})
			}
			stop(t, b, &c, delay)
			clients.Wait()
			t.Logf("drain: 200 clients that connect again until refused, over %s: %v", network, &c)
			if c.lostFirst.Load() != 0 {
				t.Errorf("%d connections were accepted and got no answer", c.lostFirst.Load())
			}
		})
	}
}

// counting is an upstream that answers at once, and how often each request came.
func counting(t *testing.T) (url string, most func() int) {
	var mu sync.Mutex // guards times
	times := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := io.ReadAll(r.Body)
		mu.Lock()
		times[string(id)]++
		mu.Unlock()
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(server.Close)
	return server.URL, func() int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Max(slices.Collect(maps.Values(times)))
	}
}

// TestDrain_LosesNoRequestInHTTP2: callers that go on until nobody is there any more,
// several at once on each connection, with a pause now and then.
func TestDrain_LosesNoRequestInHTTP2(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	upstream, most := counting(t)
	const delay = 300 * time.Millisecond
	config := strings.Replace(fmt.Sprintf(threeListeners, upstream), "{delay: 0s}", "{delay: 300ms, timeout: 10s}", 1)
	config = strings.Replace(config, "methods: [GET]", "methods: [POST]", 1) + "log: {access: false}\n"
	b := harness.Start(t, config, harness.File("server.pem", certificate), harness.File("server-key.pem", key))
	url := "https://" + listeningAt(b, 1) + "/up/x"
	var c tally
	var clients sync.WaitGroup
	for i := range 20 {
		client := inHTTP2(t, authority)
		for j := range 10 {
			clients.Go(func() {
				for n := 0; c.ask(client, url, fmt.Sprintf("%d %d %d", i, j, n)); n++ {
					time.Sleep(time.Duration(j) * time.Millisecond) // what clients do between requests
				}
			})
		}
	}
	stop(t, b, &c, delay)
	clients.Wait()
	t.Logf("drain: 200 callers on 20 connections in HTTP/2: %v", &c)
	if c.lost.Load() != 0 || c.refused.Load() != 200 {
		t.Errorf("%d requests were lost, and %d callers of 200 found nobody at the end", c.lost.Load(), c.refused.Load())
	}
	if n := most(); n > 1 {
		t.Errorf("a request came %d times", n)
	}
}

// ask sends a request and reports whether somebody was there.
func (c *tally) ask(client *http.Client, url, id string) bool {
	resp, err := client.Post(url, "", strings.NewReader(id))
	var dialing *net.OpError
	if errors.As(err, &dialing) && dialing.Op == "dial" {
		c.refused.Add(1)
		return false
	}
	if err != nil {
		c.loses(1, "asking", err)
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" || resp.ProtoMajor != 2 {
		c.loses(1, fmt.Sprintf("reading the answer %s %d %q", resp.Proto, resp.StatusCode, body), err)
		return false
	}
	c.answered.Add(1)
	return true
}

// TestDrain_AnAnswerCutOffIsNoticed: drain.timeout ends what has no end, and that must
// not look like its end.
func TestDrain_AnAnswerCutOffIsNoticed(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "the beginning")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(upstream.Close)
	config := strings.Replace(fmt.Sprintf(threeListeners, upstream.URL), "{delay: 0s}", "{delay: 0s, timeout: 100ms}", 1)
	b := harness.Start(t, config, harness.File("server.pem", certificate), harness.File("server-key.pem", key))
	dial := dialers(b, authority)
	outcomes := make(chan string)
	asked := 0
	for _, version := range []string{"1.0", "1.1"} {
		for _, way := range []string{"TCP", "TLS"} {
			conn, err := dial[way]()
			if err != nil {
				t.Fatal(err)
			}
			asked++
			begun := make(chan struct{})
			go func() { // ends with bearerd
				got := fetch(noticing{conn, begun}, version, "/up/x")
				outcomes <- fmt.Sprintf("HTTP/%s over %s: %s", version, way, got)
			}()
			<-begun
		}
	}
	resp, err := inHTTP2(t, authority).Get("https://" + listeningAt(b, 1) + "/up/x")
	if err != nil {
		t.Fatal(err)
	}
	asked++
	go func() { // ends with bearerd
		defer func() { _ = resp.Body.Close() }()
		got := clean
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			got = brokeOff
		}
		outcomes <- fmt.Sprintf("HTTP/2: %s", got)
	}()
	b.Stop()
	for range asked {
		if got := <-outcomes; !strings.HasSuffix(got, string(brokeOff)) {
			t.Errorf("%s, want it to break off", got)
		}
	}
}

// noticing is a connection that says when something comes.
type noticing struct {
	net.Conn
	begun chan struct{}
}

func (n noticing) Read(p []byte) (int, error) {
	count, err := n.Conn.Read(p)
	select {
	case <-n.begun:
	default:
		close(n.begun)
	}
	return count, err
}

// TestDrain_WaitsForNoUnusedConnection, of whatever kind: they would stay for a minute.
func TestDrain_WaitsForNoUnusedConnection(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	config := strings.Replace(fmt.Sprintf(threeListeners, quick(t)), "{delay: 0s}", "{delay: 0s, timeout: 15s}", 1)
	b := harness.Start(t, config, harness.File("server.pem", certificate), harness.File("server-key.pem", key))
	for way, dial := range dialers(b, authority) {
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if status, code, err := ask(conn); status != 200 {
			t.Errorf("over %s: answered %d %s (%v)", way, status, code, err)
		}
	}
	f := harness.DialFrames(t, listeningAt(b, 1), &tls.Config{RootCAs: authority.Pool()})
	f.Ask(1, false, ":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/up/x")
	if got := f.Answered(1); got.Status != 200 {
		t.Errorf("in HTTP/2: answered %+v", *got)
	}
	b.Stop()
	if lines := b.Lines("drain.timeout is over; requests still under way were cut off"); len(lines) > 0 {
		t.Error("the drain waited for connections that nobody used")
	}
}
