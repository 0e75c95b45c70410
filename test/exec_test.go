package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// A job is `bearerd exec` of a command, in a directory with its configuration.
type job struct {
	*exec.Cmd
	dir            string
	stdin          io.WriteCloser
	stdout, stderr bytes.Buffer
}

// newJob prepares one. Of its environment env is most.
func newJob(t *testing.T, config string, env []string, command ...string) *job {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"config.yaml": config, "secret": emulator.DemoClientSecret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes a fraction of that
	t.Cleanup(cancel)
	j := &job{Cmd: exec.CommandContext(ctx, harness.Binary(t), append([]string{"exec", "--"}, command...)...), dir: dir}
	j.Dir, j.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	j.Stdout, j.Stderr, j.WaitDelay = &j.stdout, &j.stderr, time.Second
	return j
}

// end waits for the job and returns its exit code. It must have printed no secret.
func (j *job) end(t *testing.T) int {
	t.Helper()
	err := j.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	harness.CheckNoSecrets(t, j.stdout.Bytes())
	harness.CheckNoSecrets(t, j.stderr.Bytes())
	return j.ProcessState.ExitCode()
}

// ready starts the job with a pipe for its input, and waits for the command's line
// "ready". It returns the lines before that one.
func (j *job) ready(t *testing.T) []string {
	t.Helper()
	var err error
	if j.stdin, err = j.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	j.Stdout = nil
	out, err := j.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	var before []string
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			_ = j.Wait()
			t.Fatalf("the command was not ready: %v\n%s", err, j.stderr.Bytes())
		}
		if line == "ready\n" {
			return before
		}
		before = append(before, strings.TrimSuffix(line, "\n"))
	}
}

func TestExec_EndsAsItsCommandDoes(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	for _, tt := range []struct {
		command []string
		code    int
		says    string // on stderr
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "exit 3"}, 3, ""},
		{[]string{"sh", "-c", "exit 255"}, 255, ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"no-such-program"}, 127, "the command was not started: exec: \"no-such-program\": executable file not found in $PATH\n"},
		{[]string{"./no-such-program"}, 127, "the command was not started: exec: \"./no-such-program\": stat ./no-such-program: no such file or directory\n"},
		{[]string{"./config.yaml"}, 126, "the command was not started: exec: \"./config.yaml\": permission denied\n"},
	} {
		t.Run(strings.Join(tt.command, " "), func(t *testing.T) {
			t.Parallel()
			j := newJob(t, harness.Config(g), nil, tt.command...)
			if err := j.Start(); err != nil {
				t.Fatal(err)
			}
			if code := j.end(t); code != tt.code || j.stderr.String() != tt.says || j.stdout.Len() > 0 {
				t.Errorf("ended with %d and printed %q and %q, want %d, nothing and %q", code, j.stdout.Bytes(), j.stderr.Bytes(), tt.code, tt.says)
			}
		})
	}
}

