package clients_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// A section of docs/tools.md is what a test runs it with.
type section struct {
	title   string
	clients []client // one for each way it is run
	pythons []sdk    // beside clients: whose Python runs it
	own     bool     // asks for tokens of its own, and so needs the environment
	private bool     // runs with a bearerd of its own
}

var sections = []section{
	{title: "curl", clients: []client{curl}},
	{title: "wget", clients: []client{wget}},
	{title: "HTTPie", clients: []client{httpie}},
	{title: "Python requests", clients: []client{requestsClient}, pythons: []sdk{sdk4}},
	{title: "Python urllib", clients: []client{urllib}, pythons: []sdk{sdk4}},
	{title: "globus-sdk", clients: []client{sdk4.client(), sdk3.client()}, pythons: sdks},
	{title: "ClientCredentialsAuthorizer", clients: []client{sdk4.client(), sdk3.client()}, pythons: sdks, own: true},
	{title: "ClientApp", clients: []client{sdk4.client(), sdk3.client()}, pythons: sdks, own: true},
	{title: "globus-cli", clients: []client{cli}, pythons: []sdk{globusCLI}},
	{title: "@globus/sdk (JavaScript)", clients: []client{javascript}},
	{title: "@globus/sdk (JavaScript)", clients: []client{javascript}, private: true},
	{title: "Java HttpURLConnection", clients: []client{urlConnection}},
	{title: "Java HttpClient", clients: []client{jdkClient}},
	{title: "Perl HTTP::Tiny", clients: []client{httpTiny}},
	{title: "Perl LWP", clients: []client{lwp}},
	{title: "R", clients: []client{rClient}},
	{title: "cron", clients: []client{curl}},
	{title: "Slurm", clients: []client{curl}},
	{title: "systemd timers", clients: []client{curl}},
}

// TestDocs_EachToolsLinesWorkAsTheyStand runs every block of docs/tools.md. The one
// thing changed in them is where bearerd listens.
func TestDocs_EachToolsLinesWorkAsTheyStand(t *testing.T) {
	doc := readTools(t)
	run := map[string]bool{"A status and no body": true, throughTitle: true} // which have tests of their own
	for _, s := range sections {
		blocks := doc[s.title]
		run[s.title] = true
		if len(blocks) == 0 {
			t.Errorf("docs/tools.md has no section %q with blocks of code", s.title)
		}
		for i, who := range s.clients {
			t.Run(s.title+", "+who.name, func(t *testing.T) {
				t.Parallel()
				who.version(t) // or the test ends: it is not installed
				tool := newToolTest(t, s, i)
				for _, b := range blocks {
					tool.run(t, b)
				}
				checkOurs(t, tool.globus, who)
			})
		}
	}
	for title := range doc {
		if !run[title] {
			t.Errorf("docs/tools.md has section %q, which no test runs", title)
		}
	}
}

// TestDocs_ACodeIsSeenWhereNoBodyIs runs what docs/tools.md says to look with.
func TestDocs_ACodeIsSeenWhereNoBodyIs(t *testing.T) {
	tool := newToolTest(t, section{}, 0)
	blocks := readTools(t)["A status and no body"]
	for _, name := range []string{"curl", "wget"} {
		program(t, name)
	}
	if len(blocks) != 1 {
		t.Fatalf("%d blocks, want 1", len(blocks))
	}
	for _, line := range lines(tool.filled(blocks[0].text)) {
		if got := tool.command(t, "/bin/sh", "-c", "{ "+line+"; } 2>&1"); !strings.Contains(got, "Bearerd-Error: denied") {
			t.Errorf("%s\nprinted %s\nwant Bearerd-Error", line, got)
		}
	}
	if n := len(requests(tool.globus)); n != 0 {
		t.Errorf("Transfer got %d denied requests", n)
	}
}

// TestJavaHttpClient_OffersHTTP2 straight at Transfer: what a request through
// bearerd must not have.
func TestJavaHttpClient_OffersHTTP2(t *testing.T) {
	program(t, "java")
	tool := newToolTest(t, section{}, 0)
	for _, straight := range []bool{true, false} {
		tool.globus.Reset()
		text := tool.filled(readTools(t)["Java HttpClient"][0].text)
		if straight {
			text = strings.ReplaceAll(text, tool.url+"/transfer", tool.globus.TransferURL)
		}
		tool.write(t, "Tool.java", text)
		tool.command(t, "java", "Tool.java")
		offered := 0
		for _, r := range requests(tool.globus) {
			if r.Header.Get("Upgrade") != "" || r.Header.Get("Http2-Settings") != "" || r.Header.Get("Connection") != "" {
				offered++
			}
		}
		if (offered > 0) != straight {
			t.Errorf("straight at Transfer %v: %d requests of %d offer HTTP/2", straight, offered, len(requests(tool.globus)))
		}
	}
}

