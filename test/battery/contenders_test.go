package battery_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"bearerd/test/battery"
	"bearerd/test/harness"
)

// contenderToken is what other proxies put on requests. It opens nothing.
const contenderToken = "contenders-token"

// A contender is another proxy that puts a token on requests, set up as its
// manual says: upstreams plain, based and files, and no rules, which it has none of.
type contender struct {
	name  string
	start func(t *testing.T, upstream *harness.Recorder) (addr string)
}

var contenders = []contender{
	{"httputil.ReverseProxy", startReverseProxy},
	{"nginx", startNginx},
	{"HAProxy", startHAProxy},
}

// TestContenders_LetHostileRequestsThrough sends the hostile cases to other
// proxies, for a table beside bearerd, of which TestBattery says that it is 0.
func TestContenders_LetHostileRequestsThrough(t *testing.T) {
	for _, who := range contenders {
		t.Run(who.name, func(t *testing.T) {
			t.Parallel()
			upstream := harness.NewRecorder(t)
			addr := who.start(t, upstream)
			var hostile, through int
			var classes []string
			of, past := map[string]int{}, map[string]int{}
			for _, c := range battery.Cases() {
				if !c.Hostile() {
					continue
				}
				if of[c.Class] == 0 {
					classes = append(classes, c.Class)
				}
				hostile++
				of[c.Class]++
				drain(addr, c)
				if withToken(upstream.Take()) > good(c) {
					through++
					past[c.Class]++
				}
			}
			line := fmt.Sprintf("contender: %-21s %3d of %d hostile inputs reached the upstream with the token:", who.name, through, hostile)
			for _, class := range classes {
				line += fmt.Sprintf(" %s %d/%d", class, past[class], of[class])
			}
			fmt.Println(line)
			if through == 0 {
				t.Error("none reached the upstream; is it set up?")
			}
		})
	}
}

// good is how many requests of a hostile case are none of its hostile ones.
func good(c battery.Case) int {
	n := 0
	for _, want := range c.Wants {
		if want.Line != "" {
			n++
		}
	}
	return n
}

func withToken(arrived []harness.Arrival) int {
	n := 0
	for _, a := range arrived {
		if bytes.Contains(a.Raw, []byte(contenderToken)) {
			n++
		}
	}
	return n
}

// pause is how long a contender may say nothing before it is taken to say no more.
// What reaches the upstream later than that is missed, to the contender's good.
const pause = 150 * time.Millisecond

// drain sends a case and reads whatever comes.
func drain(addr string, c battery.Case) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	var writing sync.WaitGroup
	writing.Go(func() { // until the connection closes at the latest
		_, _ = io.WriteString(conn, c.Raw)
		if c.Half {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	})
	in := bufio.NewReader(conn)
	for range c.Wants {
		_ = conn.SetReadDeadline(time.Now().Add(pause))
		resp, err := http.ReadResponse(in, &http.Request{Method: method(c, 0)})
		if err != nil {
			break
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err != nil || resp.Close {
			break
		}
	}
	_ = conn.Close()
	writing.Wait()
}

func startReverseProxy(t *testing.T, upstream *harness.Recorder) string {
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	proxy := &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(target)
		pr.Out.Header.Set("Authorization", "Bearer "+contenderToken)
	}}
	server := httptest.NewUnstartedServer(proxy)
	server.Config.ErrorLog = quiet
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func startNginx(t *testing.T, upstream *harness.Recorder) string {
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	return launch(t, addr, "nginx", fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen %[1]s;
    proxy_set_header Authorization "Bearer %[3]s";
    location /plain/ { proxy_pass http://%[2]s/; }
    location /based/ { proxy_pass http://%[2]s/v0.10/; }
    location /files/ { proxy_pass http://%[2]s/data/; }
  }
}
`, addr, upstream.Addr, contenderToken), "-p", ".", "-c")
}

func startHAProxy(t *testing.T, upstream *harness.Recorder) string {
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	return launch(t, addr, "haproxy", fmt.Sprintf(`global
  maxconn 64
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend in
  bind %[1]s
  acl plain path_beg /plain/
  acl based path_beg /based/
  acl files path_beg /files/
  http-request deny deny_status 404 unless plain or based or files
  http-request set-header Authorization "Bearer %[3]s"
  http-request replace-path /plain/(.*) /\1
  http-request replace-path /based/(.*) /v0.10/\1
  http-request replace-path /files/(.*) /data/\1
  default_backend out
backend out
  server one %[2]s
`, addr, upstream.Addr, contenderToken), "-db", "-f")
}

// launch runs a program with a configuration and returns when it listens.
func launch(t *testing.T, addr, name, config string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		harness.Missing(t, name+" is not installed")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(path, append(args, "config")...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
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
	if version, err := exec.Command(path, "-v").CombinedOutput(); err == nil {
		fmt.Printf("contender: %s is %s\n", name, regexp.MustCompile(`\d+\.\d+\.\d+`).Find(version))
	}
	for giveUp := time.Now().Add(patience); ; {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return addr
		}
		select {
		case <-exited:
			t.Fatalf("%s ended: %s", name, said.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(giveUp) {
			t.Fatalf("%s does not listen", name)
		}
	}
}
