//go:build linux

package test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// onPassed is a configuration with listeners on passed sockets.
func onPassed(g *harness.Globus, listeners string) string {
	return strings.Replace(harness.Config(g), `{address: "127.0.0.1:0"}`, listeners, 1)
}

// addressesOf are where a bearerd says that it listens.
func addressesOf(b *harness.Bearerd) []string {
	var addresses []string
	for _, line := range b.Lines("listening") {
		address, _ := line["address"].(string)
		addresses = append(addresses, address)
	}
	return addresses
}

func TestSystemd_ServesOnAllSocketsOfAName(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	path := filepath.Join(t.TempDir(), "b.sock")
	one, oneFile := harness.ListenAsSystemd(t, "tcp4", "127.0.0.1:0")
	two, twoFile := harness.ListenAsSystemd(t, "tcp4", "127.0.0.2:0")
	local, unixFile := harness.ListenAsSystemd(t, "unix", path)
	sockets := []harness.Option{harness.Socket("web", oneFile), harness.Socket("bearerd.socket", unixFile), harness.Socket("web", twoFile)}
	config := onPassed(g, `{address: "systemd:web"}, {address: "systemd:bearerd.socket"}`)
	b := harness.Start(t, config, sockets...)
	b.WaitReady(b.AdminURL("address"))
	if got, want := addressesOf(b), []string{one.Addr().String(), two.Addr().String(), "unix:" + path}; !slices.Equal(got, want) {
		t.Errorf("listens on %q, want %q", got, want)
	}
	status := func(client *http.Client, url string) int {
		code, _ := get(t, client, url+taskList)
		return code
	}
	client, onUnix := newClient(t), onSocket(path)
	for _, url := range []string{"http://" + one.Addr().String(), "http://" + two.Addr().String(), strings.Replace(b.URL, "127.0.0.1", "localhost", 1)} {
		if got := status(client, url); got != 200 {
			t.Errorf("%s: answered %d", url, got)
		}
	}
	if got := status(onUnix, "http://localhost"); got != 200 {
		t.Errorf("on the unix socket: answered %d", got)
	}
	for _, name := range []string{"systemd", "web", "evil.example.org"} {
		if got := status(onUnix, "http://"+name); got != 421 {
			t.Errorf("on the unix socket, of Host %s: answered %d, want 421", name, got)
		}
	}

	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "config reloaded" })
	if got := status(client, b.URL); got != 200 {
		t.Errorf("after a reload: answered %d", got)
	}
	b.Stop()

	// Between two processes connections wait. Neither socket is touched by the end of one.
	var waiting []net.Conn
	for _, socket := range []net.Listener{one, two, local} {
		conn, err := net.Dial(socket.Addr().Network(), socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(time.Minute)) // it takes a fraction of that
		if _, err := io.WriteString(conn, "GET "+taskList+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, conn)
	}
	harness.Start(t, config, sockets...)
	for _, conn := range waiting {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("who asked at %v between two processes was answered %d", conn.RemoteAddr(), resp.StatusCode)
		}
	}
}

// connected are both ends of a connection, as Accept=yes passes one.
func connected(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	socket, _ := harness.ListenAsSystemd(t, "tcp4", "127.0.0.1:0")
	there, err := net.Dial("tcp4", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err := socket.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here.(*net.TCPConn), there.(*net.TCPConn)
}

// passedTo runs bearerd with descriptors that are for a process id, to its end, and
// returns its exit code and what it said.
func passedTo(t *testing.T, listener, policy, pid, names string, files ...*os.File) (code int, said string) {
	t.Helper()
	dir := t.TempDir()
	config := "proxy:\n  listeners: [" + listener + "]\n  upstreams: {x: {url: https://x.example.org, credential: none}}\nadmin: {address: \"\"}\n" + policy
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "sh", "-c", "LISTEN_PID="+pid+` exec "$0" run`, harness.Binary(t))
	command.Dir, command.ExtraFiles = dir, files
	command.Env = []string{"HOME=" + dir, "LISTEN_FDNAMES=" + names, "LISTEN_FDS=" + strconv.Itoa(len(files))}
	stop := time.AfterFunc(time.Minute, func() { _ = command.Process.Kill() }) // it should not begin to serve
	defer stop.Stop()
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(out)
}

