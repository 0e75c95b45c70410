package daemon

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
)

// readCallers reads what callers' keys, users and groups name: package policy reads
// no files.
func (c *Config) readCallers(m *mistakes) {
	for i := range c.Policy.Callers {
		caller, path := &c.Policy.Callers[i], []any{"policy", "callers", i}
		if caller.Key != "" {
			sums, err := credentials.Reference(caller.Key).ReadHashes()
			if err != nil {
				m.Add(append(path, "key"), "%v", err)
			}
			for _, sum := range sums {
				caller.Keys = append(caller.Keys, sum)
			}
		}
		caller.UID = lookUp(caller.User, append(path, "user"), "user", "id -u", os.Geteuid(), userID, m)
		caller.GID = lookUp(caller.Group, append(path, "group"), "group", "getent group", os.Getegid(), groupID, m)
	}
}

// lookUp returns the id that a name of the operating system stands for: a number,
// self for bearerd's own, or a name.
func lookUp(name string, path []any, kind, command string, own int, find func(string) (string, error), m *mistakes) *uint32 {
	switch name {
	case "":
		return nil
	case "self":
		id := uint32(own)
		return &id
	}
	text := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		if text, err = find(name); err != nil {
			m.Add(path, "this machine's files know no %s %q; write its id, as %s %s prints it, or self for bearerd's own", kind, name, command, name)
			return nil
		}
	}
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		m.Add(path, "%s %q has no id here; write its number", kind, name)
		return nil
	}
	short := uint32(id)
	return &short
}

func userID(name string) (string, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return found.Uid, nil
}

func groupID(name string) (string, error) {
	found, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return found.Gid, nil
}

// checkReach notes listeners that other machines reach where those could not be told
// apart, unless anonymous: true says that it is meant.
func (c *Config) checkReach(m *mistakes) {
	certificates := slices.ContainsFunc(c.Proxy.Listeners, asksForCertificates)
	remote := slices.ContainsFunc(c.Policy.Callers, func(caller policy.CallerConfig) bool {
		return knownFromElsewhere(caller) && (certificates || len(caller.Certificate) == 0)
	})
	for i, l := range c.Proxy.Listeners {
		path := []any{"proxy", "listeners", i, "address"}
		_, isSystemd := l.SystemdName()
		addresses := c.addressesOf(l)
		at := slices.IndexFunc(addresses, isReachable)
		if isSystemd && l.Anonymous && at < 0 && len(addresses) > 0 {
			m.Add([]any{"proxy", "listeners", i, "anonymous"}, "means nothing on loopback and on unix sockets, where systemd opened this one (%s); leave it out", list(addresses))
		}
		if at < 0 || l.Anonymous {
			continue
		}
		if !remote {
			found, instead := strconv.Quote(l.Address), "write localhost:8080"
			if isSystemd {
				found += " is " + addresses[at] + ", which"
				instead = "write ListenStream=127.0.0.1:8080 into the .socket unit"
			}
			m.Add(path, "%s can be reached from other machines, and no caller under policy.callers is known by anything that works from there; "+
				"%s, or a caller with key:, certificate:, jwt:, service_account: or address:, or anonymous: true to serve whoever asks", found, instead)
		}
		for j, caller := range c.Policy.Callers {
			if byAddressAlone(caller) && isEverybody(caller.Address) {
				m.Add([]any{"policy", "callers", j, "address"}, "caller %s is every address there is, and listener %s can be reached from other machines; "+
					"write the networks meant, or anonymous: true at the listener", caller.Name, l.Address)
			}
		}
	}
	if !c.ownListeners { // callers and rules are for those of the file
		return
	}
	for i, caller := range c.Policy.Callers {
		c.checkReachable(i, caller, m)
	}
	c.checkLocal(m)
	anonymous := slices.ContainsFunc(c.Proxy.Listeners, func(l proxy.ListenerConfig) bool { return l.Anonymous })
	for i, rule := range c.Policy.Rules {
		if at := slices.Index(rule.Callers, policy.Anonymous); at >= 0 && !anonymous {
			m.Add([]any{"policy", "rules", i, "callers", at}, "no listener says anonymous: true, so nobody is; leave it out, or write that at the listener")
		}
	}
}

// checkLocal notes rules for local alone where no connection from this machine is
// known to be one: to other addresses it comes from those.
func (c *Config) checkLocal(m *mistakes) {
	if slices.ContainsFunc(c.Proxy.Listeners, c.isReachedFromHere) {
		return
	}
	for i, rule := range c.Policy.Rules {
		if len(rule.Callers) == 1 && rule.Callers[0] == policy.Local {
			m.Add([]any{"policy", "rules", i, "callers", 0}, "no listener is on loopback or a unix socket, so that nobody is local; name other callers, or add a listener on localhost")
		}
	}
}

