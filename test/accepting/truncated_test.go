package accepting_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bearerd/test/harness"
)

// wholeAnswer is how long the answers would be that are cut off.
const wholeAnswer = 100_000

// serveRaw answers each connection to a port of its own with answer, which is given
// the path asked for, and closes it.
func serveRaw(t *testing.T, answer func(conn *net.TCPConn, path string)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // until the listener closes
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { // one request
				defer func() { _ = conn.Close() }()
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn.(*net.TCPConn), req.URL.Path)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return "http://" + l.Addr().String()
}

// The ways in which an upstream says how long its answer is.
var framings = map[string]struct{ head, body string }{
	"length":  {"Content-Length: " + strconv.Itoa(wholeAnswer) + "\r\n", strings.Repeat("x", wholeAnswer)},
	"chunked": {"Transfer-Encoding: chunked\r\n", strings.Repeat("3e8\r\n"+strings.Repeat("x", 1000)+"\r\n", wholeAnswer/1000)},
	"closing": {"Connection: close\r\n", strings.Repeat("x", wholeAnswer)}, // and then a reset, or nobody could tell
}

// cutOff answers /FRAMING/N with the first N bytes of a longer answer.
func cutOff(conn *net.TCPConn, path string) {
	_, name, _ := strings.Cut(path, "/")
	name, bytes, _ := strings.Cut(name, "/")
	framing := framings[name]
	n, _ := strconv.Atoi(bytes)
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"+framing.head+"\r\n"+framing.body[:n])
	if name == "closing" {
		_ = conn.SetLinger(0)
	}
}

// cuts are where answers are cut off, from nothing to all but the end.
func cuts(framing string) []int {
	at := make([]int, 43)
	last := len(at) - 1
	for i := range at {
		at[i] = i * i * (len(framings[framing].body) - 1) / (last * last)
	}
	return at
}

// outcome is what a client makes of an answer.
type outcome string

const (
	brokeOff outcome = "broke off"    // an error in the middle
	refused  outcome = "answered for" // bearerd said that the upstream broke off
	clean    outcome = "seemed to be all of it"
)

// fetch asks as simple clients do, and reads to the end.
func fetch(conn net.Conn, version, path string) outcome {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/%s\r\nHost: localhost\r\n\r\n", path, version); err != nil {
		return brokeOff
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return brokeOff
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return brokeOff
	}
	if resp.StatusCode == http.StatusBadGateway && resp.Header.Get("Bearerd-Error") != "" {
		return refused
	}
	return clean
}

const patience = 30 * time.Second // for what takes a fraction of it

const threeListeners = `proxy:
  listeners: [{address: "127.0.0.1:0"}, {address: "127.0.0.1:0", tls: {certificate: "file:server.pem", key: "file:server-key.pem"}}, {address: "unix:b.sock"}]
  upstreams: {up: {url: "%s", insecure_http: true, private: true, credential: none}}
  drain: {delay: 0s}
policy:
  rules: [{name: all, callers: [local], upstreams: [up], methods: [GET], paths: [/**]}]
`

// TestTruncated_AnswersAreNoticedByEveryClient has an upstream break off a thousand
// answers, and clients of every kind read them.
func TestTruncated_AnswersAreNoticedByEveryClient(t *testing.T) {
	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	b := harness.Start(t, fmt.Sprintf(threeListeners, serveRaw(t, cutOff)), harness.File("server.pem", certificate), harness.File("server-key.pem", key))
	dial := dialers(b, authority)
	all, noticed := 0, 0
	count := func(client, framing string, outcomes []outcome) {
		how := map[outcome]int{}
		for _, o := range outcomes {
			how[o]++
		}
		all += len(outcomes)
		noticed += len(outcomes) - how[clean]
		t.Logf("truncated: %-16s %-7s %d of %d noticed (%d broke off, %d answered for)", client, framing, len(outcomes)-how[clean], len(outcomes), how[brokeOff], how[refused])
	}
	for _, version := range []string{"1.0", "1.1"} {
		for _, way := range []string{"TCP", "TLS", "unix"} {
			for framing := range framings {
				var outcomes []outcome
				for _, n := range cuts(framing) {
					conn, err := dial[way]()
					if err != nil {
						t.Fatal(err)
					}
					outcomes = append(outcomes, fetch(conn, version, fmt.Sprintf("/up/%s/%d", framing, n)))
				}
				count("HTTP/"+version+" "+way, framing, outcomes)
			}
		}
	}
	secure := listeningAt(b, 1)
	for framing := range framings {
		count("HTTP/2, curl", framing, curl2(t, secure, authority.PEM, "/up/"+framing+"/", cuts(framing)))
		count("HTTP/2, Go", framing, fetch2(t, secure, authority, "/up/"+framing+"/", cuts(framing)))
	}
	front := startFront(t, strings.TrimPrefix(b.URL, "http://"), certificate, key)
	for _, version := range []string{"1.0", "1.1"} {
		for framing := range framings {
			count("HTTP/2 via "+version, framing, curl2(t, front, authority.PEM, "/v"+version+"/"+framing+"/", cuts(framing)))
		}
	}
	if all < 1000 || noticed != all {
		t.Errorf("%d of %d truncated answers were noticed", noticed, all)
	}
	t.Logf("truncated: %d of %d noticed by the client", noticed, all)
}

