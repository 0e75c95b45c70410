package credentials

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestIsPrivate_IsWhatTheInternetDoesNotRoute(t *testing.T) {
	private := []string{
		"localhost", "LOCALHOST.", "bearerd.localhost", "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
		"192.0.0.192", "198.18.0.1", "198.19.255.255", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "100::1",
		"::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::a00:1", "64:ff9b:1::1",
		"2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:4136:e378::1",
	}
	public := []string{
		"transfer.api.globus.org", "localhost.example.org", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
		"198.17.255.255", "198.20.0.1", "192.0.1.1", "223.255.255.255", "2001:db8::1", "2606:4700::1111",
		"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
	}
	for want, hosts := range map[bool][]string{true: private, false: public} {
		for _, host := range hosts {
			if got := IsPrivate(host); got != want {
				t.Errorf("IsPrivate(%q) = %v, want %v", host, got, want)
			}
		}
	}
}

func TestClient_GoesToPrivateAddressesOnlyIfItSaysSo(t *testing.T) {
	way := func(name string) http.RoundTripper {
		return transport(func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("the %s way: %w", name, ErrAddressRefused)
		}).pointer()
	}
	usual, private, own, ownPrivate := way("usual"), way("private"), way("own"), way("own private")
	deps := Deps{Transport: usual, Private: private, NewTransport: func(_ *tls.Config, _ Secret, isPrivate bool) (http.RoundTripper, error) {
		if isPrivate {
			return ownPrivate, nil
		}
		return own, nil
	}}
	settings := ClientConfig{TokenURL: tokenURL, Auth: "client_secret_basic", ClientSecret: References{inFile(t, "s")}}
	for _, tt := range []struct {
		private, own bool
		want         http.RoundTripper
	}{{false, false, usual}, {true, false, private}, {false, true, own}, {true, true, ownPrivate}} {
		cfg := settings
		cfg.Private = tt.private
		if tt.own {
			cfg.egress = NewSecret("http://proxy.example.org:3128")
		}
		c, err := newClient(cfg, deps)
		if err != nil {
			t.Fatal(err)
		}
		if c.endpoint.Transport != tt.want {
			t.Errorf("private %v, own %v: another way than wanted", tt.private, tt.own)
		}
	}
	if _, err := endpoint(usual).Grant(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "write private: true beside it") {
		t.Errorf("a token endpoint whose address is refused: %v, want what to write", err)
	}
}
