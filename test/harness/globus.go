package harness

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bearerd/test/emulator"
)

// Globus is an emulated Globus on two loopback servers, as the real one is on
// two hosts.
type Globus struct {
	*emulator.Emulator
	AuthURL, TransferURL string
	ClientID             string // with Secret, what Auth accepts
	Secret               string
	Margin               time.Duration // what Config writes as credentials.margin; 0 writes none

	auth *httptest.Server
}

// NewGlobus starts one; it ends with the test.
func NewGlobus(t testing.TB, cfg emulator.Config) *Globus {
	t.Helper()
	if cfg.ClientID == "" {
		cfg.ClientID = emulator.DemoClientID
	}
	if cfg.ClientSecret == "" {
		cfg.ClientSecret = emulator.DemoClientSecret
	}
	e := emulator.New(cfg)
	auth, transfer := httptest.NewServer(e.Auth()), httptest.NewServer(e.Transfer())
	t.Cleanup(transfer.Close)
	t.Cleanup(auth.Close)
	return &Globus{
		Emulator: e, AuthURL: auth.URL, TransferURL: transfer.URL,
		ClientID: cfg.ClientID, Secret: cfg.ClientSecret, auth: auth,
	}
}

// CloseAuth takes Auth down: connections to it are refused from now on.
func (g *Globus) CloseAuth() { g.auth.Close() }

// Rules for Config beside the one it always writes, which allows read.
const (
	RuleSubmit = `{name: submit, callers: [local], upstreams: [transfer], allow: [submit]}`
	RuleDelete = `{name: delete, callers: [local], upstreams: [transfer], allow: [delete]}`
)

// Config returns the usual configuration for g: a listener on a free port,
// upstreams auth and transfer, and a rule that lets local callers read. More
// rules are items of the list in flow style, see RuleSubmit. The client's secret
// is in the file that Start writes.
func Config(g *Globus, rules ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `proxy:
  listeners: [{address: "127.0.0.1:0"}]
  upstreams:
    auth:     {preset: auth, url: "%s", insecure_http: true, private: true}
    transfer: {preset: transfer, url: "%s", insecure_http: true, private: true}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%s/v2/oauth2/token", insecure_http: true, private: true, client_id: "%s", client_secret: "file:%s"}
`, g.AuthURL, g.TransferURL, g.AuthURL, g.ClientID, secretFile)
	if g.Margin > 0 {
		fmt.Fprintf(&b, "  margin: %v\n", g.Margin)
	}
	b.WriteString(`log: {format: json}
admin: {address: "127.0.0.1:0"}
policy:
  rules:
    - {name: read, callers: [local], upstreams: [auth, transfer], allow: [read]}
`)
	for _, rule := range rules {
		fmt.Fprintf(&b, "    - %s\n", rule)
	}
	return b.String()
}
