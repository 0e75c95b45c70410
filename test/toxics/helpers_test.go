package toxics_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// A network is a running toxiproxy-server.
type network struct {
	t      *testing.T
	api    string
	client http.Client
}

// startNetwork starts one; it ends with the test.
func startNetwork(t *testing.T) *network {
	t.Helper()
	path, err := filepath.Abs("../../.cache/bin/toxiproxy-server")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		harness.Missing(t, "toxiproxy is not installed: make toxiproxy")
	}
	port := strconv.Itoa(harness.FreePort(t))
	n := &network{t: t, api: "http://127.0.0.1:" + port, client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}}
	var said bytes.Buffer
	cmd := exec.Command(path, "-host", "127.0.0.1", "-port", port)
	cmd.Env = append(os.Environ(), "LOG_LEVEL=fatal")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { // ends with the program, which the test ends
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	for giveUp := time.Now().Add(patience); ; {
		if resp, err := n.client.Get(n.api + "/version"); err == nil {
			_ = resp.Body.Close()
			return n
		}
		select {
		case <-exited:
			t.Fatalf("toxiproxy ended: %s", said.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(giveUp) {
			t.Fatal("toxiproxy does not listen")
		}
	}
}

// attributes are a toxic's settings.
type attributes map[string]any

// route has connections led to an upstream's address by a new one, which is returned.
func (n *network) route(name, upstream string) (address string) {
	n.t.Helper()
	var made struct {
		Listen string `json:"listen"`
	}
	n.post("/proxies", map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true}, &made)
	return made.Listen
}

// poison adds a toxic to a route: up, to what the upstream is sent, or down.
func (n *network) poison(route, toxic, direction string, settings attributes) {
	n.t.Helper()
	n.post("/proxies/"+route+"/toxics", map[string]any{"name": toxic, "type": toxic, "stream": direction + "stream", "attributes": settings}, &struct{}{})
}

func (n *network) post(path string, what map[string]any, answer any) {
	n.t.Helper()
	question, err := json.Marshal(what)
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := n.client.Post(n.api+path, "application/json", bytes.NewReader(question))
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 || json.Unmarshal(said, answer) != nil {
		n.t.Fatalf("toxiproxy answered %d to %s: %s", resp.StatusCode, path, said)
	}
}

// text is as long as the longest of all bodies, and nowhere like elsewhere.
var text = func() []byte {
	all := make([]byte, 0, sizes[len(sizes)-1])
	for i := 0; len(all) < cap(all); i++ {
		all = fmt.Appendf(all, "%07x\n", i)
	}
	return all
}()

// An upstream answers /SIZE/... with so many bytes, once it has the whole request.
type upstream struct {
	address string

	mu   sync.Mutex // guards the fields below
	done map[string]int
	odd  []string // requests that were not as sent
}

const token = "of-the-upstreams-own-0123456789"

func startUpstream(t *testing.T) *upstream {
	u := &upstream{done: map[string]int{}}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	u.address = server.Listener.Addr().String()
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // it got half a request, and does nothing
	}
	var size int
	_, err = fmt.Sscanf(r.URL.Path, "/%d/", &size)
	all := text[:size]
	u.mu.Lock()
	u.done[r.URL.Path]++
	if err != nil || r.Header.Get("Authorization") != "Bearer "+token || len(body) > 0 && !bytes.Equal(body, all) || (len(body) > 0) != hasBody(r.Method) {
		u.odd = append(u.odd, r.Method+" "+r.URL.Path)
	}
	u.mu.Unlock()
	w.Header().Set("Content-Length", strconv.Itoa(size))
	_, _ = w.Write(all)
	if strings.Contains(r.URL.Path, "timeout") {
		_ = http.NewResponseController(w).Flush() // fails where the caller's end does
		<-r.Context().Done()                      // or the end of the connection would come through
	}
}

// check fails the test if anything did not arrive as it was sent.
func (u *upstream) check(t *testing.T) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, odd := range u.odd {
		t.Errorf("%s did not arrive as it was sent", odd)
	}
}

// times is how often a path was asked for, by requests that were whole.
func (u *upstream) times(path string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done[path]
}

func hasBody(method string) bool { return method == http.MethodPost || method == http.MethodPut }

// ask sends a request on a connection of its own, and returns what the caller makes of
// the answer: the status and code of bearerd's own, "whole" or "cut".
func ask(address, method, path string, size int) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	all := text[:size]
	request := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, address)
	if hasBody(method) {
		request = fmt.Appendf(request, "Content-Length: %d\r\n\r\n%s", size, all)
	} else {
		request = append(request, "\r\n"...)
	}
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = conn.Write(request) }) // fails where bearerd answers earlier, and ends with the connection
	defer sending.Wait()
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return "cut"
	}
	body, err := io.ReadAll(resp.Body)
	code := resp.Header.Get("Bearerd-Error")
	switch {
	case err != nil:
		return "cut"
	case code != "":
		return code
	case resp.StatusCode == http.StatusOK && bytes.Equal(body, all):
		return "whole"
	}
	return fmt.Sprintf("%d with %d bytes", resp.StatusCode, len(body))
}
