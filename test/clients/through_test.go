package clients_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"bearerd/test/harness"
)

// throughTitle is the section of docs/tools.md about tools that have bearerd for
// their proxy.
const throughTitle = "http_proxy"

// transferHost is where Transfer is, which an outway leads to the emulator's.
const transferHost = "transfer.api.globus.org"

// An outway is the site's way out: a forward proxy behind which Transfer's name is the
// emulator, in TLS. All other requests go on as they are.
type outway struct {
	url string

	mu      sync.Mutex // guards the field below
	tunnels []string   // that were asked for
}

func newOutway(t *testing.T, transfer string) *outway {
	t.Helper()
	o := &outway{}
	var tunnels sync.WaitGroup
	straight := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			straight.ServeHTTP(w, r)
			return
		}
		o.mu.Lock()
		o.tunnels = append(o.tunnels, r.Host)
		o.mu.Unlock()
		far, err := net.Dial("tcp", transfer)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		for _, ends := range [][2]net.Conn{{near, far}, {far, near}} { // until either end closes
			tunnels.Go(func() {
				_, _ = io.Copy(ends[0], ends[1])
				_, _ = near.Close(), far.Close()
			})
		}
	}))
	t.Cleanup(tunnels.Wait)
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

// seen returns the hosts that tunnels led to, each once.
func (o *outway) seen() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.Sort(o.tunnels)
	return slices.Compact(o.tunnels)
}

// newThroughTest is newToolTest where bearerd is a proxy, and Transfer is at its own
// name in https.
func newThroughTest(t *testing.T, s section, i int) (*toolTest, *outway) {
	t.Helper()
	var way *outway
	tool := newToolTest(t, s, i, func(g *harness.Globus, config string) string {
		authority := harness.NewAuthority(t)
		ca := filepath.Join(t.TempDir(), "ca.crt")
		if err := os.WriteFile(ca, []byte(authority.PEM), 0o600); err != nil {
			t.Fatal(err)
		}
		transfer := httptest.NewUnstartedServer(g.Transfer())
		transfer.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Pair(x509.Certificate{DNSNames: []string{transferHost}})}}
		transfer.StartTLS()
		t.Cleanup(transfer.Close)
		way = newOutway(t, transfer.Listener.Addr().String())
		for was, is := range map[string]string{
			"proxy:\n": fmt.Sprintf("proxy:\n  proxy_url: %q\n", way.url), `"localhost:0"`: `"localhost:0", forward: true`,
			fmt.Sprintf("url: %q, insecure_http: true, private: true}\n  drain", g.TransferURL): fmt.Sprintf("tls: {ca: %q}}\n  drain", "file:"+ca),
		} {
			if strings.Count(config, was) != 1 {
				t.Fatalf("%q is not in the configuration once", was)
			}
			config = strings.Replace(config, was, is, 1)
		}
		return config
	})
	return tool, way
}

// hasProxy says to a tool what its proxy is, in the ways that there are.
func (tool *toolTest) hasProxy() {
	host, port, _ := strings.Cut(strings.TrimPrefix(tool.url, "http://"), ":")
	tool.env = append(tool.env, "http_proxy="+tool.url, "NO_PROXY=", "JAVA_TOOL_OPTIONS=-Dhttp.proxyHost="+host+" -Dhttp.proxyPort="+port)
}

// checkThrough checks that what reached Transfer did so in tunnels of bearerd's own.
func checkThrough(t *testing.T, tool *toolTest, way *outway, who client) {
	t.Helper()
	checkOurs(t, tool.globus, who)
	if got := way.seen(); !slices.Equal(got, []string{transferHost + ":443"}) {
		t.Errorf("tunnels led to %q, want Transfer in https alone", got)
	}
	for _, r := range requests(tool.globus) {
		if r.Host != transferHost || !strings.HasPrefix(r.Target, "/v0.10/") || r.Header.Get("Proxy-Connection") != "" || r.Header.Get("Proxy-Authorization") != "" {
			t.Errorf("Transfer received %s %s for %s, with %v", r.Method, r.Target, r.Host, r.Header)
		}
	}
}

