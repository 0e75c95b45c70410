package proxy

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"

	"bearerd/credentials"
)

// Egress says through which forward proxy a request leaves; nil, and a nil URL,
// mean straight. It has the form of http.ProxyFromEnvironment.
type Egress func(*http.Request) (*url.URL, error)

const (
	dialTimeout           = 5 * time.Second
	responseHeaderTimeout = 60 * time.Second
	// idleTimeout is below what upstreams allow, so that a connection is let go
	// here before they close it under a request.
	idleTimeout       = 30 * time.Second
	maxResponseHeader = 256 << 10
	maxIdle           = 256
)

// NewTransport returns a transport of bearerd's own: HTTP/1.1 (a pool of such
// connections costs less than HTTP/2), TLS 1.2 or newer, no transparent
// decompression, no redirects, no forward proxy but egress.
func NewTransport(egress Egress) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  egress,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		DisableCompression:     true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  responseHeaderTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		Protocols:              protocols,
	}
}

// way is how requests get to one upstream: its connections and its breaker. It
// outlives a reload that leaves the upstream as it is.
type way struct {
	transport *http.Transport
	breaker   *breaker
	egress    credentials.Secret
	url       string
}

// egressWay is what an upstream's way depends on beside its own URL.
type egressWay struct {
	egress  Egress
	setting credentials.Secret
}

func (c Config) way(egress Egress) egressWay { return egressWay{egress, c.egress} }

func (e egressWay) to(target string, before *Upstream) *way {
	if before != nil && before.way.url == target && before.way.egress.Equal(e.setting) {
		return before.way
	}
	transport := NewTransport(e.egress)
	return &way{transport: transport, breaker: newBreaker(repeat{transport}), egress: e.setting, url: target}
}

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
