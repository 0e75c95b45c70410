//go:build soak

package soak

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	usualTime = 30 * time.Minute // unless SOAKTIME says otherwise

	// What still counts as flat.
	moreGoroutines  = 5
	moreDescriptors = 5
	moreMemory      = 4 << 20 // bytes that the line through the RSS may rise by, in all that time
)

// configuration is what bearerd runs with. Upstream bent is made anew by every other
// reload, with all its connections.
func configuration(g *harness.Globus, ups upstreams, plain, secured, admin, reloads int) string {
	return fmt.Sprintf(`proxy:
  listeners:
    - {address: "127.0.0.1:%d"}
    - {address: "127.0.0.1:%d", tls: {certificate: "file:tls.crt", key: "file:tls.key"}}
  upstreams:
    transfer: {preset: transfer, url: "%s", insecure_http: true, private: true, tuning: {idle: 5s}}
    store: {url: "%s", insecure_http: true, private: true, tuning: {idle: 5s}}
    fragile: {url: "%s", insecure_http: true, private: true, tuning: {idle: 5s}}
    bent: {url: "%s", insecure_http: true, private: true, breaker: {enabled: false}, tuning: {idle: %dms, response_header: 3s, body_idle: 3s}}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%s/v2/oauth2/token", insecure_http: true, private: true, client_id: "%s", client_secret: "file:secret"}
  tokens:
    store: {token: "file:token"}
    fragile: {token: "file:token"}
    bent: {token: "file:token"}
log: {format: json}
admin: {address: "127.0.0.1:%d"}
policy:
  rules: [{name: all, callers: [local], upstreams: [transfer, store, fragile, bent], methods: [GET, POST, PUT, DELETE], paths: [/**]}]
`, plain, secured, g.TransferURL, ups.store, ups.fragile, ups.bent, 4000+reloads%2, g.AuthURL, g.ClientID, admin)
}

func TestSoak_NothingGrowsAndNothingIsLost(t *testing.T) {
	span := usualTime
	if text := os.Getenv("SOAKTIME"); text != "" {
		var err error
		if span, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAKTIME=%s: %v", text, err)
		}
	}
	g := harness.NewGlobus(t, emulator.Config{Lifetime: 4 * time.Minute})
	l := newLedger()
	ups := newUpstreams(t, l)
	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	plain, secured, admin := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
	log := newLog(t)
	b := harness.Start(t, configuration(g, ups, plain, secured, admin, 0), harness.LogTo(log.in),
		harness.File("token", token+"\n"), harness.File("tls.crt", certificate), harness.File("tls.key", key))
	log.follow()
	adminURL := fmt.Sprintf("http://127.0.0.1:%d", admin)
	b.WaitReady(adminURL)
	w := &world{
		plain: fmt.Sprintf("http://127.0.0.1:%d", plain), secured: fmt.Sprintf("https://localhost:%d", secured),
		trusted: authority.Pool(), ledger: l, outcomes: map[string]int{},
	}

	// Globus and whoever writes the configuration, each at times of its own.
	reloads := 0
	trouble := []happening{
		{5 * time.Second, 2 * time.Second, func() {
			reloads++
			text := configuration(g, ups, plain, secured, admin, reloads/2)
			if reloads%2 == 0 {
				text = strings.Replace(text, "preset: transfer", "preset: trasnfer", 1)
			}
			b.Replace("config.yaml", text)
			b.Signal(syscall.SIGHUP)
		}},
		{time.Minute, 11 * time.Second, func() { g.Revoke("") }},
		{time.Minute, 30 * time.Second, func() { g.FailTokens(1<<30, emulator.Unavailable()) }},
		{time.Minute, 34 * time.Second, func() { g.FailTokens(0, emulator.Failure{}) }},
	}

	w.load(t, span/10, trouble, func() {})
	before := settled(t, adminURL, nil)
	var samples []sample
	start := time.Now()
	w.load(t, span, trouble, func() { samples = append(samples, sample{time.Since(start), read(t, adminURL)}) })
	after := settled(t, adminURL, &before)
	dropped := read(t, adminURL)["bearerd_log_dropped_total"]
	b.Stop()
	log.end()

	slope, rise := fit(samples[len(samples)/3:])
	t.Logf("soak: %v: %d requests, %d of them in HTTP/2, %d failed that should not have; RSS %+.1f MB/h (%.1f MB, %.1f at most); goroutines %.0f, %.0f before; descriptors %.0f, %.0f before; %d reloads, %d of them broken; %.0f of %d log lines dropped",
		span, w.requests(), w.streams.Load(), w.failures, slope/1e6, samples[len(samples)-1].of(resident)/1e6, most(samples)/1e6,
		after["go_goroutines"], before["go_goroutines"], after["process_open_fds"], before["process_open_fds"], log.messages["config reloaded"]+log.messages[notReloaded], log.messages[notReloaded], dropped, log.lines)
	t.Logf("outcomes: %s", w.table())
	if w.streams.Load() == 0 {
		t.Error("no caller speaks HTTP/2")
	}
	if w.failures > 0 {
		t.Errorf("%d requests failed that should not have", w.failures)
	}
	if rise > moreMemory {
		t.Errorf("memory grew by %.1f MB", rise/1e6)
	}
	if after["go_goroutines"] > before["go_goroutines"]+moreGoroutines {
		t.Error("goroutines are left over")
	}
	if after["process_open_fds"] > before["process_open_fds"]+moreDescriptors {
		t.Error("descriptors are left open")
	}
	log.check(t, reloads)
}
