package policy

import (
	"encoding/json"
	"net/netip"
	"testing"
)

func TestPolicy_Identify(t *testing.T) {
	var mistakes noted
	p := New(Config{Callers: []CallerConfig{
		{Name: "one", Address: []string{"10.1.2.3", "2001:db8::1"}},
		{Name: "net", Address: []string{"10.1.0.0/16", "2001:db8::/32", "192.168.7.9/24"}},
		{Name: "mapped", Address: []string{"::ffff:172.16.0.1"}},
		{Name: "link", Address: []string{"fe80::/10"}},
		{Name: "agent", Address: []string{"127.0.0.2"}},
	}}, nil, &mistakes)
	wantLines(t, mistakes.lines)
	for _, tt := range []struct {
		name, addr, want string
	}{
		{"an address", "10.1.2.3", "one"},
		{"an address of IPv6", "2001:db8::1", "one"},
		{"a network", "10.1.2.4", "net"},
		{"a network of IPv6", "2001:db8::2", "net"},
		{"a network written with a host's bits", "192.168.7.200", "net"},
		{"just outside", "10.2.0.0", ""},
		{"the first that matches", "10.1.2.3", "one"},
		{"IPv4 inside IPv6", "::ffff:10.1.2.4", "net"},
		{"an address configured as IPv4 inside IPv6", "172.16.0.1", "mapped"},
		{"both inside IPv6", "::ffff:172.16.0.1", "mapped"},
		{"an address with a zone", "fe80::1%eth0", "link"},
		{"loopback", "127.0.0.1", Local},
		{"any loopback", "127.9.9.9", Local},
		{"loopback of IPv6", "::1", Local},
		{"loopback inside IPv6", "::ffff:127.0.0.1", Local},
		{"loopback with a zone", "::1%lo", Local},
		{"a configured caller goes before local", "127.0.0.2", "agent"},
		{"nobody", "203.0.113.1", ""},
		{"unspecified", "0.0.0.0", ""},
		{"unspecified of IPv6", "::", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.Identify(Peer{Addr: netip.MustParseAddr(tt.addr)}); got.Caller != tt.want || got.Key != nil {
				t.Errorf("Identify(%s) = %+v, want %q", tt.addr, got, tt.want)
			}
		})
	}
	if got := p.Identify(Peer{}); got.Caller != "" {
		t.Errorf("Identify() of no address = %+v, want nobody", got)
	}
}

func TestPolicy_IdentifyKnowsLocalWithoutAnyConfig(t *testing.T) {
	p := New(Config{}, nil, &noted{})
	if got := p.Identify(Peer{Addr: netip.MustParseAddr("::1")}); got.Caller != Local {
		t.Errorf("Identify(::1) = %+v, want %q", got, Local)
	}
}

func TestPolicy_IdentifyByKey(t *testing.T) {
	var mistakes noted
	p := New(Config{Callers: []CallerConfig{
		{Name: "net", Address: []string{"10.0.0.0/8"}},
		{Name: "cron", Key: "file:cron", Keys: []KeyHash{HashKey("old"), HashKey("new")}},
		{Name: "both", Address: []string{"192.0.2.1"}, Key: "file:both", Keys: []KeyHash{HashKey("other")}},
	}, Rules: []RuleConfig{byHand("cron", "GET", "/x")}}, upstreams(), &mistakes)
	wantLines(t, mistakes.lines)
	for _, tt := range []struct {
		name, addr string
		shown      []string
		want       string
		byKey      int // which of shown told; -1 none
	}{
		{"its key", "203.0.113.1", []string{"new"}, "cron", 0},
		{"another of its keys", "203.0.113.1", []string{"old"}, "cron", 0},
		{"the second that is shown", "203.0.113.1", []string{"wrong", "new"}, "cron", 1},
		{"before local", "127.0.0.1", []string{"new"}, "cron", 0},
		{"a wrong key on loopback", "127.0.0.1", []string{"wrong"}, Local, -1},
		{"a wrong key elsewhere", "203.0.113.1", []string{"wrong"}, "", -1},
		{"no key", "203.0.113.1", nil, "", -1},
		{"the first caller that matches", "10.1.1.1", []string{"new"}, "net", -1},
		{"address and key of a caller with both", "192.0.2.1", []string{"other"}, "both", 0},
		{"only the address", "192.0.2.1", nil, "", -1},
		{"only the key", "203.0.113.1", []string{"other"}, "", -1},
		{"only the key on loopback is not local either", "127.0.0.1", []string{"other"}, "", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peer := Peer{Addr: netip.MustParseAddr(tt.addr)}
			for _, key := range tt.shown {
				peer.Keys = append(peer.Keys, HashKey(key))
			}
			got := p.Identify(peer)
			if got.Caller != tt.want || (got.Key != nil) != (tt.byKey >= 0) || got.Key != nil && *got.Key != HashKey(tt.shown[tt.byKey]) {
				t.Errorf("Identify(%s, %q) = %+v, want %q", tt.addr, tt.shown, got, tt.want)
			}
		})
	}
	if !p.HasKeys() || !p.KnowsKey(HashKey("old")) || p.KnowsKey(HashKey("wrong")) || len(p.Keys("cron")) != 2 || p.Keys("net") != nil {
		t.Error("the policy does not know whose keys it has")
	}
	if !p.MayAnything(Local) || p.MayAnything("cron") || p.MayAnything("") {
		t.Error("MayAnything does not tell who stands in a rule")
	}
}