func TestSystemd_SaysWhatToWriteIntoTheUnit(t *testing.T) {
	_, loopback := harness.ListenAsSystemd(t, "tcp4", "127.0.0.1:0")
	everywhere, everywhereFile := harness.ListenAsSystemd(t, "tcp4", "0.0.0.0:0")
	path := filepath.Join(t.TempDir(), "b.sock")
	_, unixFile := harness.ListenAsSystemd(t, "unix", path)
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packets.Close() }()
	var multipath net.ListenConfig
	multipath.SetMultipathTCP(true)
	several, err := multipath.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = several.Close() }()
	server, _ := connected(t)
	plain, err := os.Open("../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()

	const web, mine = `{address: "systemd:web"}`, "$$"
	const address = "proxy.listeners[0].address: cannot listen on systemd:web: "
	const local = "policy: {rules: [{name: all, callers: [local], upstreams: [x], methods: [GET], paths: [/**]}]}\n"
	for _, tt := range []struct {
		name, listener, policy, pid, names string
		files                              []*os.File
		wantCode                           int
		want                               string
	}{
		{"none", web, "", mine, "", nil, 69, address + "systemd passed no sockets; write FileDescriptorName=web into a .socket unit that starts bearerd's service"},
		{"another name", web, "", mine, "bearerd.socket", []*os.File{loopback}, 69, address + "systemd passed no socket of that name, only of bearerd.socket; write FileDescriptorName=web into its .socket unit"},
		{"another process's", web, "", "1", "web", []*os.File{loopback}, 69, address + "systemd passed its sockets to another process (LISTEN_PID is not bearerd's); have ExecStart= start bearerd itself"},
		{"datagrams", web, "", mine, "web", []*os.File{harness.FileOf(t, packets)}, 69, address + "what systemd passed by that name is no stream socket; write ListenStream= into its .socket unit"},
		{"a connection", web, "", mine, "web", []*os.File{harness.FileOf(t, server)}, 69, address + "what systemd passed by that name is one connection and no listening socket; write Accept=no into its .socket unit"},
		{"a second that is none", web, "", mine, "web:web", []*os.File{loopback, harness.FileOf(t, packets)}, 69, "is no stream socket"},
		{"no socket", web, "", mine, "web", []*os.File{plain}, 69, address + "what systemd passed by that name is no socket; write ListenStream="},
		{"reached by others on the second", web, local, mine, "web:web", []*os.File{loopback, everywhereFile}, 78,
			`config.yaml:2:25: proxy.listeners[0].address: "systemd:web" is ` + everywhere.Addr().String() + ", which can be reached from other machines, and no caller under policy.callers is known by anything that works from there; write ListenStream=127.0.0.1:8080 into the .socket unit"},
		{"anonymous on a unix socket", `{address: "systemd:web", anonymous: true}`, local, mine, "web", []*os.File{unixFile}, 78,
			"proxy.listeners[0].anonymous: means nothing on loopback and on unix sockets, where systemd opened this one (unix:" + path + "); leave it out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, said := passedTo(t, tt.listener, tt.policy, tt.pid, tt.names, tt.files...)
			if code != tt.wantCode || !strings.Contains(said, tt.want) {
				t.Errorf("exit %d, said\n%s\nwant %d and\n%s", code, said, tt.wantCode, tt.want)
			}
		})
	}
	t.Run("Multipath TCP", func(t *testing.T) {
		file := harness.FileOf(t, several)
		if protocol, err := syscall.GetsockoptInt(int(file.Fd()), syscall.SOL_SOCKET, syscall.SO_PROTOCOL); err != nil || protocol == syscall.IPPROTO_TCP {
			harness.Missing(t, "this machine has no Multipath TCP")
		}
		code, said := passedTo(t, web, "", mine, "web", file)
		if want := "is no plain TCP, and connections of Multipath TCP cannot be reset; leave SocketProtocol= out of its .socket unit"; code != 69 || !strings.Contains(said, want) {
			t.Errorf("exit %d, said\n%s\nwant 69 and\n%s", code, said, want)
		}
	})
}

// TestSystemd_WarnsOfASocketThatNobodyTakes: systemd takes connections there.
func TestSystemd_WarnsOfASocketThatNobodyTakes(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	_, file := harness.ListenAsSystemd(t, "tcp4", "127.0.0.1:0")
	forgotten, forgottenFile := harness.ListenAsSystemd(t, "tcp4", "127.0.0.1:0")
	b := harness.Start(t, onPassed(g, `{address: "systemd:web"}`), harness.Socket("web", file), harness.Socket("old", forgottenFile))
	line := b.WaitLog(func(line map[string]any) bool {
		message, _ := line["message"].(string)
		return strings.HasPrefix(message, "systemd passed a socket that no listener takes")
	})
	if line["name"] != "old" || line["address"] != forgotten.Addr().String() || line["level"] != "warn" {
		t.Errorf("warned with %v", line)
	}
}

