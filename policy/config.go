package policy

import (
	"errors"
	"maps"
	"net/netip"
	"regexp"
	"slices"
)

// Config is the policy section of config.yaml.
type Config struct {
	Callers []CallerConfig `yaml:"callers"`
	Rules   []RuleConfig   `yaml:"rules"`
}

// CallerConfig says how a caller is recognised. Local is built in.
type CallerConfig struct {
	Name    string   `yaml:"name"`
	Address []string `yaml:"address"` // the peer's: CIDRs or single addresses
	// Key is a credentials.Reference to a file of SHA-256 sums in hex, a line for
	// each key that is good. The key itself comes as a Basic password, a bearer
	// or X-Api-Key.
	Key string `yaml:"key"`

	Keys []KeyHash `yaml:"-"` // what Key names, read by who may read files
}

// RuleConfig is one rule. It names operations of the upstreams' presets (allow),
// or methods with paths, or both.
type RuleConfig struct {
	Name       string   `yaml:"name"` // appears in every answer and log line about it
	Callers    []string `yaml:"callers"`
	Upstreams  []string `yaml:"upstreams"`
	Allow      []string `yaml:"allow"`
	Methods    []string `yaml:"methods"`
	Paths      []string `yaml:"paths"`
	Credential string   `yaml:"credential"` // default: the upstream's
}

// Mistakes collects what is wrong with a configuration. Paths are keys and list
// indexes from the section down.
type Mistakes interface {
	// Add notes what was found and what to write instead.
	Add(path []any, format string, args ...any)
	// Unknown notes that there is no such name, and offers the known ones.
	Unknown(path []any, kind, name string, known []string)
}

const maxName = 64

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

// ValidName reports whether a caller, rule, upstream or credential may have this
// name: lower-case letters, digits, ".", "_" and "-", so that it needs no
// quoting in a URL, a log line or YAML.
func ValidName(name string) bool { return len(name) <= maxName && validName.MatchString(name) }

func (cfg Config) newCallers(m Mistakes) []caller {
	var callers []caller
	for i, c := range cfg.Callers {
		path := []any{"callers", i}
		seen := slices.ContainsFunc(callers, func(other caller) bool { return other.name == c.Name })
		checkName(append(path, "name"), c.Name, c.Name == Local || seen, m)
		made := caller{name: c.Name, keys: c.Keys}
		if len(c.Address) == 0 && c.Key == "" {
			m.Add(path, "nothing to recognise it by; write address: and a list of addresses or CIDRs, or key: file:PATH")
		}
		for j, text := range c.Address {
			prefix, err := parsePrefix(text)
			if err != nil {
				m.Add(append(path, "address", j), "%q is no address; write one such as 10.1.2.3 or 10.0.0.0/8", text)
			}
			made.addresses = append(made.addresses, prefix)
		}
		callers = append(callers, made)
	}
	return callers
}

func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err == nil && prefix.Addr().Is4In6() {
		err = errors.New("an IPv4 address in IPv6 form")
	}
	return prefix.Masked(), err
}

func checkName(path []any, name string, taken bool, m Mistakes) {
	switch {
	case name == "":
		m.Add(path, "missing; give it a name of lower-case letters, digits and -")
	case !ValidName(name):
		m.Add(path, "%q cannot be a name; write lower-case letters, digits, ., _ and -, at most 64", name)
	case taken:
		m.Add(path, "there is %q already; choose another name", name)
	}
}

func (cfg Config) newRules(upstreams map[string]Upstream, m Mistakes) []rule {
	callers := []string{Local}
	for _, c := range cfg.Callers {
		callers = append(callers, c.Name)
	}
	var rules []rule
	for i, r := range cfg.Rules {
		path := []any{"rules", i}
		seen := slices.ContainsFunc(rules, func(other rule) bool { return other.name == r.Name })
		checkName(append(path, "name"), r.Name, seen, m)
		checkList(path, "callers", "caller", r.Callers, callers, m)
		checkList(path, "upstreams", "upstream", r.Upstreams, slices.Sorted(maps.Keys(upstreams)), m)
		made := rule{name: r.Name, callers: r.Callers, access: map[string][]Access{}, credential: r.Credential}
		byHand := r.newAccess(path, m)
		for j, name := range r.Upstreams {
			if upstream, ok := upstreams[name]; ok {
				made.access[name] = slices.Concat(byHand, r.named(path, j, upstream, m))
			}
		}
		rules = append(rules, made)
	}
	return rules
}

func checkList(path []any, key, kind string, list, known []string, m Mistakes) {
	if len(list) == 0 {
		m.Add(path, "%s is missing or empty; name at least one %s", key, kind)
	}
	for i, name := range list {
		if !slices.Contains(known, name) {
			m.Unknown(append(path, key, i), kind, name, known)
		}
	}
}

// named returns what the rule's operations mean on its j-th upstream.
func (r RuleConfig) named(path []any, j int, upstream Upstream, m Mistakes) []Access {
	if len(upstream.Operations) == 0 && len(r.Allow) > 0 {
		m.Add(append(path, "upstreams", j), "%s has no preset, so allow means nothing there; write methods and paths", r.Upstreams[j])
		return nil
	}
	var access []Access
	for i, name := range r.Allow {
		at := slices.IndexFunc(upstream.Operations, func(op Operation) bool { return op.Name == name })
		if at >= 0 {
			access = append(access, upstream.Operations[at].Access...)
			continue
		}
		known := make([]string, len(upstream.Operations))
		for k, op := range upstream.Operations {
			known[k] = op.Name
		}
		m.Unknown(append(path, "allow", i), "operation of "+r.Upstreams[j], name, known)
	}
	return access
}

// newAccess returns what the rule's methods and paths mean.
func (r RuleConfig) newAccess(path []any, m Mistakes) []Access {
	if len(r.Methods)+len(r.Paths) == 0 {
		if len(r.Allow) == 0 {
			m.Add(path, "allows nothing; write allow: [read], or methods and paths")
		}
		return nil
	}
	if len(r.Methods) == 0 || len(r.Paths) == 0 {
		m.Add(path, "methods and paths go together; write both, such as methods: [GET], paths: [/v0.10/task/*]")
	}
	access := Access{Methods: r.Methods}
	for i, method := range r.Methods {
		if !slices.Contains(methods, method) {
			m.Unknown(append(path, "methods", i), "method", method, methods)
		}
	}
	for i, text := range r.Paths {
		pattern, err := ParsePattern(text)
		if err != nil {
			m.Add(append(path, "paths", i), "%q %v", text, err)
		}
		access.Paths = append(access.Paths, pattern)
	}
	return []Access{access}
}