// TestExec_GivesItsCommandAProxyOfItsOwn on ports that are free, though the
// configured one is taken; it is gone with the command. The command does not see
// what bearerd keeps for it.
func TestExec_GivesItsCommandAProxyOfItsOwn(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	g := harness.NewGlobus(t, emulator.Config{})
	config := strings.NewReplacer("127.0.0.1:0", taken.Addr().String(), `"file:secret"`, "env:THE_SECRET").Replace(harness.Config(g))
	j := newJob(t, config, []string{"THE_SECRET=" + g.Secret, "KEPT=kept", "NO_PROXY=.example.org", "https_proxy=http://127.0.0.1:9"},
		"sh", "-c", `env; echo ready; read line; echo "$line" >read`)
	env := map[string]string{}
	for _, line := range j.ready(t) {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	base, transfer, auth := env["BEARERD_URL"], env["GLOBUS_SDK_SERVICE_URL_TRANSFER"], env["GLOBUS_SDK_SERVICE_URL_AUTH"]
	for name, want := range map[string]string{
		"THE_SECRET": "", "KEPT": "kept", "NO_PROXY": ".example.org,localhost,127.0.0.1,::1",
		"GLOBUS_CLI_CLIENT_ID": g.ClientID, "GLOBUS_CLI_CLIENT_SECRET": "bearerd-placeholder",
	} {
		if env[name] != want {
			t.Errorf("the command has %s=%q, want %q", name, env[name], want)
		}
	}
	client := newClient(t)
	for at, says := range map[string]string{
		base + taskList:                  `"task_list"`,
		transfer + "/v0.10/task_list":    `"task_list"`, // for tools that drop the path of a base URL
		auth + "/v2/oauth2/userinfo":     g.ClientID,
		transfer + "/v2/oauth2/userinfo": "ClientError.NotFound",
	} {
		if _, body := get(t, client, at); !strings.Contains(body, says) {
			t.Errorf("%s: answered %s, want %s", at, body, says)
		}
	}
	client.CloseIdleConnections()
	if _, err := io.WriteString(j.stdin, "its input\n"); err != nil {
		t.Fatal(err)
	}
	if code := j.end(t); code != 0 || j.stderr.Len() > 0 {
		t.Errorf("ended with %d, and printed %q", code, j.stderr.Bytes())
	}
	if read, err := os.ReadFile(filepath.Join(j.dir, "read")); string(read) != "its input\n" {
		t.Errorf("the command read %q: %v", read, err)
	}
	for _, address := range []string{base, transfer, auth} {
		u, err := url.Parse(address)
		if err != nil || u.Port() == "" || u.Path != "" || u.Host == taken.Addr().String() {
			t.Fatalf("the command was told %q: %v", address, err)
		}
		if conn, err := net.Dial("tcp", u.Host); err == nil {
			_ = conn.Close()
			t.Errorf("%s still answers", address)
		}
	}
	issued := map[string]bool{}
	for _, r := range g.Records() {
		for _, token := range r.Issued {
			issued[token] = true
		}
		if r.Service == "transfer" && (r.Authorizations != 1 || !issued[r.Authorization]) {
			t.Errorf("%s arrived with %d Authorization, %s", r.Target, r.Authorizations, r.Authorization)
		}
	}
}

func TestExec_HandsSignalsToItsCommand(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			j := newJob(t, harness.Config(g), nil, "sh", "-c", `trap "exit $((40 + $1))" "$1"; echo ready; read line`, "sh", strconv.Itoa(int(s)))
			j.ready(t)
			if err := j.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			if code := j.end(t); code != 40+int(s) {
				t.Errorf("ended with %d, want %d of the command's trap\n%s", code, 40+int(s), j.stderr.Bytes())
			}
		})
	}
}

// TestExec_LeavesIgnoredWhatIsIgnored, as nohup has it.
func TestExec_LeavesIgnoredWhatIsIgnored(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	j := newJob(t, harness.Config(g), nil, "sh", "-c", "trap 'exit 0' USR1; echo ready; read line; exit 1")
	j.Args = append([]string{"nohup", j.Path}, j.Args[1:]...)
	nohup, err := exec.LookPath("nohup")
	if err != nil {
		t.Fatal(err)
	}
	j.Path = nohup
	j.ready(t)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} { // which arrive in this order, if both do
		if err := j.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	if code := j.end(t); code != 0 {
		t.Errorf("ended with %d after SIGHUP, want 0", code)
	}
}

// TestExec_HidesTheWayOut, whose URL may hold a password.
func TestExec_HidesTheWayOut(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	config := strings.Replace(harness.Config(g), "proxy:\n", "proxy:\n  proxy_url: env:WAY_OUT\n", 1)
	j := newJob(t, config, []string{"WAY_OUT=http://me:password@127.0.0.1:9"}, "sh", "-c", `test -z "$WAY_OUT"`)
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	if code := j.end(t); code != 0 {
		t.Errorf("ended with %d, so the command has WAY_OUT: %s", code, j.stderr.Bytes())
	}
}

// TestExec_StartsNoCommandItCouldNotServe: better no job than one that runs for an
// hour without its data.
func TestExec_StartsNoCommandItCouldNotServe(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	for _, tt := range []struct{ config, says string }{
		{strings.Replace(harness.Config(g), "policy:", "polcy:", 1), "config.yaml:12:1: polcy: unknown key"},
		{strings.Replace(harness.Config(g), `"file:secret"`, "env:NOT_SET", 1), "environment variable NOT_SET is not set"},
	} {
		j := newJob(t, tt.config, nil, "touch", "started")
		if err := j.Start(); err != nil {
			t.Fatal(err)
		}
		if code := j.end(t); code != 78 || !strings.Contains(j.stderr.String(), tt.says) {
			t.Errorf("ended with %d and printed %q, want 78 and %q", code, j.stderr.Bytes(), tt.says)
		}
		if _, err := os.Stat(filepath.Join(j.dir, "started")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the command was started: %v", err)
		}
	}
}