// dialers are the ways to a bearerd with threeListeners, by name.
func dialers(b *harness.Bearerd, authority *harness.Authority) map[string]func() (net.Conn, error) {
	plain, secure := listeningAt(b, 0), listeningAt(b, 1)
	return map[string]func() (net.Conn, error){
		"TCP": func() (net.Conn, error) { return net.Dial("tcp", plain) },
		"TLS": func() (net.Conn, error) {
			return tls.Dial("tcp", secure, &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"})
		},
		"unix": func() (net.Conn, error) { return net.Dial("unix", filepath.Join(b.Dir, "b.sock")) },
	}
}

// listeningAt is the address of a listener, by its index.
func listeningAt(b *harness.Bearerd, i int) string {
	var found []string
	b.WaitLog(func(line map[string]any) bool {
		if line["message"] == "listening" {
			found = append(found, fmt.Sprint(line["address"]))
		}
		return len(found) > i
	})
	return found[i]
}

// inHTTP2 is Go's client, with a connection of its own.
func inHTTP2(t *testing.T, authority *harness.Authority) *http.Client {
	way := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}, ForceAttemptHTTP2: true}
	t.Cleanup(way.CloseIdleConnections)
	return &http.Client{Transport: way, Timeout: patience}
}

// fetch2 has Go's client fetch answers in HTTP/2, all at once on one connection.
func fetch2(t *testing.T, addr string, authority *harness.Authority, prefix string, cuts []int) []outcome {
	t.Helper()
	client := inHTTP2(t, authority)
	outcomes := make([]outcome, len(cuts))
	var fetching sync.WaitGroup
	for i, n := range cuts {
		fetching.Go(func() {
			resp, err := client.Get(fmt.Sprintf("https://%s%s%d", addr, prefix, n))
			if err != nil {
				outcomes[i] = brokeOff
				return
			}
			defer func() { _ = resp.Body.Close() }()
			_, err = io.Copy(io.Discard, resp.Body)
			switch {
			case resp.ProtoMajor != 2:
				t.Errorf("answered in %s, want HTTP/2", resp.Proto)
			case err != nil:
				outcomes[i] = brokeOff
			case resp.StatusCode == http.StatusBadGateway && resp.Header.Get("Bearerd-Error") != "":
				outcomes[i] = refused
			default:
				outcomes[i] = clean
			}
		})
	}
	fetching.Wait()
	return outcomes
}

// startFront starts an nginx that speaks HTTP/2 and proxies /v1.0/ and /v1.1/ to
// bearerd's upstream in those versions.
func startFront(t *testing.T, to, certificate, key string) (addr string) {
	addr = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	harness.StartNginx(t, addr, map[string]string{"front.pem": certificate, "front-key.pem": key}, fmt.Sprintf(`
  server {
    listen %[1]s ssl http2;
    ssl_certificate front.pem; ssl_certificate_key front-key.pem;
    location /v1.0/ { proxy_pass http://%[2]s/up/; }
    location /v1.1/ { proxy_pass http://%[2]s/up/; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
`, addr, to))
	return addr
}

// curl2 has curl fetch answers in HTTP/2, on one connection as far as that goes.
func curl2(t *testing.T, addr, roots, prefix string, cuts []int) []outcome {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		harness.Missing(t, "curl is not installed")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "roots.pem"), []byte(roots), 0o600); err != nil {
		t.Fatal(err)
	}
	var urls strings.Builder
	for _, n := range cuts {
		fmt.Fprintf(&urls, "url = \"https://%s%s%d\"\noutput = \"/dev/null\"\n", addr, prefix, n)
	}
	cmd := exec.Command(path, "-q", "--silent", "--http2", "--cacert", "roots.pem", "--noproxy", "*", "-w", `%{http_version} %{exitcode} %{http_code}\n`, "-K", "-")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(urls.String())
	out, _ := cmd.Output() // it fails as the last one does
	var outcomes []outcome
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "2" && fields[1] == "0" {
			t.Fatalf("curl says %q, want an answer in HTTP/2", line)
		}
		switch {
		case fields[1] != "0":
			outcomes = append(outcomes, brokeOff)
		case fields[2] == "502":
			outcomes = append(outcomes, refused)
		default:
			outcomes = append(outcomes, clean)
		}
	}
	if len(outcomes) != len(cuts) {
		t.Fatalf("curl fetched %d answers, want %d", len(outcomes), len(cuts))
	}
	return outcomes
}
