package daemon

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/proxy"
)

// from is a connection from an address.
type from struct {
	net.Conn
	at net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.at }

// counter counts what is told of connections, all within one goroutine.
type counter struct{ open, shed, told, toldOf int }

func (c *counter) changed(_ string, delta int) { c.open += delta }
func (c *counter) turnedAway(string)           { c.shed++ }

func (c *counter) tell(_, _ string, shed int) {
	c.told++
	c.toldOf += shed
}

// knocker is a gate, and what comes to it.
type knocker struct {
	*counter
	gate *gate
}

func newKnocker(limits proxy.ConnectionLimits, tls bool, trusted ...netip.Prefix) knocker {
	k := knocker{counter: new(counter)}
	all := newConnections(limits, connectionEvents{k.changed, k.turnedAway, k.tell, nil})
	k.gate = all.gate(nil, "here", tls, trusted)
	return k
}

// knock connects from an address. It returns the connection if it is let in, and
// else what it is told.
func (k knocker) knock(address string) (net.Conn, string) {
	ours, theirs := net.Pipe()
	var at net.Addr = &net.UnixAddr{Net: "unix"}
	if address != "unix" {
		at = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1234))
	}
	said := make(chan string, 1)
	go func() { // until the connection closes
		all, _ := io.ReadAll(theirs)
		said <- string(all)
	}()
	if c := k.gate.all.admit(k.gate, from{ours, at}); c != nil {
		return c, ""
	}
	return nil, <-said
}

func TestConnections_BoundsHold(t *testing.T) {
	network := netip.MustParsePrefix("10.9.0.0/16")
	for _, tt := range []struct {
		name      string
		addresses []string
		wantShed  int
	}{
		{"two of one peer", []string{"10.0.0.1", "10.0.0.1"}, 0},
		{"three of one peer", []string{"10.0.0.1", "10.0.0.1", "10.0.0.1"}, 1},
		{"in IPv6 form it is the same peer", []string{"10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"}, 1},
		{"one network is one peer in IPv6", []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}, 1},
		{"two networks are two", []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::3"}, 0},
		{"four peers", []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, 0},
		{"loopback has no bound by peer", []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "::1", "::1", "::1"}, 0},
		{"nor have unix sockets", []string{"unix", "unix", "unix"}, 0},
		{"nor have trusted proxies", []string{"10.9.1.1", "10.9.1.1", "10.9.1.1"}, 0},
		{"all together", []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "unix", "unix", "unix", "127.0.0.1"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKnocker(proxy.ConnectionLimits{Connections: 6, PerPeer: 2}, false, network)
				var open []net.Conn
				shed := 0
				for _, address := range tt.addresses {
					if c, _ := k.knock(address); c != nil {
						open = append(open, c)
					} else {
						shed++
					}
				}
				if shed != tt.wantShed {
					t.Errorf("%d were turned away, want %d", shed, tt.wantShed)
				}
				for _, c := range open {
					_ = c.Close()
				}
				if len(k.gate.all.open) != 0 || k.open != 0 || k.gate.all.sockets.all != 0 || len(k.gate.all.sockets.peers) != 0 {
					t.Errorf("when all are closed %d connections and %d peers count", len(k.gate.all.open), len(k.gate.all.sockets.peers))
				}
			})
		})
	}
}

func TestConnections_OneTooManyIsTold(t *testing.T) {
	for _, tls := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			k := newKnocker(proxy.ConnectionLimits{Connections: 1, PerPeer: 1}, tls)
			in, _ := k.knock("127.0.0.1")
			var told string
			for range 10 {
				_, told = k.knock("127.0.0.1")
			}
			if k.shed != 10 || k.open != 1 {
				t.Errorf("%d turned away and %d open, want 10 and 1", k.shed, k.open)
			}
			if tls && told != "" {
				t.Errorf("in TLS it is told %q", told)
			}
			if !tls {
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(told)), nil)
				if err != nil {
					t.Fatalf("it is told %q: %v", told, err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != 503 || resp.Header.Get("Bearerd-Error") != "overloaded" || resp.Header.Get("Retry-After") != "1" || !resp.Close || !strings.HasPrefix(string(body), "bearerd: overloaded: ") {
					t.Errorf("it is told %q (%v)", told, err)
				}
			}
			time.Sleep(2 * time.Second)
			_, _ = k.knock("127.0.0.1")
			if k.told != 2 || k.toldOf != 11 {
				t.Errorf("told %d times of %d within 2 s, want twice of 11", k.told, k.toldOf)
			}
			_ = in.Close()
			again, _ := k.knock("127.0.0.1")
			if again == nil {
				t.Fatal("when one has left the next is turned away")
			}
			k.gate.all.use(proxy.ConnectionLimits{Connections: 2, PerPeer: 1})
			more, _ := k.knock("127.0.0.1")
			if more == nil {
				t.Fatal("a higher limit does not count")
			}
			_, _ = again.Close(), more.Close()
		})
	}
}

func TestConnections_RequestsInHTTP2HaveTheSameBounds(t *testing.T) {
	k := newKnocker(proxy.ConnectionLimits{Connections: 5, PerPeer: 2}, true)
	peers := map[string]netip.Addr{"one": netip.MustParseAddr("10.0.0.1"), "other": netip.MustParseAddr("10.0.0.2"), "trusted": {}}
	var under []func()
	for _, step := range []struct {
		peer   string
		wantOK bool
	}{{"one", true}, {"one", true}, {"one", false}, {"other", true}, {"trusted", true}, {"trusted", true}, {"trusted", false}, {"other", false}} {
		answered, ok := k.gate.all.ask(k.gate, peers[step.peer])
		if ok != step.wantOK {
			t.Errorf("with %d under way, one more of %s: %v, want %v", len(under), step.peer, ok, step.wantOK)
		}
		if ok {
			under = append(under, answered)
		}
	}
	for _, answered := range under {
		answered()
	}
	if all := &k.gate.all.streams; all.all != 0 || len(all.peers) != 0 || k.shed != 3 {
		t.Errorf("when all are answered %+v count, and %d were shed, want 0 and 3", all, k.shed)
	}
}