// TestThrough_ToolsNeedNothingButAProxy runs what docs/tools.md has for a tool, with
// Transfer's own URL in it.
func TestThrough_ToolsNeedNothingButAProxy(t *testing.T) {
	titles := []string{"curl", "wget", "HTTPie", "Python requests", "Python urllib", "Java HttpURLConnection", "Java HttpClient", "Perl HTTP::Tiny", "R"}
	doc := readTools(t)
	for _, s := range sections {
		if !slices.Contains(titles, s.title) {
			continue
		}
		t.Run(s.title, func(t *testing.T) {
			t.Parallel()
			s.clients[0].version(t) // or the test ends: it is not installed
			tool, way := newThroughTest(t, s, 0)
			tool.hasProxy()
			for _, b := range doc[s.title] {
				b.text = strings.ReplaceAll(b.text, "http://localhost:8080/transfer", "http://"+transferHost)
				tool.run(t, b)
			}
			checkThrough(t, tool, way, s.clients[0])
		})
	}
}

// TestThrough_DocsWorkAsTheyStand runs the section of docs/tools.md about it.
func TestThrough_DocsWorkAsTheyStand(t *testing.T) {
	doc := readTools(t)
	if len(doc[throughTitle]) != 3 {
		t.Fatalf("%d blocks, want 3", len(doc[throughTitle]))
	}
	for i, who := range []client{curl, requestsClient, urlConnection} { // a block each
		t.Run(who.name, func(t *testing.T) {
			t.Parallel()
			who.version(t)
			s := section{}
			if who.name == requestsClient.name {
				s.pythons = []sdk{sdk4}
			}
			tool, way := newThroughTest(t, s, 0)
			tool.env = append(tool.env, "NO_PROXY=")
			class := strings.ReplaceAll(doc["Java HttpURLConnection"][0].text, "http://localhost:8080/transfer", "http://"+transferHost)
			tool.write(t, "Tool.java", class)
			b := doc[throughTitle][i]
			b.text = strings.ReplaceAll(b.text, "Port=8080", "Port="+tool.url[strings.LastIndexByte(tool.url, ':')+1:])
			tool.run(t, b)
			if n := len(requests(tool.globus)); n != 2 {
				t.Errorf("Transfer received %d requests, want a search and a submission", n)
			}
			checkThrough(t, tool, way, who)
		})
	}
}

// TestThrough_CurlIsToldWhatIsNotForwarded, and none of it leaves.
func TestThrough_CurlIsToldWhatIsNotForwarded(t *testing.T) {
	program(t, "curl")
	tool, way := newThroughTest(t, section{}, 0)
	tool.hasProxy()
	for _, tt := range []struct{ url, want string }{
		{"http://169.254.169.254/latest/meta-data/", "421 host_refused"},
		{"http://auth.globus.org/v2/oauth2/userinfo", "421 host_refused"}, // here Auth is elsewhere
		{"http://" + transferHost + ":8443/v0.10/task_list", "421 host_refused"},
		{"http://localhost:9/", "421 host_refused"},
		{"http://me:secret@" + transferHost + "/v0.10/task_list", "200 "}, // curl makes an Authorization of it, which is replaced
	} {
		if got := tool.command(t, "curl", "-sS", "-o", "answer", "-w", "%{http_code} %header{bearerd-error}", tt.url); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.url, got, tt.want)
		}
	}
	if got := tool.command(t, "/bin/sh", "-c", "curl -sS -D - -x "+tool.url+" https://"+transferHost+"/v0.10/task_list 2>&1 || true"); !strings.Contains(got, "Bearerd-Error: method_refused") {
		t.Errorf("a tunnel: %s", got)
	}
	checkThrough(t, tool, way, curl)
}
