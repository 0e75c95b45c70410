package policy

import (
	"errors"
	"maps"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// CallerConfig says how a caller is recognised. All that it names must hold.
// Local and Anonymous are built in.
type CallerConfig struct {
	Name    string   `yaml:"name"`
	Address []string `yaml:"address"` // CIDRs or single addresses
	// User runs the process at the other end, on this machine: a name, an id, or
	// self for bearerd's own uid. Group is one of that process's.
	User  string `yaml:"user"`
	Group string `yaml:"group"`
	// Certificate is what the client certificate is for: a URI, DNS name or email
	// address, exactly, of which it may have only one that callers have.
	Certificate Texts `yaml:"certificate"`
	// Key is a reference to a file of SHA-256 sums in hex, a line for each key
	// that is good. The key itself comes as a Basic password, a bearer or
	// X-Api-Key.
	Key string `yaml:"key"`
	// ServiceAccount is NAMESPACE/NAME of a Kubernetes ServiceAccount whose token
	// is shown.
	ServiceAccount Texts `yaml:"service_account"`
	// JWT names whose tokens identify, of policy.identity.jwt; Claims are what
	// they must say: one of the texts each. There must be some: at many issuers
	// anybody can have a token made for any audience.
	JWT    string           `yaml:"jwt"`
	Claims map[string]Texts `yaml:"claims"`

	Keys []KeyHash `yaml:"-"` // what Key names, read by who may read files
	UID  *uint32   `yaml:"-"` // whom User names, looked up by who may; nil for self
	GID  *uint32   `yaml:"-"` // what Group names
}

// self as a user is whoever runs bearerd.
const self = "self"

var validAccount = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (cfg Config) newCallers(m Mistakes) []caller {
	var callers []caller
	for i, c := range cfg.Callers {
		path := []any{"callers", i}
		taken := c.Name == Local || c.Name == Anonymous || slices.ContainsFunc(callers, func(other caller) bool { return other.name == c.Name })
		checkName(append(path, "name"), c.Name, taken, m)
		made := caller{
			name: c.Name, keys: c.Keys, byKey: c.Key != "" || len(c.Keys) > 0, jwt: c.JWT, accounts: c.ServiceAccount,
			byUser: c.User != "" || c.UID != nil, uid: c.UID, self: c.User == self, byGroup: c.Group != "" || c.GID != nil, gid: c.GID,
		}
		if len(c.Address)+len(c.Certificate)+len(c.ServiceAccount) == 0 && !made.byKey && !made.byUser && !made.byGroup && c.JWT == "" && len(c.Claims) == 0 {
			m.Add(path, "nothing to recognise it by; write address: and a list of addresses or CIDRs, or key: file:PATH, user:, group:, certificate:, service_account: or jwt:")
		}
		for j, text := range c.Address {
			prefix, err := ParseNetwork(text)
			if err != nil {
				m.Add(append(path, "address", j), "%q is no address; write one such as 10.1.2.3 or 10.0.0.0/8", text)
			}
			made.addresses = append(made.addresses, prefix)
		}
		for j, text := range c.Certificate {
			san, err := parseSAN(text)
			if err != nil {
				m.Add(append(path, "certificate", j), "%q %v", text, err)
			}
			made.sans = append(made.sans, san)
		}
		c.checkAccounts(path, cfg.Identity, m)
		made.claims = c.newClaims(path, cfg.Identity, m)
		callers = append(callers, made)
	}
	return callers
}

func (c CallerConfig) checkAccounts(path []any, identity IdentityConfig, m Mistakes) {
	for i, text := range c.ServiceAccount {
		if !validAccount.MatchString(text) {
			m.Add(append(path, "service_account", i), "%q is no ServiceAccount; write NAMESPACE/NAME, such as sim/runner", text)
		}
	}
	if len(c.ServiceAccount) > 0 && identity.Kubernetes == nil {
		m.Add(append(path, "service_account"), "nothing says how its tokens are checked; write kubernetes: {audience: bearerd} under policy.identity")
	}
	if len(c.ServiceAccount) > 0 && c.JWT != "" {
		m.Add(append(path, "jwt"), "one token is not of a ServiceAccount and of an issuer's too; write two callers")
	}
}

func (c CallerConfig) newClaims(path []any, identity IdentityConfig, m Mistakes) []claim {
	if _, known := identity.JWT[c.JWT]; c.JWT != "" && !known {
		m.Unknown(append(path, "jwt"), "name under policy.identity.jwt", c.JWT, slices.Sorted(maps.Keys(identity.JWT)))
	}
	if c.JWT == "" && len(c.Claims) > 0 {
		m.Add(append(path, "claims"), "there is no jwt: that would make them; write jwt: and a name under policy.identity.jwt")
	}
	if c.JWT != "" && len(c.Claims) == 0 {
		m.Add(append(path, "jwt"), "there are no claims, so that whoever gets a token of that issuer for the audience would be this caller; write claims: and what the token has to say, such as {sub: ...}")
	}
	var claims []claim
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		texts := c.Claims[name]
		if name == "" || len(texts) == 0 || slices.Contains(texts, "") {
			m.Add(append(path, "claims", name), "empty; write what the token has to say there")
		}
		claims = append(claims, claim{name, texts})
	}
	return claims
}

// ParseNetwork reads a network (CIDR), or a single address. One in IPv6 form that is
// IPv4's is an error: half of who write it mean another.
func ParseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.Unmap().WithZone(""), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err == nil && prefix.Addr().Is4In6() {
		err = errors.New("an IPv4 address in IPv6 form")
	}
	return prefix.Masked(), err
}

var validHost = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// parseSAN reads the name a certificate is to have. DNS names and email addresses
// are compared in lower case, URIs byte for byte. No wildcard is one: it would be any
// of several machines.
func parseSAN(text string) (SAN, error) {
	lower := strings.ToLower(text)
	if strings.ContainsFunc(lower, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '*' }) {
		return SAN{}, errors.New("has a space, a wildcard or a character that no name in a certificate has; write the name as the certificate has it")
	}
	switch {
	case strings.Contains(lower, "://"):
		if u, err := url.Parse(text); err != nil || u.Scheme == "" || u.Host == "" {
			return SAN{}, errors.New("is no URI; write one such as spiffe://example.org/cron")
		}
		return SAN{SANURI, text}, nil
	case strings.Contains(lower, "@"):
		if a, err := mail.ParseAddress(lower); err != nil || a.Address != lower {
			return SAN{}, errors.New("is no email address; write one such as cron@example.org")
		}
		return SAN{SANEmail, lower}, nil
	}
	if _, err := netip.ParseAddr(lower); err == nil {
		return SAN{}, errors.New("is an address, which a certificate does not identify by; write it under address: as it is")
	}
	if !validHost.MatchString(lower) {
		return SAN{}, errors.New("is no name a certificate identifies by; write a URI, a DNS name or an email address (subject alternative names; the common name does not count)")
	}
	return SAN{SANDNS, lower}, nil
}