func id(n uint32) *uint32 { return &n }

func TestPolicy_IdentifyByAllThatACallerNames(t *testing.T) {
	var mistakes noted
	p := New(Config{
		Identity: IdentityConfig{
			Kubernetes: &KubernetesConfig{Audience: "bearerd"},
			JWT:        map[string]JWTConfig{"gitlab": {Issuer: "https://gitlab.example.org", Audience: "bearerd"}, "dex": {Issuer: "https://dex.example.org", Audience: "bearerd"}},
		},
		Callers: []CallerConfig{
			{Name: "me", User: "self"},
			{Name: "cron", User: "globuscron", UID: id(1001)},
			{Name: "staff", Group: "staff", GID: id(50)},
			{Name: "both", User: "7", UID: id(7), Group: "ops", GID: id(70)},
			{Name: "unread", User: "ghost"},
			{Name: "spiffe", Certificate: Texts{"spiffe://example.org/cron", "cron@example.org"}},
			{Name: "host", Certificate: Texts{"host.example.org"}, Address: []string{"10.0.0.0/8"}},
			{Name: "ci", JWT: "gitlab", Claims: map[string]Texts{"project_path": {"lab/data", "lab/more"}, "protected": {"true"}}},
			{Name: "dev", JWT: "gitlab", Claims: map[string]Texts{"groups": {"dev"}, "id": {"42"}}},
			{Name: "anyone", JWT: "dex", Claims: map[string]Texts{"sub": {"me"}}},
			{Name: "sim", ServiceAccount: Texts{"sim/runner", "sim/other"}},
			{Name: "keyed", Key: "file:k", Keys: []KeyHash{HashKey("k")}, Address: []string{"10.0.0.0/8"}},
			{Name: "keyless", Key: "file:hushed"},
		},
	}, nil, &mistakes)
	wantLines(t, mistakes.lines)
	on := func(addr string) Peer { return Peer{Addr: netip.MustParseAddr(addr)} }
	with := func(peer Peer, change func(*Peer)) Peer { change(&peer); return peer }
	far, near := on("203.0.113.1"), on("127.0.0.1")
	user := func(uid uint32, gids ...uint32) func(*Peer) {
		return func(p *Peer) { p.User = &User{UID: uid, GIDs: gids} }
	}
	sans := func(list ...SAN) func(*Peer) { return func(p *Peer) { p.SANs = list } }
	jwt := func(issuer string, claims map[string]any) func(*Peer) {
		return func(p *Peer) { p.Proof = &Proof{Issuer: issuer, Claims: claims} }
	}
	account := func(name string) func(*Peer) { return func(p *Peer) { p.Proof = &Proof{ServiceAccount: name} } }
	uri, dns, email := SAN{SANURI, "spiffe://example.org/cron"}, SAN{SANDNS, "host.example.org"}, SAN{SANEmail, "CRON@example.org"}
	for _, tt := range []struct {
		name string
		peer Peer
		want string
	}{
		{"a uid", with(near, user(1001, 100)), "cron"},
		{"a uid on a unix socket", with(Peer{}, user(1001)), "cron"},
		{"another uid on a unix socket", with(Peer{}, user(1002)), ""},
		{"another uid on loopback is local", with(near, user(1002)), Local},
		{"nobody knows the uid", near, Local},
		{"bearerd's own", with(near, func(p *Peer) { p.User = &User{Self: true} }), "me"},
		{"a group", with(near, user(1002, 10, 50)), "staff"},
		{"user and group", with(near, user(7, 70)), "both"},
		{"the user without the group", with(near, user(7, 71)), Local},
		{"the group without the user", with(near, user(8, 70)), Local},
		{"root is not who could not be looked up", with(near, user(0, 0)), Local},
		{"the user of a trusted proxy", with(near, func(p *Peer) { user(1001)(p); p.Forwarded = true }), ""},

		{"a URI", with(far, sans(uri)), "spiffe"},
		{"a URI in another case", with(far, sans(SAN{SANURI, "spiffe://example.org/Cron"})), ""},
		{"an email address in another case", with(far, sans(email)), "spiffe"},
		{"a DNS name at the right address", with(on("10.1.1.1"), sans(dns)), "host"},
		{"a DNS name elsewhere", with(far, sans(dns)), ""},
		{"a DNS name on loopback is not local", with(near, sans(dns)), ""},
		{"beside names that no caller has", with(far, sans(SAN{SANDNS, "x.example.org"}, uri, SAN{SANURI, "spiffe://example.org/x"})), "spiffe"},
		{"one name twice", with(far, sans(uri, uri)), "spiffe"},
		{"two names that callers have", with(on("10.1.1.1"), sans(uri, dns)), ""},
		{"two names of one caller", with(near, sans(uri, email)), ""},
		{"a DNS name that looks like the URI", with(far, sans(SAN{SANDNS, uri.Value})), ""},
		{"a name of nobody on loopback", with(near, sans(SAN{SANDNS, "x.example.org"})), Local},
		{"a wildcard", with(on("10.1.1.1"), sans(SAN{SANDNS, "*.example.org"})), ""},
		{"the certificate of a trusted proxy", with(far, func(p *Peer) { sans(uri)(p); p.Forwarded = true }), ""},

		{"claims", with(far, jwt("gitlab", map[string]any{"project_path": "lab/more", "protected": true})), "ci"},
		{"a text for a truth", with(far, jwt("gitlab", map[string]any{"project_path": "lab/data", "protected": "true"})), "ci"},
		{"one claim is another", with(far, jwt("gitlab", map[string]any{"project_path": "lab/data", "protected": false})), ""},
		{"one claim is absent", with(far, jwt("gitlab", map[string]any{"project_path": "lab/data"})), ""},
		{"a claim in another case", with(far, jwt("gitlab", map[string]any{"project_path": "Lab/data", "protected": true})), ""},
		{"a claim in a list", with(far, jwt("gitlab", map[string]any{"groups": []any{"ops", "dev"}, "id": 42.0})), "dev"},
		{"a number as it was written", with(far, jwt("gitlab", map[string]any{"groups": "dev", "id": json.Number("42")})), "dev"},
		{"a number with a fraction", with(far, jwt("gitlab", map[string]any{"groups": "dev", "id": 42.5})), ""},
		{"a list in a list", with(far, jwt("gitlab", map[string]any{"groups": []any{[]any{"dev"}}, "id": 42})), ""},
		{"a mapping", with(far, jwt("gitlab", map[string]any{"groups": map[string]any{"dev": true}, "id": 42})), ""},
		{"null", with(far, jwt("gitlab", map[string]any{"groups": nil, "id": 42})), ""},
		{"claims of another issuer", with(far, jwt("other", map[string]any{"project_path": "lab/data", "protected": true})), ""},
		{"another issuer", with(far, jwt("dex", map[string]any{"sub": "me"})), "anyone"},
		{"a token of nobody on loopback is not local", with(near, jwt("gitlab", nil)), ""},
		{"a ServiceAccount", with(far, account("sim/other")), "sim"},
		{"another namespace", with(far, account("simu/other")), ""},
		{"no ServiceAccount", with(far, account("")), ""},

		{"key and address", with(on("10.1.1.1"), func(p *Peer) { p.Keys = []KeyHash{HashKey("k")} }), "keyed"},
		{"the key elsewhere, on loopback", with(near, func(p *Peer) { p.Keys = []KeyHash{HashKey("k")} }), ""},
		{"whose user should be known and is not", with(near, func(p *Peer) { p.Unowned = true }), ""},
		{"behind a trusted proxy on loopback", with(near, func(p *Peer) { p.Forwarded = true }), ""},
		{"bearerd's own uid on a unix socket without a caller", with(Peer{}, func(p *Peer) { p.User = &User{UID: 5, Self: true} }), "me"},
		{"anonymous", with(far, func(p *Peer) { p.Anonymous = true }), Anonymous},
		{"anonymous, but local", with(near, func(p *Peer) { p.Anonymous = true }), Local},
		{"anonymous with a token", with(far, func(p *Peer) { p.Anonymous = true; account("x/y")(p) }), ""},
		{"anonymous with two names", with(far, func(p *Peer) { p.Anonymous = true; sans(uri, dns)(p) }), ""},
		{"anonymous with a known key elsewhere", with(far, func(p *Peer) { p.Anonymous = true; p.Keys = []KeyHash{HashKey("k")} }), ""},
		{"anonymous with a key of nobody", with(far, func(p *Peer) { p.Anonymous = true; p.Keys = []KeyHash{HashKey("x")} }), Anonymous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.Identify(tt.peer); got.Caller != tt.want || (got.Key != nil) != (tt.want == "keyed") {
				t.Errorf("Identify() = %+v, want %q", got, tt.want)
			}
		})
	}
	if got, want := p.Needs(), (Needs{true, true, true, true, true, true}); got != want {
		t.Errorf("Needs() = %+v, want all", got)
	}
	if got := New(Config{Callers: []CallerConfig{{Name: "a", Address: []string{"10.0.0.1"}}}}, nil, &noted{}).Needs(); got != (Needs{}) {
		t.Errorf("Needs() = %+v, want nothing for an address", got)
	}
	if got := New(Config{}, nil, &noted{}).Identify(Peer{User: &User{Self: true}}); got.Caller != Local {
		t.Errorf("bearerd's own uid on a unix socket is %q, want %q", got.Caller, Local)
	}
}
