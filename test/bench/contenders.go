//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"

	"bearerd/test/emulator"
)

// contender is a proxy in front of the upstream.
type contender struct {
	*process
	name   string
	prefix string // of the paths that it forwards
}

// What the programs of ours are called. The first two are the same.
const (
	tunedName      = "tuned ReverseProxy"
	tunedAgainName = "the same again (noise)"
	naiveName      = "naive ReverseProxy"
	bearerdName    = "bearerd"
)

const (
	requestPath   = "/v0.10/task_list?limit=100"
	bearerdPrefix = "/transfer"
)

// bench is what all contenders are started with.
type bench struct {
	dir     string // of its own
	bearerd string // the binary
	globus  *emulator.Emulator
	auth    *httptest.Server
}

func newBench(ctx context.Context) (*bench, error) {
	dir, err := os.MkdirTemp("", "bearerd-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, globus: emulator.New(emulator.Config{ClientID: emulator.DemoClientID, ClientSecret: emulator.DemoClientSecret})}
	b.auth = httptest.NewServer(b.globus.Auth())
	if b.bearerd, err = buildBearerd(ctx, dir); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	b.auth.Close()
	_ = os.RemoveAll(b.dir)
}

// start starts everybody who can be in front of such an upstream. What it returns is to
// be stopped, also with an error.
func (b *bench) start(ctx context.Context, l layout) (all []*contender, err error) {
	target := l.protocol.scheme() + "://" + l.upstream
	for _, one := range []struct{ name, role string }{{tunedName, "tuned"}, {tunedAgainName, "tuned"}, {naiveName, "naive"}} {
		if l.alone && one.name == naiveName {
			continue
		}
		child, err := startChild(ctx, one.role, target)
		if err != nil {
			return all, err
		}
		all = append(all, &contender{child, one.name, ""})
	}
	bearerd, err := b.startBearerd(ctx, l)
	if err != nil {
		return all, err
	}
	all = append(all, &contender{bearerd, bearerdName, bearerdPrefix})
	for _, one := range peers {
		program, err := exec.LookPath(one.program)
		if err != nil || l.alone || l.protocol == http2 && !one.http2 {
			continue // the table shows that it was not there
		}
		started, err := b.startPeer(ctx, one, program, l)
		if err != nil {
			return all, err
		}
		all = append(all, &contender{started, one.name, ""})
	}
	return all, nil
}

func stopAll(all []*contender) {
	for _, c := range all {
		c.stop()
	}
}

// layout is what contenders are in front of, and how bearerd is set up for it.
type layout struct {
	upstream string // its address
	protocol protocol
	store    string // of bearerd; "": memory
	auth     string // URL of whom bearerd asks for tokens; "": of one that always has some
	alone    bool   // bearerd has no peers but tuned
	others   int    // upstreams that bearerd has besides, whose prefixes are asked for first
	files    bool   // bearerd takes bodies of any length, and the last rule is for those
}

// startBearerd starts it with everything on: twenty rules, of which the last but one
// allows the request, the access log, metrics and the breaker.
func (b *bench) startBearerd(ctx context.Context, l layout) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "bearerd")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	extra := map[protocol]string{
		plain:   "insecure_http: true",
		secured: "tls: {ca: file:ca.pem}",
		http2:   "tls: {ca: file:ca.pem}, tuning: {http2: true}",
	}[l.protocol]
	if l.store == "" {
		l.store = "memory"
	}
	if l.auth == "" {
		l.auth = b.auth.URL
	}
	last := "{name: submit, callers: [local], upstreams: [transfer], allow: [submit]}"
	if l.files {
		extra += ", path: files"
		last = `{name: files, callers: [local], upstreams: [transfer], methods: [GET, PUT], paths: ["/**"]}`
	}
	others := ""
	for i := range l.others {
		others += fmt.Sprintf(", other%d: {url: \"http://127.0.0.1:1/\", prefix: /transfer-of-another-%d, credential: none, insecure_http: true, private: true}", i, i)
	}
	config := fmt.Sprintf(`proxy:
  listeners: [{address: "%s"}]
  upstreams: {transfer: {preset: transfer, url: "%s://%s", private: true, %s}%s}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%s%s", insecure_http: true, private: true, client_id: "%s", client_secret: "file:secret"}
  store: %s
admin: {address: "127.0.0.1:0"}
log: {format: json}
policy:
  rules:
`, addr, l.protocol.scheme(), l.upstream, extra, others, l.auth, tokenPath, emulator.DemoClientID, l.store)
	for i := range 18 {
		config += fmt.Sprintf("    - {name: other-%d, callers: [local], upstreams: [transfer], methods: [GET, POST], paths: [/v0.10/endpoint/%d/role_list], deny: true}\n", i, i)
	}
	config += "    - {name: read, callers: [local], upstreams: [transfer], allow: [read]}\n    - " + last + "\n"
	for name, text := range map[string]string{"config.yaml": config, "secret": emulator.DemoClientSecret + "\n", "ca.pem": authorityPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return startProgram(ctx, dir, addr, b.bearerd, "run", "-c", "config.yaml")
}
