package policy

import (
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
