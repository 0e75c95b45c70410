package corpus_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"bearerd/proxy/daemon"
	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// A place is where a client finds the upstream: straight, or through bearerd.
type place struct {
	base   string // of upstream up
	files  string // of upstream files, which has path: files
	globus *harness.Globus
	dir    string // the client's own
}

// A client makes the same requests each time.
type client struct {
	name string
	run  func(t *testing.T, at place)
}

var clients = slices.Concat([]client{
	curl("--http1.0"), curl("--http1.1"), curl("--http2"),
	{"wget", runWget},
	{"urllib", python("sdk4", "corpus.py", "urllib")},
	{"http.client", python("sdk4", "corpus.py", "http.client")},
	{"requests", python("sdk4", "corpus.py", "requests")},
	{"globus-sdk 4", python("sdk4", "sdk.py")},
	{"globus-sdk 3", python("sdk3", "sdk.py")},
	{"globus-cli", runCLI},
	{"HttpClient (JDK)", beside("java", "Corpus.java", "HttpClient", ".")},
	{"HttpURLConnection (JDK)", beside("java", "Corpus.java", "HttpURLConnection", ".")},
	{"Node fetch", beside("node", "corpus.mjs", "fetch")},
	{"Node http", beside("node", "corpus.mjs", "http")},
	{"HTTP::Tiny", beside("perl", "corpus.pl", "HTTP::Tiny", ".")},
	{"LWP", runLWP},
	{"Go", runGo},
})

// fewest is how many requests a client of the corpus makes at least, so that none
// becomes easy unnoticed.
const fewest = 8

