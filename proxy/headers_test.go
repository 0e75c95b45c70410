package proxy_test

import (
	"strings"
	"testing"

	"bearerd/proxy"
)

// identities are headers that say who somebody is, or what was asked of another proxy.
const identities = `X-Forwarded-For X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Uri
X-Forwarded-Client-Cert Forwarded X-Real-Ip X-Remote-User X-Remote-Group X-Remote-Extra-Scopes Remote-User X-Original-Url X-Original-Uri X-Rewrite-Url X-Client-Ip True-Client-Ip
X-Auth-Request-User X-Webauth-User X-Ssl-Client-Cert Ssl-Client-Verify X-Envoy-Original-Path X-Amzn-Oidc-Data X-Goog-Iap-Jwt-Assertion Cf-Connecting-Ip
Proxy-Authorization Max-Forwards Early-Data`

func TestCallerHeaders_IdentitiesEndHere(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	for _, name := range strings.Fields(identities) {
		r.do("GET", "/up/a", "", name, "1.2.3.4", strings.ToLower(name), "second")
		for _, head := range w.received() {
			if strings.Contains(strings.ToLower(head), strings.ToLower(name)+":") {
				t.Errorf("the upstream received %s", name)
			}
		}
	}
}

func TestCallerHeaders_WhatAnUpstreamIsTold(t *testing.T) {
	w := newWire(t)
	s := to(t, w.url)
	up := s.upstreams["up"]
	up.Headers = proxy.HeadersConfig{Cookies: []string{"lab", "x"}, Allow: []string{"x-real-ip", "X-Forwarded-Prefix", "X-Forwarded-Proto", "forwarded"}}
	s.upstreams["up"] = up
	r := newRig(t, s)
	r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\nCookie: session=1; lab=2; labour=3\r\nCookie: x=a=b;y=c\r\n" +
		"X-Real-IP: 1.2.3.4\r\nX-Forwarded-Prefix: /p\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: Bearer attacker\r\n\r\n")
	head := w.received()[0]
	for _, want := range []string{"\r\nCookie: lab=2; x=a=b\r\n", "\r\nX-Real-Ip: 1.2.3.4\r\n", "\r\nX-Forwarded-Prefix: /p\r\n", "\r\nX-Forwarded-Proto: https\r\n", "\r\nForwarded: for=1.2.3.4\r\n"} {
		if !strings.Contains(head, want) {
			t.Errorf("the upstream did not receive %q:\n%s", want, head)
		}
	}
	if strings.Contains(head, "session") || strings.Contains(head, "Forwarded-For") || strings.Count(head, "Authorization") != 1 {
		t.Errorf("the upstream received\n%s", head)
	}
}

func TestConnection_HeadersOfAnUpgradeEndHere(t *testing.T) {
	w := newWire(t)
	r := newRig(t, to(t, w.url))
	for _, headers := range []string{
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n", // curl --http2, Java's HttpClient
		"Connection: upgrade\r\nUpgrade: é\r\n",
	} {
		got := r.raw("GET /up/a HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n")
		heads := w.received()
		if got.status != 204 || len(heads) != 1 {
			t.Errorf("%q: answered %d %s, the upstream received %q", headers, got.status, got.body, heads)
			continue
		}
		for _, gone := range []string{"Upgrade", "Connection", "Http2-Settings"} {
			if strings.Contains(heads[0], gone) {
				t.Errorf("%q: the upstream received %s", headers, gone)
			}
		}
	}
}
