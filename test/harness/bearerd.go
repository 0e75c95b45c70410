package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
)

const (
	secretFile = "secret" // beside the configuration, which is where bearerd runs
	configFile = "config.yaml"
	patience   = 30 * time.Second // for anything bearerd should do, which takes a fraction of it
)

// Bearerd is a running `bearerd run`.
type Bearerd struct {
	URL string // http://HOST:PORT of the first address listened on
	PID int
	Dir string // where it runs: its configuration and secret

	t       testing.TB
	secrets []string
	cmd     *exec.Cmd
	stdout  output
	stderr  output
	exited  chan struct{} // closed once it has exited and all it wrote was read
	stopped bool
}

// Option changes what Start starts.
type Option func(*setup)

type setup struct {
	secret string
	plain  bool
	args   []string
	env    []string
	files  map[string]string
	dirs   []string
	log    *os.File
	cgroup string

	descriptors int // 0: as many as the test may have

	sockets     []*os.File
	socketNames []string
}

// Secret has Start write another client secret than the emulator's own.
func Secret(secret string) Option { return func(s *setup) { s.secret = secret } }

// Args adds arguments behind `run -c config.yaml`.
func Args(args ...string) Option { return func(s *setup) { s.args = append(s.args, args...) } }

// Plain has Start start a bearerd without the race detector, which needs several times
// the memory and time.
func Plain() Option { return func(s *setup) { s.plain = true } }

// Env adds NAME=value to an environment that has little else.
func Env(pairs ...string) Option { return func(s *setup) { s.env = append(s.env, pairs...) } }

// File writes another file beside the configuration, for bearerd's user alone.
func File(name, text string) Option {
	return func(s *setup) { s.files[name] = text }
}

// Dir makes a directory beside the configuration, for bearerd's user alone.
func Dir(name string) Option { return func(s *setup) { s.dirs = append(s.dirs, name) } }

// LogTo has bearerd write its log to a file or pipe of the test's own. Log and
// WaitLog then know of none of it, and Start does not wait until bearerd listens:
// see WaitReady.
func LogTo(file *os.File) Option { return func(s *setup) { s.log = file } }

// Within has bearerd run in a cgroup, by its cgroup.procs.
func Within(procs string) Option { return func(s *setup) { s.cgroup = procs } }

// Descriptors bounds what bearerd may have open, as ulimit -n does.
func Descriptors(n int) Option { return func(s *setup) { s.descriptors = n } }

func (s setup) binary(t testing.TB) string {
	if s.plain && len(buildFlags) > 0 {
		return built.plain.build(t)
	}
	return Binary(t)
}

// Start runs bearerd with a configuration (see Config) and returns when it
// listens. When the test ends bearerd is stopped, must exit with 0, and must
// have written no token and no secret.
func Start(t testing.TB, config string, options ...Option) *Bearerd {
	t.Helper()
	s := setup{secret: emulator.DemoClientSecret, files: map[string]string{}}
	for _, option := range options {
		option(&s)
	}
	if !strings.Contains(config, "\nadmin:") {
		config += "admin: {address: \"127.0.0.1:0\"}\n" // the usual port is one
	}
	b := &Bearerd{t: t, Dir: t.TempDir(), secrets: []string{s.secret, emulator.DemoClientSecret}, exited: make(chan struct{})}
	s.files[configFile], s.files[secretFile] = config, s.secret+"\n"
	for _, name := range s.dirs {
		if err := os.Mkdir(filepath.Join(b.Dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range s.files {
		if err := os.WriteFile(filepath.Join(b.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.cmd = exec.Command(s.binary(t), append([]string{"run", "-c", configFile, "--log-format", "json"}, s.args...)...)
	if s.cgroup != "" {
		b.cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, s.cgroup}, b.cmd.Args...)
		b.cmd.Path = "/bin/sh"
	}
	if s.descriptors > 0 {
		b.cmd = exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, s.descriptors)}, b.cmd.Args...)...)
	}
	if len(s.sockets) > 0 { // the process has the shell's id
		b.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, b.cmd.Args...)...)
		b.cmd.ExtraFiles = s.sockets
		s.env = append(s.env, fmt.Sprintf("LISTEN_FDS=%d", len(s.sockets)), "LISTEN_FDNAMES="+strings.Join(s.socketNames, ":"))
	}
	b.cmd.Dir = b.Dir
	b.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.Dir, "TMPDIR=" + b.Dir}, s.env...)
	b.stdout.init()
	b.stderr.init()
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.stderr
	if s.log != nil {
		b.cmd.Stderr = s.log
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.PID = b.cmd.Process.Pid
	go func() { // ends with the process, which end waits for
		_ = b.cmd.Wait() // its outcome is in ProcessState
		close(b.exited)
	}()
	t.Cleanup(b.end)
	if s.log != nil {
		return b
	}
	line := b.WaitLog(func(line map[string]any) bool { return line["message"] == "listening" })
	address, _ := line["address"].(string)
	if _, _, err := net.SplitHostPort(address); err != nil {
		t.Fatalf("bearerd listens on %q", address)
	}
	b.URL = "http://" + address
	return b
}

// AdminURL returns http://HOST:PORT of the admin section's address, or of
// probe_address.
func (b *Bearerd) AdminURL(key string) string {
	b.t.Helper()
	line := b.WaitLog(func(line map[string]any) bool {
		return line["message"] == "admin listening" && line["key"] == "admin."+key
	})
	address, _ := line["address"].(string)
	return "http://" + address
}

