package daemon

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"bearerd/credentials"
	"bearerd/credentials/filestore"
	"bearerd/credentials/redisstore"
	"bearerd/policy"
	"bearerd/proxy"
	"bearerd/proxy/admin"
)

// Config is the whole of config.yaml, one section per package.
type Config struct {
	Proxy       proxy.Config       `yaml:"proxy"`
	Credentials credentials.Config `yaml:"credentials"`
	Policy      policy.Config      `yaml:"policy"`
	Admin       admin.Config       `yaml:"admin"`
	Log         LogConfig          `yaml:"log"`

	ownListeners bool // they are the file's, and not another way in for once

	passed map[string][]string // see Overrides

	policy   *policy.Policy    // made of Policy
	bindings map[string]string // which upstream each credential is for
}

// LogConfig is the log section of config.yaml.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info (default), warn, error
	Format string `yaml:"format"` // console, json, or auto (default): console on a terminal
	Access bool   `yaml:"access"` // one line a request; default true
}

func defaultConfig() *Config {
	return &Config{
		Proxy:       proxy.Default(),
		Credentials: credentials.Config{Margin: credentials.DefaultMargin},
		Admin:       admin.Default(),
		Log:         LogConfig{Level: "info", Format: "auto", Access: true},
	}
}

// resolve turns what the file says into what bearerd runs with: presets are
// expanded, references read, names looked up. Everything wrong is noted.
func (c *Config) resolve(m *mistakes) {
	m.choice([]any{"log", "level"}, "level", c.Log.Level, logLevels)
	m.choice([]any{"log", "format"}, "format", c.Log.Format, logFormats)
	known := c.expandPresets(m)
	c.checkTokens(m)
	c.Credentials.Resolve(m.under("credentials"))
	c.Proxy.Resolve(m.under("proxy"))
	c.Admin.Resolve(m.under("admin"))
	c.checkAddresses(m)
	c.checkOwners(m)
	c.checkStore(m)
	c.readCallers(m)
	c.fillKubernetes()
	c.checkIdentity(m)
	c.checkAudit(m)
	c.checkReach(m)
	c.policy = policy.New(c.Policy, known, m.under("policy"))
	c.bindings = c.Proxy.Bind(c.Policy.Rules, m)
	c.checkCredentials(m)
}

// scopesAsked returns the scopes that a credential is asked for with.
func (c *Config) scopesAsked(credential string) []string {
	return c.Credentials.Tokens[credential].Scopes
}

// checkAddresses notes an address of the admin section that a listener has.
func (c *Config) checkAddresses(m *mistakes) {
	for key, address := range map[string]string{"address": c.Admin.Address, "probe_address": c.Admin.ProbeAddress} {
		if slices.ContainsFunc(c.Proxy.Listeners, func(l proxy.ListenerConfig) bool { return overlap(l.Address, address) }) {
			m.Add([]any{"admin", key}, "%q is a listener's already; write another port", address)
		}
	}
	if a, b := c.Admin.Address, c.Admin.ProbeAddress; a != b && overlap(a, b) {
		m.Add([]any{"admin", "probe_address"}, "%q is address's already; write another port", b)
	}
}

// checkOwners notes whom a unix socket could not be given to.
func (c *Config) checkOwners(m *mistakes) {
	for i, l := range c.Proxy.Listeners {
		_, isSocket := l.SocketPath()
		if _, _, err := lookUpOwner(l.Owner); err != nil && isSocket {
			m.Add([]any{"proxy", "listeners", i, "owner"}, "%v", err)
		}
	}
}

// overlap reports whether two addresses cannot both be listened on.
func overlap(a, b string) bool {
	for _, address := range []string{a, b} {
		if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "systemd:") {
			return false
		}
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" { // 0 is a port of its own for each
		return false
	}
	covers := func(a, b string) bool {
		switch a {
		case "", "::":
			return true
		case "0.0.0.0":
			return !strings.Contains(b, ":")
		case "localhost":
			return b == "127.0.0.1" || b == "::1"
		}
		return a == b
	}
	return hostA == hostB || covers(hostA, hostB) || covers(hostB, hostA)
}

// checkStore notes a store that could not be opened.
func (c *Config) checkStore(m *mistakes) {
	path, store := []any{"credentials", "store"}, c.Credentials.Store
	if store.Dir != "" {
		if err := filestore.Check(store.Dir); err != nil {
			m.Add(path, "%v", err)
		}
	}
	if store.Redis == "" {
		return
	}
	if store.URL().Reveal() != "" && redisstore.CheckURL(store.URL()) != nil {
		m.Add(append(path, "redis"), "%v", redisstore.CheckURL(store.URL()))
	}
	for i, key := range store.KeySecrets() {
		if err := redisstore.CheckKey(key); err != nil && key.Reveal() != "" {
			m.Add(append(path, "keys", i), "%v", err)
		}
	}
}

