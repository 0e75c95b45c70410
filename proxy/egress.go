package proxy

import (
	"net/http"
	"net/url"

	"bearerd/credentials"
)

// Egress says through which forward proxy a request leaves; nil, and a nil URL,
// mean straight. It has the form of http.ProxyFromEnvironment.
type Egress func(*http.Request) (*url.URL, error)

// resolveEgress reads ProxyURL. What it names may hold a password and is not printed.
func (c *Config) resolveEgress(m Mistakes) {
	path := []any{"proxy_url"}
	if c.ProxyURL == "" || c.ProxyURL == "env" {
		c.egress = credentials.NewSecret(c.ProxyURL)
		return
	}
	c.egress = credentials.NewSecret(c.ProxyURL)
	if credentials.IsReference(c.ProxyURL) {
		secret, err := credentials.Reference(c.ProxyURL).Read()
		if err != nil {
			m.Add(path, "%v", err)
			return
		}
		c.egress = secret
	}
	u, err := url.Parse(c.egress.Reveal())
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5"):
		m.Add(path, "not the URL of a forward proxy; write one such as http://proxy.example.org:3128, or env for HTTPS_PROXY and NO_PROXY")
	case u.User != nil && !credentials.IsReference(c.ProxyURL):
		m.Add(path, "holds a password, and secrets are not kept in this file; write env:NAME or file:PATH")
	}
}

// Egress returns the way out that ProxyURL says, after Resolve. What env means
// is the caller's to give; packages here do not read the environment.
func (c Config) Egress(env Egress) Egress {
	switch c.egress.Reveal() {
	case "":
		return nil
	case "env":
		return env
	}
	u, err := url.Parse(c.egress.Reveal())
	if err != nil {
		return nil // Resolve noted it
	}
	return Egress(http.ProxyURL(u))
}

// SameEgress reports whether both configs leave the same way.
func (c Config) SameEgress(other Config) bool { return c.egress.Equal(other.egress) }
