package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
)

// crossing is a configuration made by chance: which upstream each credential is
// for, and which caller may use which by which rule.
type crossing struct {
	settings
	origin map[string]int // of a credential: which of the wires
}

const (
	crossWires       = 4
	crossCredentials = 8
	crossCallers     = 5
)

func credentialName(i int) string { return fmt.Sprintf("credential-%d", i) }

// tokenOf is a credential's token, which everybody may see.
func tokenOf(credential string) string { return "AgStatic-" + credential }

func keyOf(caller int) string { return fmt.Sprintf("key-of-caller-%d", caller) }

func newCrossing(t *testing.T, r *rand.Rand, wires []*wire) crossing {
	c := crossing{origin: map[string]int{}}
	c.authorizers, c.upstreams = map[string]credentials.Authorizer{}, map[string]proxy.UpstreamConfig{}
	own := map[int][]string{} // credentials of each wire
	for i := range crossCredentials {
		name, at := credentialName(i), i%crossWires
		authorizer, err := credentials.AccessToken(credentials.NewSecret(tokenOf(name)))
		if err != nil {
			t.Fatal(err)
		}
		c.authorizers[name], c.origin[name] = authorizer, at
		own[at] = append(own[at], name)
	}
	for i := range 6 {
		at := r.IntN(crossWires)
		u := proxy.UpstreamConfig{
			URL: wires[at].url + []string{"", "/v1", "/v1/base/"}[r.IntN(3)], InsecureHTTP: true, Private: true,
			Credential: own[at][r.IntN(len(own[at]))], Path: []string{"strict", "files"}[r.IntN(2)],
		}
		if r.IntN(3) == 0 {
			u.Host = fmt.Sprintf("up%d.example", i)
		}
		c.upstreams[fmt.Sprintf("up%d", i)] = u
	}
	for i := range crossCallers {
		c.callers = append(c.callers, policy.CallerConfig{Name: fmt.Sprintf("caller-%d", i), Key: "file:keys", Keys: []policy.KeyHash{policy.HashKey(keyOf(i))}})
	}
	for i := range 24 {
		upstream := fmt.Sprintf("up%d", r.IntN(6))
		rule := policy.RuleConfig{
			Name: fmt.Sprintf("rule-%d", i), Callers: []string{fmt.Sprintf("caller-%d", r.IntN(crossCallers))}, Upstreams: []string{upstream},
			Methods: []string{[]string{"GET", "POST", "DELETE"}[r.IntN(3)]}, Paths: []string{[]string{"/**", "/a/*", "/b/**", "/a/x"}[r.IntN(4)]},
		}
		if r.IntN(2) == 0 {
			for credential, at := range c.origin {
				if wires[at].url == strings.Join(strings.SplitN(c.upstreams[upstream].URL, "/", 4)[:3], "/") {
					rule.Credential = credential
				}
			}
		}
		if r.IntN(6) == 0 {
			rule.Deny, rule.Credential = true, ""
		}
		if !slices.ContainsFunc(c.rules, func(before policy.RuleConfig) bool { return decidesAllOf(before, rule) }) {
			c.rules = append(c.rules, rule)
		}
	}
	return c
}

// decidesAllOf reports whether nothing is left for the later of two rules, which
// would be a mistake.
func decidesAllOf(before, later policy.RuleConfig) bool {
	first, second := before.Paths[0], later.Paths[0]
	return before.Callers[0] == later.Callers[0] && before.Upstreams[0] == later.Upstreams[0] && before.Methods[0] == later.Methods[0] &&
		(first == second || first == "/**" || first == "/a/*" && second == "/a/x")
}

// expected is what must become of a request, reckoned without bearerd's code: the
// credential it leaves with, "" if it does not.
func (c crossing) expected(caller int, upstream, method, path string) string {
	for _, rule := range c.rules {
		pattern := rule.Paths[0]
		matches := pattern == "/**" || pattern == path || pattern == "/b/**" && (path == "/b" || strings.HasPrefix(path, "/b/")) ||
			pattern == "/a/*" && strings.HasPrefix(path, "/a/") && strings.Count(path, "/") == 2
		if rule.Callers[0] != fmt.Sprintf("caller-%d", caller) || rule.Upstreams[0] != upstream || rule.Methods[0] != method || !matches {
			continue
		}
		switch {
		case rule.Deny:
			return ""
		case rule.Credential != "":
			return rule.Credential
		}
		return c.upstreams[upstream].Credential
	}
	return ""
}

// TestCrossover_EachRequestLeavesWithItsRulesCredentialOrNotAtAll over 1000
// configurations made by chance, each put in force by a reload.
func TestCrossover_EachRequestLeavesWithItsRulesCredentialOrNotAtAll(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	wires := make([]*wire, crossWires)
	for i := range wires {
		wires[i] = newWire(t)
	}
	on := newRig(t, newCrossing(t, r, wires).settings)
	requests, left := 0, 0
	for range 1000 {
		c := newCrossing(t, r, wires)
		cfg, deps, bindings := on.parts(c.settings)
		on.Reload(cfg, deps, bindings)
		for range 10 {
			upstream, caller := fmt.Sprintf("up%d", r.IntN(6)), r.IntN(crossCallers)
			method, path := []string{"GET", "POST", "DELETE"}[r.IntN(3)], []string{"/a/x", "/a/y", "/b", "/b/c/d", "/c"}[r.IntN(5)]
			target, host := "/"+upstream+path, "localhost"
			if u := c.upstreams[upstream]; u.Host != "" && r.IntN(2) == 0 {
				target, host = path, u.Host
			}
			shown := []string{"Authorization: Bearer " + keyOf(caller), "X-Api-Key: " + keyOf(caller)}[r.IntN(2)]
			got := on.raw(method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + shown + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			requests++
			want := c.expected(caller, upstream, method, path)
			for at, w := range wires {
				for _, head := range w.received() {
					left++
					token := "Authorization: Bearer " + tokenOf(want) + "\r\n"
					if want == "" || at != c.origin[want] || !strings.Contains(head, token) || strings.Count(head, "AgStatic") != 1 || strings.Contains(head, keyOf(caller)) {
						t.Fatalf("%s %s as %d, credential %q wanted: wire %d received\n%s", method, target, caller, want, at, head)
					}
				}
			}
			if (got.status == 204) != (want != "") {
				t.Fatalf("%s %s as %d: answered %d %s, credential %q wanted", method, target, caller, got.status, got.body, want)
			}
		}
	}
	t.Logf("1000 configurations, %d requests, %d left: 0 tokens to a foreign authority, 0 with a credential the rule did not choose", requests, left)
	if left < 200 {
		t.Errorf("only %d requests left", left)
	}
}
