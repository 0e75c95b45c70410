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
			if got := p.Identify(Peer{netip.MustParseAddr(tt.addr)}); got != tt.want {
				t.Errorf("Identify(%s) = %q, want %q", tt.addr, got, tt.want)
			}
		})
	}
	if got := p.Identify(Peer{}); got != "" {
		t.Errorf("Identify() of no address = %q, want nobody", got)
	}
}

func TestPolicy_IdentifyKnowsLocalWithoutAnyConfig(t *testing.T) {
	p := New(Config{}, nil, &noted{})
	if got := p.Identify(Peer{netip.MustParseAddr("::1")}); got != Local {
		t.Errorf("Identify(::1) = %q, want %q", got, Local)
	}
}