// WaitReady waits until bearerd is ready, by what its admin listener says.
func (b *Bearerd) WaitReady(adminURL string) {
	b.t.Helper()
	command := exec.Command(Binary(b.t), "healthcheck", "--wait", patience.String(), "--admin-url", adminURL)
	command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // or it takes a second to end
	if out, err := command.CombinedOutput(); err != nil {
		b.t.Fatalf("bearerd is not ready: %v, %s", err, out)
	}
}

// Replace puts another file in the place of one, at once.
func (b *Bearerd) Replace(name, text string) {
	b.t.Helper()
	next := filepath.Join(b.Dir, name+".next")
	if err := errors.Join(os.WriteFile(next, []byte(text), 0o600), os.Rename(next, filepath.Join(b.Dir, name))); err != nil {
		b.t.Fatal(err)
	}
}

// Log returns the log so far, a map for each line. Lines appear up to 0.1 s late.
func (b *Bearerd) Log() []map[string]any {
	lines, _ := b.stderr.snapshot()
	return lines
}

// WaitLog waits for a line that wanted accepts, also among those already there,
// and returns it. The test fails if none comes.
func (b *Bearerd) WaitLog(wanted func(line map[string]any) bool) map[string]any {
	b.t.Helper()
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	for seen, exited := 0, false; ; {
		lines, changed := b.stderr.snapshot()
		if i := slices.IndexFunc(lines[seen:], wanted); i >= 0 {
			return lines[seen+i]
		}
		seen = len(lines)
		if exited {
			b.t.Fatalf("bearerd exited with %d before the log line that was waited for", b.cmd.ProcessState.ExitCode())
		}
		select {
		case <-changed:
		case <-b.exited:
			exited = true // look once more
		case <-giveUp.C:
			b.t.Fatal("the log line that was waited for did not come")
		}
	}
}

// Requests waits until the log has n lines for requests, and returns all it has. An
// answer may arrive before its line is written: the lines of two connections are in the
// order of the requests only for who waits here between them.
func (b *Bearerd) Requests(n int) []map[string]any {
	b.t.Helper()
	var found []map[string]any
	b.WaitLog(func(line map[string]any) bool {
		if line["message"] == "request" {
			found = append(found, line)
		}
		return len(found) >= n
	})
	return b.Lines("request")
}

// Lines returns the log lines so far with a message.
func (b *Bearerd) Lines(message string) []map[string]any {
	return slices.DeleteFunc(b.Log(), func(line map[string]any) bool { return line["message"] != message })
}

// Signal sends a signal.
func (b *Bearerd) Signal(s os.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Fatal(err)
	}
}

// Wait waits for bearerd to exit and returns its exit code, -1 if a signal ended it.
func (b *Bearerd) Wait() int {
	b.t.Helper()
	select {
	case <-b.exited:
	case <-time.After(patience):
		_ = b.cmd.Process.Kill()
		<-b.exited
		b.t.Errorf("bearerd did not exit within %v", patience)
	}
	b.stopped = true
	return b.cmd.ProcessState.ExitCode()
}

// Stop sends SIGTERM, waits, and checks that bearerd exited with 0 and wrote no
// token and no secret.
func (b *Bearerd) Stop() {
	b.t.Helper()
	b.Signal(syscall.SIGTERM)
	if code := b.Wait(); code != 0 {
		b.t.Errorf("bearerd exited with %d after SIGTERM, want 0", code)
	}
	b.checkOutput()
}

// Output returns everything bearerd wrote so far, stdout first.
func (b *Bearerd) Output() []byte { return slices.Concat(b.stdout.bytes(), b.stderr.bytes()) }

func (b *Bearerd) checkOutput() {
	b.t.Helper()
	for _, found := range FindSecrets(b.Output(), b.secrets...) {
		b.t.Errorf("what bearerd wrote: %s", found)
	}
}

// end is what every started bearerd comes to.
func (b *Bearerd) end() {
	if !b.stopped {
		b.Stop()
	}
	b.checkOutput()
	if b.t.Failed() && len(FindSecrets(b.Output(), b.secrets...)) == 0 {
		b.t.Logf("bearerd wrote:\n%s", b.Output())
	}
}

// output keeps what is written to it, and takes lines of JSON apart.
type output struct {
	mu      sync.Mutex // guards the fields below
	data    []byte
	parsed  int // bytes of data that lines has
	lines   []map[string]any
	changed chan struct{} // closed when data grows, and replaced
}

func (o *output) init() { o.changed = make(chan struct{}) }

// Write keeps p. A line that is no JSON object counts as its message.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = append(o.data, p...)
	for {
		n := bytes.IndexByte(o.data[o.parsed:], '\n')
		if n < 0 {
			break
		}
		text := o.data[o.parsed : o.parsed+n]
		o.parsed += n + 1
		var line map[string]any
		if json.Unmarshal(text, &line) != nil {
			line = map[string]any{"message": string(text)}
		}
		o.lines = append(o.lines, line)
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

func (o *output) snapshot() (lines []map[string]any, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.lines), o.changed
}

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.data)
}

// FreePort returns a port of loopback that nobody listens on, for programs that
// cannot choose one themselves.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