// secretPaths are the keys that name what only running needs.
func (c *Config) secretPaths() [][]any {
	paths := [][]any{
		{"proxy", "proxy_url"}, {"credentials", "store", "redis"}, {"policy", "audit", "file"},
	}
	for i := range c.Proxy.Listeners {
		path := []any{"proxy", "listeners", i, "tls"}
		paths = append(paths, path, slices.Concat(path, []any{"client_ca"}))
	}
	for name := range c.Proxy.Upstreams {
		path := []any{"proxy", "upstreams", name, "tls"}
		paths = append(paths, path, slices.Concat(path, []any{"certificate"}), slices.Concat(path, []any{"ca"}))
	}
	paths = append(paths, []any{"policy", "identity", "kubernetes", "ca"}, []any{"policy", "identity", "kubernetes", "token"})
	for name := range c.Policy.Identity.JWT {
		paths = append(paths, []any{"policy", "identity", "jwt", name, "ca"})
	}
	for i := range c.Credentials.Store.Keys {
		paths = append(paths, []any{"credentials", "store", "keys", i})
	}
	for name := range c.Credentials.Clients {
		path := []any{"credentials", "clients", name}
		for _, key := range []string{"client_secret", "private_key", "assertion", "tls", "proxy_url"} {
			paths = append(paths, slices.Concat(path, []any{key}))
		}
		paths = append(paths, slices.Concat(path, []any{"tls", "certificate"}), slices.Concat(path, []any{"tls", "ca"}))
		for i := range c.Credentials.Clients[name].ClientSecret {
			paths = append(paths, slices.Concat(path, []any{"client_secret", i}))
		}
	}
	for name := range c.Credentials.Tokens {
		paths = append(paths, []any{"credentials", "tokens", name, "token"}, []any{"credentials", "tokens", name, "password"})
	}
	for i := range c.Policy.Callers {
		paths = append(paths, []any{"policy", "callers", i, "key"})
	}
	for i := range c.Proxy.Listeners {
		path := []any{"proxy", "listeners", i, "tls"}
		paths = append(paths, path, slices.Concat(path, []any{"client_ca"}))
	}
	return paths
}

// checkCredentials notes credentials that upstreams and rules name but nobody defines.
func (c *Config) checkCredentials(m *mistakes) {
	known := append(sortedKeys(c.Credentials.Tokens), credentials.NoCredential)
	for _, name := range sortedKeys(c.Proxy.Upstreams) {
		u := c.Proxy.Upstreams[name]
		switch path := []any{"proxy", "upstreams", name, "credential"}; {
		case slices.Contains(known, u.Credential):
		case u.Credential == name:
			m.Add(path[:3], "no credential for it; define credentials.tokens.%s, or write credential: and one of %s", name, list(known))
		default:
			m.Unknown(path, "credential", u.Credential, known)
		}
	}
	for i, rule := range c.Policy.Rules {
		if rule.Credential != "" && !slices.Contains(known, rule.Credential) {
			m.Unknown([]any{"policy", "rules", i, "credential"}, "credential", rule.Credential, known)
		}
	}
}

// checkTokens notes names that cannot be one, and credentials that nothing is
// reached with: a name written wrongly would leave the upstream with the preset's
// broader one. What else is wrong with those is not told.
func (c *Config) checkTokens(m *mistakes) {
	var used []string
	for _, some := range c.credentialsOf() {
		used = append(used, some...)
	}
	isUnknown := func(name string) bool {
		_, known := c.Credentials.Tokens[name]
		return !known && name != credentials.NoCredential
	}
	for _, name := range sortedKeys(c.Credentials.Tokens) {
		path := []any{"credentials", "tokens", name}
		hint := "name it as credential: of an upstream or a rule, or leave it out"
		if near := closest(name, sortedKeys(c.Proxy.Upstreams)); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		switch {
		case !policy.ValidName(name) && !slices.Contains(sortedKeys(c.Proxy.Upstreams), name):
			m.Add(path, "%q cannot be a name; write lower-case letters, digits, ., _ and -, at most 64", name)
		case name == credentials.NoCredential, slices.Contains(used, name), slices.ContainsFunc(used, isUnknown): // which is told of that, once
			continue
		default:
			m.Add(path, "no upstream and no rule uses this credential; %s", hint)
		}
		m.hush(path)
	}
}