// A block of code is its language and its text.
type block struct{ language, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// readTools returns the blocks of code of docs/tools.md by the titles above them.
func readTools(t *testing.T) map[string][]block {
	t.Helper()
	text, err := os.ReadFile("../../docs/tools.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]block{}
	for _, part := range regexp.MustCompile(`(?m)^##+ `).Split(string(text), -1) {
		title, body, _ := strings.Cut(part, "\n")
		for _, match := range fence.FindAllStringSubmatch(body, -1) {
			found[title] = append(found[title], block{match[1], match[2]})
		}
	}
	return found
}

// A toolTest is a place to run a tool in: bearerd in front of an emulated Globus,
// and transfer.json.
type toolTest struct {
	section
	python string // for Python, and to find programs beside; "" if none is needed
	globus *harness.Globus
	url    string // of bearerd
	dir    string
	env    []string
	body   []byte // transfer.json
}

// newToolTest starts bearerd for the i-th client of a section, with a configuration
// that edits have changed.
func newToolTest(t *testing.T, s section, i int, edits ...func(g *harness.Globus, config string) string) *toolTest {
	t.Helper()
	g := harness.NewGlobus(t, emulator.Config{})
	var submission struct{ Value string }
	straight(t, g, "/v0.10/submission_id", &submission)
	g.Reset()
	config := strings.Replace(harness.Config(g, harness.RuleSubmit), "127.0.0.1:0", "localhost:0", 1)
	for _, edit := range edits {
		config = edit(g, config)
	}
	b := harness.Start(t, config)
	tool := &toolTest{section: s, globus: g, url: strings.Replace(b.URL, "127.0.0.1", "localhost", 1), dir: t.TempDir()}
	path := filepath.Dir(harness.Binary(t)) + ":" + os.Getenv("PATH")
	if len(s.pythons) > 0 {
		tool.python = s.pythons[i].python(t)
		path = filepath.Dir(tool.python) + ":" + path
	}
	tool.env = []string{"PATH=" + path, "BEARERD_BASE_URL=" + tool.url} // the configuration is where it runs
	tool.write(t, "config.yaml", config)
	tool.write(t, "secret", g.Secret)
	ends := g.EndpointIDs()
	tool.body = fmt.Appendf(nil, `{
  "DATA_TYPE": "transfer", "submission_id": "%s", "label": "größe",
  "source_endpoint": "%s", "destination_endpoint": "%s",
  "DATA": [{"DATA_TYPE": "transfer_item", "source_path": "/a", "destination_path": "/b"}]
}
`, submission.Value, ends[0], ends[1])
	tool.write(t, "transfer.json", string(tool.body))
	return tool
}

// filled returns the text for this bearerd.
func (tool *toolTest) filled(text string) string {
	return strings.ReplaceAll(text, "http://localhost:8080", tool.url)
}

func (tool *toolTest) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(tool.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs a program where transfer.json is.
func (tool *toolTest) command(t *testing.T, name string, args ...string) string {
	t.Helper()
	script := `cd "$1" && shift && exec "$@"`
	return run(t, "/bin/sh", tool.env, append([]string{"-c", script, "sh", tool.dir, name}, args...)...)
}

// run runs a block and checks what it printed and what Transfer received.
func (tool *toolTest) run(t *testing.T, b block) {
	t.Helper()
	before := len(requests(tool.globus))
	got, isTool := tool.runBlock(t, block{b.language, tool.filled(b.text)})
	if !isTool {
		return
	}
	lists, submits := strings.Contains(strings.ToLower(b.text), "endpoint"), strings.Contains(b.text, "transfer.json")
	if lists {
		for _, id := range tool.globus.EndpointIDs() {
			if !strings.Contains(got, id) {
				t.Errorf("endpoint %s is not in what it printed:\n%s", id, got)
			}
		}
	}
	received := requests(tool.globus)[before:]
	for _, r := range received {
		if r.Header.Get("Upgrade") != "" || r.Header.Get("Http2-Settings") != "" {
			t.Errorf("%s %s arrived with an offer of HTTP/2", r.Method, r.Target)
		}
	}
	if !submits {
		return
	}
	last := received[len(received)-1]
	if !strings.Contains(got, "Accepted") || last.Method != "POST" || last.Target != "/v0.10/transfer" {
		t.Errorf("it printed\n%s\nand Transfer last received %s %s", got, last.Method, last.Target)
	}
	reads := strings.Contains(b.text, "json.load") || strings.Contains(b.text, "JSON.parse") // and writes it anew
	if !reads && !bytes.Equal(last.Body, tool.body) || !sameJSON(t, last.Body, tool.body) {
		t.Errorf("Transfer received\n%s\nwant\n%s", last.Body, tool.body)
	}
}

// privately leaves the tool no bearerd but the one that exec starts for it, at a
// site whose proxy is down.
func (tool *toolTest) privately() {
	tool.env = append(tool.env, "BEARERD_BASE_URL=", "NO_PROXY=", "http_proxy=http://127.0.0.1:9", "https_proxy=http://127.0.0.1:9")
}

// listen starts a bearerd with these listeners, but on a loopback address that no
// other has, and makes its configuration the tool's.
func (tool *toolTest) listen(t *testing.T, listeners string) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(tool.dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const was = "proxy:\n  listeners: [{address: \"localhost:0\"}]\n"
	if !strings.Contains(string(config), was) || !strings.HasPrefix(listeners, "proxy:\n  listeners:\n") {
		t.Fatalf("these are no listeners to put into the configuration:\n%s", listeners)
	}
	at := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	now := strings.ReplaceAll(strings.Replace(string(config), was, listeners, 1), "localhost:", at+":")
	b := harness.Start(t, now)
	tool.env = append(tool.env, "BEARERD_BASE_URL=", "BEARERD_CONFIG="+filepath.Join(b.Dir, "config.yaml"))
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var docs [2]any
	for i, text := range [][]byte{a, b} {
		if err := json.Unmarshal(text, &docs[i]); err != nil {
			t.Error(err)
		}
	}
	return reflect.DeepEqual(docs[0], docs[1])
}

// runBlock runs a block by its language and returns what it printed; false if it
// was only something to keep.
func (tool *toolTest) runBlock(t *testing.T, b block) (string, bool) {
	t.Helper()
	switch b.language {
	case "sh":
		return tool.command(t, "/bin/sh", "-e", tool.write(t, "tool.sh", b.text)), true
	case "bash":
		tool.privately()
		return tool.command(t, "/bin/bash", tool.write(t, "job.sh", b.text)), true
	case "python":
		path := tool.write(t, "tool.py", b.text)
		if tool.own {
			return tool.command(t, "/bin/sh", "-c", `eval "$(bearerd env)"; exec "$0" "$1"`, tool.python, path), true
		}
		return tool.command(t, tool.python, path), true
	case "java":
		return tool.command(t, "java", tool.write(t, "Tool.java", b.text)), true
	case "perl":
		return tool.command(t, "perl", tool.write(t, "tool.pl", b.text)), true
	case "r":
		return tool.command(t, "Rscript", "--vanilla", tool.write(t, "tool.R", b.text)), true
	case "yaml":
		if !tool.private {
			tool.listen(t, b.text)
		}
		return "", false
	case "javascript":
		link, err := filepath.Abs(modules)
		if err == nil {
			err = os.Symlink(link, filepath.Join(tool.dir, "node_modules"))
		}
		if err != nil {
			t.Fatal(err)
		}
		path := tool.write(t, "tool.mjs", b.text)
		if tool.private {
			tool.privately()
			return tool.command(t, "bearerd", "exec", "--", "node", path), true
		}
		return tool.command(t, "/bin/sh", "-c", `eval "$(bearerd env)"; exec node "$0"`, path), true
	case "cron":
		_, command, found := strings.Cut(b.text, "* * * ")
		if !found || strings.Contains(command, "%") {
			t.Fatalf("%s is no line that this test knows to run", b.text)
		}
		tool.env = []string{"PATH=/usr/bin:/bin"}
		return tool.command(t, "/bin/sh", "-c", command), true
	case "ini":
		return tool.unit(t, b.text)
	}
	t.Fatalf("no test knows how to run a block of %q", b.language)
	return "", false
}

var execStart = regexp.MustCompile(`(?m)^ExecStart=(.*)$`)

// unit has systemd read a unit, and runs what a service would start. No systemd
// runs here to do that itself.
func (tool *toolTest) unit(t *testing.T, text string) (string, bool) {
	t.Helper()
	first, _, _ := strings.Cut(text, "\n")
	path := tool.write(t, strings.TrimPrefix(first, "# "), text)
	out, err := exec.CommandContext(t.Context(), program(t, "systemd-analyze"), "verify", "--man=no", path).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	start := execStart.FindStringSubmatch(text)
	if start == nil {
		return "", false
	}
	return tool.command(t, "/bin/sh", "-c", "exec "+start[1]), true
}