// TestSystemd_NoReloadLeavesAReachableSocketWithoutCallers, though the file alone does
// not say that it is one.
func TestSystemd_NoReloadLeavesAReachableSocketWithoutCallers(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	_, file := harness.ListenAsSystemd(t, "tcp4", "0.0.0.0:0")
	config := onPassed(g, `{address: "systemd:web"}`)
	b := harness.Start(t, strings.Replace(config, "policy:\n", "policy:\n  callers: [{name: lab, address: [10.0.0.0/8]}]\n", 1), harness.Socket("web", file))
	b.Replace("config.yaml", config)
	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool {
		text, _ := line["err"].(string)
		return line["message"] == "config mistake" && strings.Contains(text, "can be reached from other machines")
	})

	check := exec.Command(harness.Binary(t), "check")
	check.Dir = b.Dir
	if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "is right") {
		t.Errorf("check needs the sockets: %v, said %s", err, out)
	}
}

// TestSystemd_LocalOnAUnixSocketIsOnesOwnUser: systemd lets everybody connect, unless
// SocketMode= says otherwise.
func TestSystemd_LocalOnAUnixSocketIsOnesOwnUser(t *testing.T) {
	needsRoot(t)
	g := harness.NewGlobus(t, emulator.Config{})
	name := "bearerd-test-" + strconv.Itoa(os.Getpid()) // without a file, whose directory others could not enter
	_, file := harness.ListenAsSystemd(t, "unix", "@"+name)
	b := harness.Start(t, onPassed(g, `{address: "systemd:web"}`), harness.Socket("web", file))
	if got := addressesOf(b); !slices.Equal(got, []string{"unix:@" + name}) {
		t.Errorf("listens on %q", got)
	}
	for uid, want := range map[uint32]string{0: "200", 65534: "403 caller_unknown"} {
		if got := curlAs(t, uid, "--abstract-unix-socket", name, "http://localhost"+taskList); got != want {
			t.Errorf("uid %d is answered %q, want %s", uid, got, want)
		}
	}
}

func TestExec_PassesNoSocketsOn(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	_, file := harness.ListenAsSystemd(t, "tcp4", "127.0.0.1:0")
	j := newJob(t, harness.Config(g), []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=web"}, "sh", "-c", "env; ls -l /proc/self/fd")
	j.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, j.Args...)
	j.Path, j.ExtraFiles = "/bin/sh", []*os.File{file}
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	if code := j.end(t); code != 0 || !strings.Contains(j.stdout.String(), "BEARERD_URL=") {
		t.Fatalf("ended with %d and printed %s%s", code, j.stdout.Bytes(), j.stderr.Bytes())
	}
	for _, unwanted := range []string{"LISTEN_", "socket:"} {
		if strings.Contains(j.stdout.String(), unwanted) {
			t.Errorf("the command has %s: %s", unwanted, j.stdout.Bytes())
		}
	}
	if !strings.Contains(j.stderr.String(), "systemd passed a socket that no listener takes") {
		t.Errorf("it does not say that nobody takes the socket: %s", j.stderr.Bytes())
	}
}

// TestSystemd_UnderstandsWhatSystemdsOwnToolPasses: the other tests only play systemd.
func TestSystemd_UnderstandsWhatSystemdsOwnToolPasses(t *testing.T) {
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		harness.Missing(t, "systemd-socket-activate is not installed")
	}
	dir := t.TempDir()
	config := "proxy:\n  listeners: [{address: \"systemd:web\"}]\n  upstreams: {x: {url: https://x.example.org, credential: none}}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "b.sock")
	command := exec.CommandContext(t.Context(), activate, "--listen="+path, "--fdname=web", harness.Binary(t), "run")
	command.Dir = dir
	said, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(said)
	if _, err := lines.ReadString('\n'); err != nil { // it says that it listens
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() { // ends with the process
		defer close(drained)
		_, _ = io.Copy(io.Discard, lines)
	}()
	if !answers(t, onSocket(path), "http://localhost/x/y") {
		t.Error("nobody answers on the socket")
	}
	_ = command.Process.Signal(syscall.SIGTERM) // it has become bearerd
	<-drained
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket's file is systemd's, and is gone: %v", err)
	}
}
