package proxy

import (
	"net/netip"
	"net/url"
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
	Drain     DrainConfig               `yaml:"drain"`

	egress credentials.Secret // ProxyURL resolved: it may hold a password
}

// UpstreamConfig is one service to forward to.
type UpstreamConfig struct {
	Preset     string `yaml:"preset"`     // fills url, path and a credential
	Collection string `yaml:"collection"` // preset collection: its UUID
	Endpoint   string `yaml:"endpoint"`   // preset gcs: the endpoint's UUID
	URL        string `yaml:"url"`
	Credential string `yaml:"credential"` // default: the upstream's own name
	Prefix     string `yaml:"prefix"`     // default: /NAME
	Host       string `yaml:"host"`       // also reached by this Host name, without prefix
	Path       string `yaml:"path"`       // strict (default) or files
	// InsecureHTTP allows a url of http://, over which tokens can be read by
	// everybody on the way. Default false.
	InsecureHTTP bool `yaml:"insecure_http"`
	// Private allows a url with an address of this machine or of a private network,
	// where not everything that answers is what it seems. Default false.
	Private bool `yaml:"private"`
	// Headers are what of the caller's own is forwarded after all.
	Headers HeadersConfig `yaml:"headers"`
	// InboundAuthorization says what becomes of a caller's own Authorization:
	// replace (default) or refuse. None is ever forwarded.
	InboundAuthorization string `yaml:"inbound_authorization"`
	// TokenShim answers tools that ask Globus Auth for tokens of their own with
	// placeholders. Preset auth only; default true there.
	TokenShim *bool `yaml:"token_shim"`
	// DataAccess are mapped collections whose data is used through this upstream:
	// the token is asked for with consent to it. Presets transfer and timers.
	DataAccess []string `yaml:"data_access"`
	// Flows are the flows that may be started: each has a token of its own, under
	// the name UPSTREAM.FLOW, for run and validate_run, and for resume where it is
	// the only one: the path of that names no flow, so that of several a rule has
	// to name the credential. Preset flows.
	Flows []string `yaml:"flows"`
	// Consent says what becomes of a ConsentRequired for one collection's
	// data_access: auto (default with presets transfer and timers, which alone may
	// have it) grants it to the service account and sends the request again, off
	// passes it on.
	Consent string `yaml:"consent"`

	// LoginRedirect says that a redirect to Globus's login page is how the
	// upstream refuses a token. Set by preset collection.
	LoginRedirect bool `yaml:"-"`
	// Routes are requests with another credential than the upstream's, where the
	// rule names none. The first that matches counts. Set by preset flows.
	Routes []CredentialRoute `yaml:"-"`
}

// CredentialRoute gives some of an upstream's requests a credential of their own.
type CredentialRoute struct {
	Method string
	// Path is compared by segment, percent-decoded and in any case, so that
	// /flows/ID/%72un is /flows/ID/run. A segment * is any one that is not empty.
	Path       string
	Credential string
}

// DrainConfig is how bearerd stops.
type DrainConfig struct {
	Delay   time.Duration `yaml:"delay"`   // answers close their connections for so long before no more are accepted; default 500ms
	Timeout time.Duration `yaml:"timeout"` // for requests under way to finish after that; default 20s
}

// Default returns the section as it is where the file says nothing.
func Default() Config {
	return Config{Drain: DrainConfig{Delay: 500 * time.Millisecond, Timeout: 20 * time.Second}}
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
	c.resolveEgress(m)
}

// taken notes a value that an earlier upstream has.
func taken(seen map[string]string, value, name string, path []any, m Mistakes) {
	if other := seen[value]; other != "" && value != "" {
		m.Add(path, "%q is upstream %s's already; choose another", value, other)
	}
	seen[value] = name
}

func (u *UpstreamConfig) resolve(name string, path []any, m Mistakes) {
	if !policy.ValidName(name) {
		m.Add(path, "%q cannot be a name; write lower-case letters, digits, ., _ and -, at most 64", name)
	}
	u.checkURL(append(path, "url"), m)
	u.Headers.resolve(append(path, "headers"), m)
	if u.Credential == "" {
		u.Credential = name
	}
	switch {
	case u.Prefix == "":
		u.Prefix = "/" + name
	case !strings.HasPrefix(u.Prefix, "/"), strings.HasSuffix(u.Prefix, "/"), checkPath(u.Prefix) != "", strings.Contains(u.Prefix, "%"):
		m.Add(append(path, "prefix"), "%q is no prefix; write one such as /%s, without a / at the end (for none, give the upstream a listener or a host of its own)", u.Prefix, name)
	}
	if u.Host != "" {
		checkHost(append(path, "host"), u.Host, m)
		u.Host = strings.ToLower(u.Host)
	}
	if u.Path == "" {
		u.Path = "strict"
	}
	if u.Path != "strict" && u.Path != "files" {
		m.Unknown(append(path, "path"), "path", u.Path, []string{"strict", "files"})
	}
	if u.InboundAuthorization == "" {
		u.InboundAuthorization = "replace"
	}
	if u.InboundAuthorization != "replace" && u.InboundAuthorization != "refuse" {
		m.Unknown(append(path, "inbound_authorization"), "inbound_authorization", u.InboundAuthorization, []string{"replace", "refuse"})
	}
	if u.Consent == "" {
		u.Consent = "off"
	}
	if u.Consent != "auto" && u.Consent != "off" {
		m.Unknown(append(path, "consent"), "consent", u.Consent, []string{"auto", "off"})
	}
}

func (u *UpstreamConfig) checkURL(path []any, m Mistakes) {
	parsed, err := url.Parse(u.URL)
	switch {
	case u.URL == "":
		m.Add(path, "missing; write the service's URL, or preset: and one of the presets")
	case strings.Contains(u.URL, "@"): // not repeated: what stands before it may be a password
		m.Add(path, "has user information; write scheme, host and path alone, and the rest under credentials.tokens")
	case err == nil && parsed.Scheme != "http" && parsed.Scheme != "https" && !strings.Contains(u.URL, "://"):
		m.Add(path, "%q has no scheme; write https://%s", u.URL, u.URL)
	case err != nil || parsed.Host == "" || parsed.Opaque != "" || (parsed.Scheme != "http" && parsed.Scheme != "https"):
		m.Add(path, "%q is no URL of a service; write one such as https://api.example.org/v1/", u.URL)
	case parsed.RawQuery != "" || parsed.Fragment != "" || parsed.ForceQuery:
		m.Add(path, "has a query or a fragment; write scheme, host and path alone")
	case parsed.Path != "" && (checkPath(parsed.EscapedPath()) != "" || checkStrict(parsed.EscapedPath()) != ""):
		m.Add(path, "%q has a path that cannot be forwarded below; write it without dot segments, // and encoded separators", u.URL)
	case parsed.Scheme == "http" && !u.InsecureHTTP:
		m.Add(path, "%q would send tokens in the clear; write https://, or insecure_http: true where nobody can listen", u.URL)
	case !u.Private && credentials.IsPrivate(parsed.Hostname()):
		m.Add(path, "%q is on this machine or a private network; write private: true beside it if it is meant", u.URL)
	}
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
