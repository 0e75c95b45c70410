package proxy

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
)

// Config is the proxy section of config.yaml.
type Config struct {
	Listeners []ListenerConfig          `yaml:"listeners"` // default: one, localhost:8080
	ProxyURL  string                    `yaml:"proxy_url"` // a URL, a credentials.Reference to one, or env; default: straight
	Upstreams map[string]UpstreamConfig `yaml:"upstreams"`
	Limits    ConnectionLimits          `yaml:"limits"`
	Drain     DrainConfig               `yaml:"drain"`

	egress credentials.Secret // ProxyURL resolved: it may hold a password
}

// ConnectionLimits are how many callers' connections may be open at once. One more
// is answered with 503, or closed where it is to speak TLS. Requests in HTTP/2 under way
// have the same limits, and one more is reset.
type ConnectionLimits struct {
	Connections int `yaml:"connections"` // of all listeners together; default 4096
	// PerPeer is how many may come from one address, or one /64 of IPv6; default 512.
	// It does not hold for loopback, unix sockets and a listener's trusted_proxies.
	PerPeer int `yaml:"per_peer"`
}

// DrainConfig is how bearerd stops.
type DrainConfig struct {
	Delay   time.Duration `yaml:"delay"`   // answers close their connections for so long before no more are accepted; default 500ms
	Timeout time.Duration `yaml:"timeout"` // for requests under way to finish after that; default 20s
}

// Default returns the section as it is where the file says nothing.
func Default() Config {
	return Config{
		Limits: ConnectionLimits{Connections: 4096, PerPeer: 512},
		Drain:  DrainConfig{Delay: 500 * time.Millisecond, Timeout: 20 * time.Second},
	}
}

// Mistakes collects what is wrong with a configuration. Paths are keys and list
// indexes from the section down.
type Mistakes interface {
	// Add notes what was found and what to write instead.
	Add(path []any, format string, args ...any)
	// Unknown notes that there is no such name, and offers the known ones.
	Unknown(path []any, kind, name string, known []string)
}

// Resolve fills in defaults, reads what ProxyURL names, and notes everything
// that is wrong with c.
func (c *Config) Resolve(m Mistakes) {
	if len(c.Listeners) == 0 {
		c.Listeners = []ListenerConfig{{Address: "localhost:8080"}}
	}
	for i, l := range c.Listeners {
		path := []any{"listeners", i}
		l.check(path, c.Upstreams, m)
		if slices.ContainsFunc(c.Listeners[:i], l.sameAddress) {
			m.Add(append(path, "address"), "%q is there already; write each address once", l.Address)
		}
	}
	for key, value := range map[string]time.Duration{"delay": c.Drain.Delay, "timeout": c.Drain.Timeout} {
		if value < 0 {
			m.Add([]any{"drain", key}, "%v is negative; write a duration such as 20s", value)
		}
	}
	for key, value := range map[string]int{"connections": c.Limits.Connections, "per_peer": c.Limits.PerPeer} {
		if value < 1 {
			m.Add([]any{"limits", key}, "%d would let nobody connect; write a number such as 512, or leave it out", value)
		}
	}
	if len(c.Upstreams) == 0 {
		m.Add([]any{"upstreams"}, "missing or empty; write at least one, such as transfer: {preset: transfer}")
	}
	prefixes, hosts := map[string]string{}, map[string]string{}
	for _, name := range names(c.Upstreams) {
		u, path := c.Upstreams[name], []any{"upstreams", name}
		u.resolve(name, path, m)
		c.Upstreams[name] = u
		taken(prefixes, u.Prefix, name, append(path, "prefix"), m)
		taken(hosts, u.Host, name, append(path, "host"), m)
	}
	for i, l := range c.Listeners {
		l.checkForward([]any{"listeners", i, "forward"}, c.Upstreams, m)
	}
	c.resolveEgress(m)
}

// SecretVariables returns the environment variables that c's secrets are kept in.
func (c Config) SecretVariables() []string {
	references := []string{c.ProxyURL} // which may hold a password
	for _, name := range names(c.Upstreams) {
		references = append(references, string(c.Upstreams[name].TLS.Key))
	}
	var variables []string
	for _, reference := range references {
		if name, ok := strings.CutPrefix(reference, "env:"); ok {
			variables = append(variables, name)
		}
	}
	return variables
}

// taken notes a value that an earlier upstream has.
func taken(seen map[string]string, value, name string, path []any, m Mistakes) {
	if other := seen[value]; other != "" && value != "" {
		m.Add(path, "%q is upstream %s's already; choose another", value, other)
	}
	seen[value] = name
}

// checkHost notes what is no host name or address. A port is left out: any is accepted.
func checkHost(path []any, name string, m Mistakes) {
	if strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-_:") != "" || name == "" || name != strings.TrimRight(name, ".") {
		m.Add(path, "%q is no host name; write the name alone, such as bearerd.example.org", name)
	} else if _, err := netip.ParseAddr(name); err != nil && strings.Contains(name, ":") {
		m.Add(path, "%q has a port; write the name alone, any port is accepted", name)
	}
}

// Bind says which upstream each credential is for, and notes a credential that
// would go to two places: a token goes only to its own scheme, host and port.
// Of two upstreams that name one credential, the one it is called after has it.
func (c Config) Bind(rules []policy.RuleConfig, m Mistakes) map[string]string {
	bindings := map[string]string{}
	bind := func(credential, upstream string, path []any) {
		other, bound := bindings[credential]
		if bound && credential != credentials.NoCredential && c.origin(other) != c.origin(upstream) {
			m.Add(path, "credential %s is for %s; a token goes to one scheme, host and port only, so define another under credentials.tokens", credential, c.origin(other))
			return
		}
		if !bound {
			bindings[credential] = upstream
		}
	}
	for _, owners := range []bool{true, false} { // who owns a name before who borrows it
		for _, name := range names(c.Upstreams) {
			if credential := c.Upstreams[name].Credential; (credential == name) == owners {
				bind(credential, name, []any{"proxy", "upstreams", name, "credential"})
			}
			for _, route := range c.Upstreams[name].Routes {
				bind(route.Credential, name, []any{"proxy", "upstreams", name, "flows"})
			}
		}
	}
	for i, rule := range rules {
		for _, upstream := range rule.Upstreams {
			if _, known := c.Upstreams[upstream]; known && rule.Credential != "" {
				bind(rule.Credential, upstream, []any{"policy", "rules", i, "credential"})
			}
		}
	}
	return bindings
}

func (c Config) origin(upstream string) string { return Origin(c.Upstreams[upstream].URL) }

func lower(list []string) []string {
	out := make([]string, len(list))
	for i, text := range list {
		out[i] = strings.ToLower(text)
	}
	return out
}
