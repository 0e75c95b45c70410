package daemon

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// dummySecret is what tools that insist on a client secret are given: the token
// shim does not look at it.
const dummySecret = "bearerd-placeholder"

// services are what Globus's SDKs call a preset's service in
// GLOBUS_SDK_SERVICE_URL_NAME. Timers has another name in each of them.
var services = map[string][]string{
	"auth": {"AUTH"}, "transfer": {"TRANSFER"}, "groups": {"GROUPS"}, "search": {"SEARCH"}, "flows": {"FLOWS"},
	"timers": {"TIMER", "TIMERS"}, "compute": {"COMPUTE"}, "nexus": {"NEXUS"},
}

// EnvFormats are the forms that PrintEnvironment knows.
var EnvFormats = []string{"sh", "fish", "dotenv", "systemd", "json"}

// EnvOptions say what PrintEnvironment does.
type EnvOptions struct {
	ConfigPath string
	Format     string // one of EnvFormats
	BaseURL    string // where tools find bearerd; "": as the configuration has it
}

// variable is one of the environment.
type variable struct{ name, value string }

// PrintEnvironment prints the variables that point tools at bearerd as it is
// configured. It needs no secret. Its errors are Mistakes.
func PrintEnvironment(out io.Writer, options EnvOptions) error {
	cfg, err := Load(options.ConfigPath, Overrides{WithoutSecrets: true})
	if err != nil {
		return err
	}
	var addresses []string
	for _, l := range cfg.Proxy.Listeners {
		addresses = append(addresses, l.Address)
	}
	variables, err := cfg.environment(addresses, options.BaseURL)
	if err != nil {
		return Mistakes{options.ConfigPath + ": " + err.Error()}
	}
	return printVariables(out, options.Format, variables)
}

// environment returns the variables for tools, where bearerd listens at the
// addresses, one for each listener, or is found at a URL: from elsewhere, where
// the listeners of single upstreams are not known to be reached.
func (c *Config) environment(addresses []string, elsewhere string) ([]variable, error) {
	base, own := "", map[string]string{} // own: URLs of upstreams that have a listener
	without := "tools find bearerd by a URL, and a unix socket has none; write a listener on localhost too, or give --base-url"
	for i, l := range c.Proxy.Listeners {
		if _, isSocket := l.SocketPath(); isSocket {
			continue // for which there are no URLs
		}
		if _, isSystemd := l.SystemdName(); isSystemd {
			without = "the ports of sockets that systemd opens are in its units alone; give --base-url"
			continue
		}
		at, err := listenerURL(addresses[i])
		if l.TLS != nil {
			at = strings.Replace(at, "http://", "https://", 1)
		}
		switch {
		case err != nil && elsewhere == "":
			return nil, err
		case base == "" && l.Upstream == "":
			base = at
		case l.Upstream != "" && own[l.Upstream] == "":
			own[l.Upstream] = at
		}
	}
	if base == "" && len(own) == 0 && elsewhere == "" {
		return nil, errors.New("proxy.listeners: " + without)
	}
	if elsewhere = strings.TrimRight(elsewhere, "/"); elsewhere != "" && elsewhere != base {
		base, own = elsewhere, nil
	}
	var variables []variable
	add := func(name, value string) { variables = append(variables, variable{name, value}) }
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if base != "" {
		add("BEARERD_URL", base)
	}
	for _, at := range append([]string{base}, slices.Sorted(maps.Values(own))...) {
		if u, err := url.Parse(at); err == nil && at != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	byPreset := map[string]string{}
	for _, name := range sortedKeys(c.Proxy.Upstreams) {
		preset := c.Proxy.Upstreams[name].Preset
		if byPreset[preset] == "" || name == preset { // of several, the one that is called so
			byPreset[preset] = name
		}
	}
	for _, preset := range sortedKeys(services) {
		name := byPreset[preset]
		u := c.Proxy.Upstreams[name]
		at := own[name]
		if at == "" && base != "" {
			at = base + u.Prefix
		}
		if name == "" || at == "" || presets[preset].shim && !*u.TokenShim { // Auth without the shim is no place to send a tool
			continue
		}
		for _, service := range services[preset] {
			add("GLOBUS_SDK_SERVICE_URL_"+service, at)
		}
		if ids := c.Credentials.ClientIDs(u.Credential); presets[preset].shim && len(ids) > 0 {
			add("GLOBUS_CLI_CLIENT_ID", ids[0])
			add("GLOBUS_CLI_CLIENT_SECRET", dummySecret)
		}
	}
	straight := withoutProxy(hosts)
	add("NO_PROXY", straight)
	add("no_proxy", straight)
	return variables, nil
}

// listenerURL is where tools on this machine find a listener.
func listenerURL(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", errors.New("proxy.listeners: port 0 is another one each time bearerd starts; write a port, or give --base-url")
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// withoutProxy joins hosts to those that this process's environment already has
// tools reach without a forward proxy.
func withoutProxy(hosts []string) string {
	var all []string
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		for host := range strings.FieldsFuncSeq(os.Getenv(name), func(r rune) bool { return r == ',' || r <= ' ' }) {
			all = append(all, host)
		}
	}
	if slices.Contains(all, "*") {
		return "*" // every host; in a list some tools take it for a name
	}
	var kept []string
	for _, host := range slices.Concat(all, hosts) {
		if !slices.Contains(kept, host) {
			kept = append(kept, host)
		}
	}
	return strings.Join(kept, ",")
}

func printVariables(out io.Writer, format string, variables []variable) error {
	if format == "json" {
		all := map[string]string{}
		for _, v := range variables {
			all[v.name] = v.value
		}
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	}
	line, quote := "%s=%s\n", quoteDouble
	switch format {
	case "sh":
		line, quote = "export %s=%s\n", func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	case "fish":
		escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
		line, quote = "set -gx %s %s\n", func(text string) string { return "'" + escape.Replace(text) + "'" }
	}
	var failed error
	for _, v := range variables {
		_, err := fmt.Fprintf(out, line, v.name, quote(v.value))
		failed = cmp.Or(failed, err)
	}
	return failed
}

// quoteDouble quotes for systemd's EnvironmentFile= and for .env files.
func quoteDouble(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(text) + `"`
}