// checkReachable notes a caller that no listener could tell.
func (c *Config) checkReachable(i int, caller policy.CallerConfig, m *mistakes) {
	path := []any{"policy", "callers", i}
	own := slices.ContainsFunc(c.Proxy.Listeners, c.isReachedFromHere)
	if len(caller.Certificate) > 0 && !slices.ContainsFunc(c.Proxy.Listeners, asksForCertificates) {
		m.Add(append(path, "certificate"), "no listener asks for certificates, so that nobody can show one; write tls: {certificate:, key:, client_ca:} at one")
	}
	if caller.User != "" && !own {
		m.Add(append(path, "user"), "no listener is on loopback or a unix socket, and users are known on this machine alone")
	}
	if caller.Group != "" && !own {
		m.Add(append(path, "group"), "no listener is on loopback or a unix socket, and groups are known on this machine alone")
	}
}

// byAddressAlone reports whether nothing but its address tells a caller.
func byAddressAlone(c policy.CallerConfig) bool {
	return len(c.Address) > 0 && c.User+c.Group+c.Key+c.JWT == "" && len(c.Certificate)+len(c.ServiceAccount) == 0
}

// knownFromElsewhere reports whether a caller could be on another machine.
func knownFromElsewhere(c policy.CallerConfig) bool {
	if c.User != "" || c.Group != "" {
		return false
	}
	return len(c.Address) == 0 || slices.ContainsFunc(c.Address, func(text string) bool {
		addr, err := netip.ParseAddr(text)
		prefix, errPrefix := netip.ParsePrefix(text)
		return err == nil && !addr.IsLoopback() || errPrefix == nil && !prefix.Addr().IsLoopback()
	})
}

// isEverybody reports whether networks together are all of IPv4 or all of IPv6.
func isEverybody(texts []string) bool {
	var networks []netip.Prefix
	for _, text := range texts {
		if network, err := netip.ParsePrefix(text); err == nil {
			networks = append(networks, network.Masked())
		}
	}
	slices.SortFunc(networks, netip.Prefix.Compare) // what has another inside stands before it
	share := map[bool]float64{}                     // of all addresses, for IPv4 and not
	for i, network := range networks {
		if !slices.ContainsFunc(networks[:i], network.Overlaps) {
			share[network.Addr().Is4()] += math.Exp2(-float64(network.Bits()))
		}
	}
	return share[true] == 1 || share[false] == 1
}

// isReachable reports whether other machines may reach an address.
func isReachable(address string) bool {
	host, _, err := net.SplitHostPort(address)
	addr, notIP := netip.ParseAddr(host)
	return err == nil && (host == "" || notIP == nil && !addr.Unmap().IsLoopback())
}

// addressesOf returns where a listener is. Where systemd opens its sockets it is not
// known before there are some, and nothing is then: run looks again when it has them.
func (c *Config) addressesOf(l proxy.ListenerConfig) []string {
	if name, isSystemd := l.SystemdName(); isSystemd {
		return c.passed[name]
	}
	return []string{l.Address}
}

// isReachedFromHere reports whether some connections to a listener are known to be this
// machine's own, over a unix socket or loopback, or may be for all that is known.
func (c *Config) isReachedFromHere(l proxy.ListenerConfig) bool {
	addresses := c.addressesOf(l)
	return len(addresses) == 0 || slices.ContainsFunc(addresses, func(address string) bool {
		host, _, _ := net.SplitHostPort(address)
		addr, err := netip.ParseAddr(host)
		return !isReachable(address) || host == "" || err == nil && addr.IsUnspecified()
	})
}

func asksForCertificates(l proxy.ListenerConfig) bool { return l.TLS != nil && l.TLS.ClientCA != "" }

// checkDebug refuses GODEBUG's http2debug, which prints headers, tokens among them, and
// http2server=0, which would leave callers without the HTTP/2 that they are offered.
func checkDebug(godebug string) error {
	for setting := range strings.SplitSeq(godebug, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(setting), "="); {
		case name == "http2debug":
			return Mistakes{fmt.Sprintf("GODEBUG: %s prints headers with tokens in them; start bearerd without it", name)}
		case name == "http2server" && value == "0":
			return Mistakes{"GODEBUG: http2server=0 takes HTTP/2 away, which listeners with tls: offer; start bearerd without it"}
		}
	}
	return nil
}

// localMeansEverybody says who local is, where that may surprise: on a machine with
// several users a loopback listener serves them all.
func (c *Config) localMeansEverybody() bool {
	rule := slices.ContainsFunc(c.Policy.Rules, func(r policy.RuleConfig) bool { return !r.Deny && slices.Contains(r.Callers, policy.Local) })
	loopback := slices.ContainsFunc(c.Proxy.Listeners, func(l proxy.ListenerConfig) bool {
		return slices.ContainsFunc(c.addressesOf(l), func(address string) bool { return !strings.HasPrefix(address, "unix:") })
	})
	return rule && loopback && severalUsers()
}
