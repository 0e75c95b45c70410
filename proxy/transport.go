package proxy

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	dialTimeout           = 5 * time.Second
	responseHeaderTimeout = 60 * time.Second
	// idleTimeout is below what upstreams allow, so that a connection is let go
	// here before they close it under a request.
	idleTimeout       = 30 * time.Second
	maxResponseHeader = 256 << 10
	maxIdle           = 256

	// A connection of HTTP/2 on which nothing came for pingAfter is asked whether it
	// lives, since many requests would be lost with it.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// TransportConfig sets one of bearerd's transports apart from another. The zero
// value goes straight to public addresses, with the usual patience.
type TransportConfig struct {
	Egress  Egress
	Private bool        // addresses that the Internet does not route may be connected to
	TLS     *tls.Config // to the servers, not to a forward proxy; nil: the system's authorities, no certificate
	Tuning  TuningConfig
	Idle    int // connections that are kept for later requests; 0: 256
	// Resolver is who is asked for addresses; nil: the system.
	Resolver *net.Resolver
}

// NewTransport returns a transport of bearerd's own: HTTP/1.1 unless HTTP/2 is
// wanted (a pool of such connections costs less), TLS 1.2 or newer, no transparent
// decompression, no redirects, no forward proxy but egress, and no connection to
// an address that is not public unless they are private.
func NewTransport(cfg TransportConfig) *http.Transport {
	cfg.fill()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(cfg.Tuning.HTTP2)
	d := newDialer(cfg)
	return &http.Transport{
		Proxy:                  d.proxyOf,
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		TLSClientConfig:        d.settings, // inside a tunnel through a forward proxy
		TLSHandshakeTimeout:    cfg.Tuning.Dial,
		DisableCompression:     true,
		MaxIdleConns:           cfg.Idle,
		MaxIdleConnsPerHost:    cfg.Idle,
		IdleConnTimeout:        cfg.Tuning.Idle,
		ResponseHeaderTimeout:  cfg.Tuning.ResponseHeader,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		Protocols:              protocols,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: cfg.Tuning.BodyIdle},
	}
}

func (c *TransportConfig) fill() {
	c.Tuning.fill()
	if c.Idle == 0 {
		c.Idle = maxIdle
	}
}

// fill puts the usual in place of what is not given.
func (t *TuningConfig) fill() {
	for value, usual := range map[*time.Duration]time.Duration{
		&t.Dial: dialTimeout, &t.ResponseHeader: responseHeaderTimeout, &t.BodyIdle: idleBody, &t.Idle: idleTimeout,
	} {
		if *value == 0 {
			*value = usual
		}
	}
}
