package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// answers asks through a client and reports whether bearerd answered at all.
func answers(t *testing.T, client *http.Client, url string) bool {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK || resp.Header.Get("Bearerd-Error") != ""
}

// onSocket is a client of a unix socket, with a connection for each request.
func onSocket(path string) *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

func TestRun_ListensOnAUnixSocket(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	config := strings.Replace(harness.Config(g), `{address: "127.0.0.1:0"}`, `{address: "unix:b.sock"}, {address: "127.0.0.1:0"}`, 1)
	b := harness.Start(t, config)
	path := filepath.Join(b.Dir, "b.sock")
	if line := b.Lines("listening")[0]; line["address"] != "unix:b.sock" {
		t.Errorf("says that it listens on %v", line["address"])
	}
	before, err := os.Lstat(path)
	if err != nil || before.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("the socket is %v (%v)", before, err)
	}
	client := onSocket(path)
	if !answers(t, client, "http://localhost/transfer/v0.10/task_list") {
		t.Error("nobody answers on the socket")
	}

	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool { return line["message"] == "config reloaded" })
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) || !answers(t, client, "http://localhost/") {
		t.Errorf("after a reload the socket is another: %v (%v)", after, err)
	}
	b.Replace("config.yaml", strings.Replace(config, `"unix:b.sock"`, `"unix:b.sock", mode: "0660"`, 1))
	b.Signal(syscall.SIGHUP)
	b.WaitLog(func(line map[string]any) bool {
		text, _ := line["err"].(string)
		return line["message"] == "config mistake" && strings.Contains(text, "proxy.listeners: addresses changed")
	})

	second := exec.Command(harness.Binary(t), "run", "-c", "second.yaml")
	second.Dir = b.Dir
	taken := "proxy:\n  listeners: [{address: \"unix:./b.sock\"}]\n  upstreams: {x: {url: https://x.example.org, credential: none}}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(filepath.Join(b.Dir, "second.yaml"), []byte(taken), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := second.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 69 || !strings.Contains(string(out), "unix:./b.sock is in use by another program; write another path there") {
		t.Errorf("a second on the same path: %v, said %s", err, out)
	}
	if !answers(t, client, "http://localhost/") {
		t.Error("then nobody answers on the socket")
	}
	b.Stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there (%v)", err)
	}
}

// TestRun_TakesOverASocketOfOneThatWasKilled, which cannot remove its own.
func TestRun_TakesOverASocketOfOneThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	config := "proxy:\n  listeners: [{address: \"unix:b.sock\"}]\n  upstreams: {x: {url: https://x.example.org, credential: none}}\nadmin: {address: \"\"}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	client := onSocket(filepath.Join(dir, "b.sock"))
	for _, end := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		command := exec.Command(harness.Binary(t), "run")
		command.Dir = dir
		log, err := command.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		_, _ = log.Read(first) // it says that it listens
		if !answers(t, client, "http://localhost/") {
			t.Error("nobody answers on the socket")
		}
		_ = command.Process.Signal(end)
		_ = command.Wait() // with whatever it ends
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("what is left is %v (%v), want the configuration alone", left, err)
	}
}

func TestRun_SpeaksTLSWithClientsOfItsAuthority(t *testing.T) {
	servers, clients := harness.NewAuthority(t), harness.NewAuthority(t)
	certificate, key := servers.IssueServer()
	g := harness.NewGlobus(t, emulator.Config{})
	config := strings.Replace(harness.Config(g), `{address: "127.0.0.1:0"}`,
		`{address: "127.0.0.1:0", tls: {certificate: file:tls.crt, key: file:tls.key, client_ca: file:ca.crt}}`, 1)
	b := harness.Start(t, config, harness.File("tls.crt", certificate), harness.File("tls.key", key), harness.File("ca.crt", clients.PEM))
	url := strings.Replace(b.URL, "http://", "https://", 1) + taskList
	with := func(own ...tls.Certificate) *http.Client {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: servers.Pool(), Certificates: own}}
		return &http.Client{Timeout: 20 * time.Second, Transport: transport}
	}
	known := clients.Pair(x509.Certificate{DNSNames: []string{"ci.example.org"}})
	if !answers(t, with(known), url) {
		t.Error("a client of the authority is not served")
	}
	for name, client := range map[string]*http.Client{"no certificate": with(), "another's": with(servers.Pair(x509.Certificate{}))} {
		if answers(t, client, url) {
			t.Errorf("%s: is served", name)
		}
	}

	// A bad change is told once, at the next handshake when it is time, and costs nothing.
	b.Replace("tls.key", "no key\n")
	const warning = "certificate files changed and cannot be used, the old ones stay"
	for len(b.Lines(warning)) == 0 {
		if !answers(t, with(known), url) {
			t.Fatal("the old certificate is not used any more")
		}
	}
	b.Replace("ca.crt", servers.PEM)
	b.Replace("tls.key", key)
	other := with(servers.Pair(x509.Certificate{DNSNames: []string{"ci.example.org"}}))
	for !answers(t, other, url) {
		if len(b.Lines("stopped")) > 0 {
			t.Fatal("it stopped")
		}
	}
	if answers(t, with(known), url) {
		t.Error("the authority that was taken away still counts")
	}
	if n := len(b.Lines(warning)); n != 1 {
		t.Errorf("told of the bad change %d times, want once", n)
	}
}
