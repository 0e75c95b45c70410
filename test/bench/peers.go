//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"bearerd/test/harness"
)

// peer is another proxy, with a fixed token, connections to the upstream that are kept,
// and an access log where it has one by default.
type peer struct {
	name, program string
	http2         bool // it speaks that to an upstream
	args          []string
	config        func(addr, upstream string, p protocol) string
}

var peers = []peer{
	{"nginx", "nginx", false, []string{"-p", ".", "-c", "config"}, func(addr, upstream string, p protocol) string {
		// The user counts only if it is root who runs this, and is for files of ours then.
		return `daemon off; user root; worker_processes auto; pid nginx.pid; error_log stderr crit; events { worker_connections 4096; }
http {
  access_log access.log; client_max_body_size 0; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream up { server ` + upstream + `; keepalive 256; keepalive_requests 100000000; }
  server {
    listen ` + addr + ` backlog=4096; keepalive_requests 100000000;
    location / { proxy_pass ` + p.scheme() + `://up; proxy_http_version 1.1; proxy_ssl_protocols TLSv1.3;
      proxy_set_header Connection ""; proxy_set_header Authorization "` + harness.BareToken + `"; }
  }
}
`
	}},
	{"HAProxy", "haproxy", true, []string{"-q", "-f", "config"}, func(addr, upstream string, p protocol) string {
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
  server up ` + upstream + map[protocol]string{secured: " ssl verify none", http2: " ssl verify none alpn h2"}[p] + `
`
	}},
	{"Caddy", "caddy", true, []string{"run", "--config", "config", "--adapter", "caddyfile"}, func(addr, upstream string, p protocol) string {
		transport := ""
		if p != plain {
			transport = "transport http {\n tls_insecure_skip_verify\n versions " + map[protocol]string{secured: "1.1", http2: "2"}[p] + "\n }\n"
		}
		return "{\n admin off\n auto_https off\n}\nhttp://" + addr[strings.LastIndexByte(addr, ':'):] + " {\n bind 127.0.0.1\n log {\n output file access.log\n }\n reverse_proxy " + p.scheme() + "://" + upstream +
			" {\n header_up Authorization \"" + harness.BareToken + "\"\n " + transport + " }\n}\n"
	}},
}

// startPeer starts one that is installed.
func (b *bench) startPeer(ctx context.Context, one peer, program string, l layout) (*process, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, one.program)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(one.config(addr, l.upstream, l.protocol)), 0o600); err != nil {
		return nil, err
	}
	return startProgram(ctx, dir, addr, program, one.args...)
}
