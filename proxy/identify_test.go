package proxy

import (
	"net/netip"
	"testing"
)

func TestForwardedFor_TheRightmostThatIsNoTrustedProxy(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("127.0.0.1/32")}
	for _, tt := range []struct {
		name  string
		lines []string
		want  string // "" for what is no list of addresses
	}{
		{"none", nil, "10.1.1.1"},
		{"one", []string{"192.0.2.1"}, "192.0.2.1"},
		{"made up before it", []string{"127.0.0.1, 10.9.9.9, 192.0.2.1"}, "192.0.2.1"},
		{"behind two proxies", []string{"192.0.2.1, 10.2.2.2"}, "192.0.2.1"},
		{"made up, behind two proxies", []string{"198.51.100.1,192.0.2.1,10.2.2.2"}, "192.0.2.1"},
		{"in two lines", []string{"198.51.100.1", "192.0.2.1, 10.2.2.2"}, "192.0.2.1"},
		{"proxies alone", []string{"10.3.3.3, 10.2.2.2"}, "10.3.3.3"},
		{"with a port", []string{"192.0.2.1:4711"}, "192.0.2.1"},
		{"IPv6", []string{"2001:db9::1, 2001:db8::1"}, "2001:db9::1"},
		{"IPv6 with a port", []string{"[2001:db9::1]:80"}, "2001:db9::1"},
		{"IPv6 in brackets", []string{"[2001:db9::1]"}, "2001:db9::1"},
		{"IPv4 inside IPv6", []string{"::ffff:10.2.2.2"}, "10.2.2.2"},
		{"a name", []string{"localhost"}, ""},
		{"empty", []string{""}, ""},
		{"an empty hop", []string{"192.0.2.1, "}, ""},
		{"nonsense before one that counts", []string{"unknown, 192.0.2.1"}, "192.0.2.1"},
		{"nonsense behind a proxy", []string{"unknown, 10.2.2.2"}, ""},
	} {
		got, ok := forwardedFor(netip.MustParseAddr("10.1.1.1"), tt.lines, trusted)
		if ok != (tt.want != "") || ok && got.String() != tt.want {
			t.Errorf("%s: %v, %v; want %q", tt.name, got, ok, tt.want)
		}
	}
}
