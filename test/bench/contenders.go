//go:build linux

package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// contender is a proxy in front of the upstream.
type contender struct {
	*process
	name string
	path string // of the request that it is sent
}

// What the programs of ours are called. The first two are the same.
const (
	tunedName      = "tuned ReverseProxy"
	tunedAgainName = "the same again (noise)"
	naiveName      = "naive ReverseProxy"
	bearerdName    = "bearerd"
)

const requestPath = "/v0.10/task_list?limit=100"

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

// start starts everybody in front of an upstream whose URL has https for secured. What
// it returns is to be stopped, also with an error.
func (b *bench) start(ctx context.Context, upstream string, secured bool) (all []*contender, err error) {
	scheme := "http://"
	if secured {
		scheme = "https://"
	}
	target := scheme + upstream
	for _, one := range []struct{ name, role string }{{tunedName, "tuned"}, {tunedAgainName, "tuned"}, {naiveName, "naive"}} {
		p, err := startChild(ctx, one.role, target)
		if err != nil {
			return all, err
		}
		all = append(all, &contender{p, one.name, requestPath})
	}
	p, err := b.startBearerd(ctx, target, "memory")
	if err != nil {
		return all, err
	}
	all = append(all, &contender{p, bearerdName, "/transfer" + requestPath})
	for _, peer := range peers {
		program, err := exec.LookPath(peer.program)
		if err != nil {
			continue // it is not installed, and the table shows that it was not there
		}
		addr, err := freeAddress()
		if err != nil {
			return all, err
		}
		dir, err := os.MkdirTemp(b.dir, peer.program)
		if err != nil {
			return all, err
		}
		if err := os.WriteFile(filepath.Join(dir, "config"), []byte(peer.config(addr, upstream, secured)), 0o600); err != nil {
			return all, err
		}
		p, err := startProgram(ctx, dir, addr, program, peer.args...)
		if err != nil {
			return all, err
		}
		all = append(all, &contender{p, peer.name, requestPath})
	}
	return all, nil
}

func stopAll(all []*contender) {
	for _, c := range all {
		c.stop()
	}
}

// startBearerd starts it with everything on: twenty rules, of which the last but one
// allows the request, the access log, metrics and the breaker.
func (b *bench) startBearerd(ctx context.Context, target, store string) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "bearerd")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	extra := "insecure_http: true"
	if strings.HasPrefix(target, "https://") {
		extra = "tls: {ca: file:ca.pem}"
	}
	config := fmt.Sprintf(`proxy:
  listeners: [{address: "%s"}]
  upstreams: {transfer: {preset: transfer, url: "%s", private: true, %s}}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%s/v2/oauth2/token", insecure_http: true, private: true, client_id: "%s", client_secret: "file:secret"}
  store: %s
admin: {address: "127.0.0.1:0"}
log: {format: json}
policy:
  rules:
`, addr, target, extra, b.auth.URL, emulator.DemoClientID, store)
	for i := range 18 {
		config += fmt.Sprintf("    - {name: other-%d, callers: [local], upstreams: [transfer], methods: [GET, POST], paths: [/v0.10/endpoint/%d/role_list], deny: true}\n", i, i)
	}
	config += "    - {name: read, callers: [local], upstreams: [transfer], allow: [read]}\n    - {name: submit, callers: [local], upstreams: [transfer], allow: [submit]}\n"
	for name, text := range map[string]string{"config.yaml": config, "secret": emulator.DemoClientSecret + "\n", "ca.pem": authorityPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return startProgram(ctx, dir, addr, b.bearerd, "run", "-c", "config.yaml")
}

// authorityPEM is the certificate of the upstream, which signed itself.
func authorityPEM() string {
	pair := upstreamTLS().Certificates[0]
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
}

// peers are other proxies, with a fixed token, connections to the upstream that are
// kept, and an access log where they have one by default.
var peers = []struct {
	name, program string
	args          []string
	config        func(addr, upstream string, secured bool) string
}{
	{"nginx", "nginx", []string{"-p", ".", "-c", "config"}, func(addr, upstream string, secured bool) string {
		return `daemon off; worker_processes auto; pid nginx.pid; error_log stderr crit; events { worker_connections 4096; }
http {
  access_log access.log; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream up { server ` + upstream + `; keepalive 256; keepalive_requests 100000000; }
  server {
    listen ` + addr + ` backlog=4096; keepalive_requests 100000000;
    location / { proxy_pass ` + map[bool]string{true: "https", false: "http"}[secured] + `://up; proxy_http_version 1.1; proxy_ssl_protocols TLSv1.3;
      proxy_set_header Connection ""; proxy_set_header Authorization "` + harness.BareToken + `"; }
  }
}
`
	}},
	{"HAProxy", "haproxy", []string{"-q", "-f", "config"}, func(addr, upstream string, secured bool) string {
		return `global
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind ` + addr + `
  default_backend back
backend back
  http-reuse always
  http-request set-header Authorization "` + harness.BareToken + `"
  server up ` + upstream + map[bool]string{true: " ssl verify none", false: ""}[secured] + `
`
	}},
	{"Caddy", "caddy", []string{"run", "--config", "config", "--adapter", "caddyfile"}, func(addr, upstream string, secured bool) string {
		transport := ""
		if secured {
			transport = "transport http {\n tls_insecure_skip_verify\n versions 1.1\n }\n"
		}
		return "{\n admin off\n auto_https off\n}\nhttp://" + addr[strings.LastIndexByte(addr, ':'):] + " {\n bind 127.0.0.1\n log {\n output file access.log\n }\n reverse_proxy " + map[bool]string{true: "https://", false: "http://"}[secured] + upstream +
			" {\n header_up Authorization \"" + harness.BareToken + "\"\n " + transport + " }\n}\n"
	}},
}