func TestCorpus_ArrivesByteForByte(t *testing.T) {
	var mu sync.Mutex // guards total and done
	total, done := 0, 0
	t.Run("clients", func(t *testing.T) {
		for _, who := range clients {
			t.Run(who.name, func(t *testing.T) {
				t.Parallel()
				n := compare(t, who)
				mu.Lock()
				defer mu.Unlock()
				total += n
				if !t.Failed() {
					done++
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	fmt.Printf("corpus: %d requests of %d clients, 100 %% byte-identical path, query, body; explain says the same of each\n", total, done)
	if done == len(clients) && total < 200 {
		t.Errorf("%d requests, want 200 at least", total)
	}
}

// compare has a client make its requests straight and through bearerd, and returns
// how many there are.
func compare(t *testing.T, who client) int {
	t.Helper()
	g, upstream := harness.NewGlobus(t, emulator.Config{}), harness.NewRecorder(t)
	who.run(t, place{upstream.URL + "/api/v1", upstream.URL + "/data", g, t.TempDir()})
	sent := upstream.Take()
	b := harness.Start(t, config(g, upstream.URL))
	who.run(t, place{b.URL + "/up", b.URL + "/files", g, t.TempDir()})
	received := upstream.Take()
	offered := slices.ContainsFunc(sent, func(a harness.Arrival) bool { return a.Whole() && a.Request.Header.Get("Upgrade") == "h2c" })
	if offers := who.name == "curl --http2" || who.name == "HttpClient (JDK)"; offered != offers {
		t.Errorf("that it offers HTTP/2 is %v", offered)
	}
	if len(sent) < fewest {
		t.Errorf("%d requests were sent, want %d at least", len(sent), fewest)
	}
	for i, want := range sent {
		if i >= len(received) {
			t.Errorf("%d requests arrived of %d", len(received), len(sent))
			break
		}
		for _, difference := range differences(received[i], want) {
			t.Errorf("%q: %s", want.Line(), difference)
		}
	}
	if len(received) > len(sent) {
		t.Errorf("%d requests arrived of %d", len(received), len(sent))
	}
	b.Stop() // and all it logged is there
	for _, line := range b.Lines("request") {
		if code, _ := line["code"].(string); code != "" {
			t.Errorf("%v %v was answered %s: %v", line["method"], line["path"], code, line["err"])
		}
	}
	checkExplained(t, b, sent)
	return len(sent)
}

// checkExplained has explain say of each request what the proxy did: forward it.
func checkExplained(t *testing.T, b *harness.Bearerd, sent []harness.Arrival) {
	t.Helper()
	explainer, err := daemon.NewExplainer(filepath.Join(b.Dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	toBearerd := strings.NewReplacer(" /api/v1", " /up", " /data", " /files")
	for _, one := range sent {
		line, rest, _ := bytes.Cut(one.Raw, []byte("\n"))
		raw := io.MultiReader(strings.NewReader(toBearerd.Replace(string(line))+"\n"), bytes.NewReader(rest))
		if explained, err := explainer.Explain(0, raw, ""); err != nil || !explained.Allowed {
			t.Errorf("%q: the proxy forwarded it; explain: %v\n%s", one.Line(), err, explained.Text())
		}
	}
}

// differences are those between a request that was received through bearerd and
// what was sent.
func differences(got, want harness.Arrival) (found []string) {
	if !want.Whole() || !got.Whole() {
		return []string{fmt.Sprintf("broke off: %v; %v", want.Err, got.Err)}
	}
	if got.Target() != want.Target() || got.Request.Method != want.Request.Method {
		found = append(found, fmt.Sprintf("received %q", got.Line()))
	}
	if !bytes.Equal(got.Body, want.Body) {
		found = append(found, fmt.Sprintf("sent a body of %d bytes and received another, of %d", len(want.Body), len(got.Body)))
	}
	for _, name := range []string{"Content-Type", "Content-Encoding", "Accept", "User-Agent"} {
		if a, b := got.Request.Header.Values(name), want.Request.Header.Values(name); !slices.Equal(a, b) {
			found = append(found, fmt.Sprintf("sent %s %q and received %q", name, b, a))
		}
	}
	for _, name := range []string{"Upgrade", "Http2-Settings"} {
		if values := got.Request.Header.Values(name); len(values) > 0 {
			found = append(found, fmt.Sprintf("received %s %q", name, values))
		}
	}
	if n := len(got.Request.Header.Values("Authorization")); n != 1 {
		found = append(found, fmt.Sprintf("received %d Authorization", n))
	}
	return found
}

func config(g *harness.Globus, upstream string) string {
	return fmt.Sprintf(`proxy:
  listeners: [{address: "127.0.0.1:0"}]
  upstreams:
    auth:  {preset: auth, url: "%[2]s", insecure_http: true, private: true}
    up:    {url: "%[1]s/api/v1", insecure_http: true, private: true, credential: transfer}
    files: {url: "%[1]s/data", insecure_http: true, private: true, credential: transfer, path: files}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%[2]s/v2/oauth2/token", insecure_http: true, private: true, client_id: "%[3]s", client_secret: "file:secret"}
  tokens:
    transfer: {client: globus, resource_server: transfer.api.globus.org, scopes: ["%[4]s"]}
log: {format: json}
policy:
  rules:
    - {name: all, callers: [local], upstreams: [up, files], methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS], paths: [/**]}
`, upstream, g.AuthURL, g.ClientID, emulator.TransferScope)
}

// run runs a program that is beside the corpus to its end. It must succeed.
func run(t *testing.T, at place, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + at.dir, "TMPDIR=" + at.dir, "LANG=C.UTF-8", "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1",
		"NO_PROXY=127.0.0.1,localhost", "BASE=" + at.base, "FILES=" + at.files,
	}, env...)
	out, err := cmd.CombinedOutput()
	harness.CheckNoSecrets(t, out)
	if err != nil && !t.Failed() {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(name), args, err, out)
	}
}

// beside is a client that a program of the system runs.
func beside(name string, args ...string) func(*testing.T, place) {
	return func(t *testing.T, at place) {
		run(t, at, nil, program(t, name), args...)
	}
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		harness.Missing(t, name+" is not installed")
	}
	return path
}

// python is a client in one of the Pythons of test/clients.
func python(which string, args ...string) func(*testing.T, place) {
	return func(t *testing.T, at place) {
		run(t, at, nil, installed(t, which, "python"), args...)
	}
}

func installed(t *testing.T, which, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../.cache/clients", which, "bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		harness.Missing(t, which+" is not installed; run make clients")
	}
	return path
}

// lines returns those of a file beside this one.
func lines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// urls are those of all targets and names of files.
func (p place) urls(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, line := range lines(t, "targets.txt") {
		all = append(all, p.base+line)
	}
	for _, line := range lines(t, "files.txt") {
		all = append(all, p.files+line)
	}
	return all
}

// bodies are of every length that matters, of all bytes.
func bodies() [][]byte {
	var all [][]byte
	for _, length := range []int{0, 1, 256, 65536, 65537, 1 << 20} {
		body := make([]byte, length)
		for i := range body {
			body[i] = byte(i)
		}
		all = append(all, body)
	}
	return all
}
