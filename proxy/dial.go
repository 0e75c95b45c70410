package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"bearerd/credentials"
)

// errAddressRefused is why a connection to an address that is not public was not made.
var errAddressRefused = credentials.ErrAddressRefused

// unsentError is what went wrong before a byte of the request was sent: the
// upstream knows nothing of it.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return "not sent: " + e.err.Error() }

func (e *unsentError) Unwrap() error { return e.err }

// isUnsent reports whether a request came to nothing before any of it was sent.
func isUnsent(err error) bool {
	var unsent *unsentError
	return errors.As(err, &unsent)
}

// dialer opens a transport's connections.
type dialer struct {
	net.Dialer
	egress   Egress
	private  bool
	settings *tls.Config   // to the servers
	patience time.Duration // that a write may take

	mu sync.Mutex // guards the field below
	// proxies are forward proxies by host:port, which may be anywhere, as the
	// configuration names them; and whether they are asked for tunnels alone.
	proxies map[string]bool
}

func newDialer(cfg TransportConfig) *dialer {
	d := &dialer{
		Dialer: net.Dialer{Timeout: cfg.Tuning.Dial, Resolver: cfg.Resolver},
		egress: cfg.Egress, private: cfg.Private, settings: &tls.Config{}, patience: cfg.Tuning.BodyIdle,
		proxies: map[string]bool{},
	}
	if cfg.TLS != nil {
		d.settings = cfg.TLS.Clone()
	}
	d.settings.MinVersion = max(d.settings.MinVersion, tls.VersionTLS12)
	d.settings.NextProtos = []string{"http/1.1"}
	if cfg.Tuning.HTTP2 {
		d.settings.NextProtos = []string{"h2", "http/1.1"}
	}
	return d
}

// proxyOf is the transport's Proxy, which it asks before each attempt.
func (d *dialer) proxyOf(req *http.Request) (*url.URL, error) {
	if err := mayAttempt(req); err != nil {
		return nil, err
	}
	if d.egress == nil {
		return nil, nil
	}
	through, err := d.egress(req)
	if through != nil && err == nil {
		address := net.JoinHostPort(strings.ToLower(through.Hostname()), portOf(through))
		d.mu.Lock()
		tunnels, known := d.proxies[address]
		d.proxies[address] = (tunnels || !known) && (req.URL.Scheme == "https" || strings.HasPrefix(through.Scheme, "socks5"))
		d.mu.Unlock()
	}
	return through, err
}

// isProxy reports whether a forward proxy is at host:port, and all it is asked for are
// tunnels.
func (d *dialer) isProxy(address string) (known, tunnels bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	tunnels, known = d.proxies[strings.ToLower(address)]
	return known, tunnels
}

// open connects to a host:port, which may be anywhere or has to be public.
func (d *dialer) open(ctx context.Context, network, address string, anywhere bool) (net.Conn, error) {
	one := d.Dialer
	if !anywhere {
		one.ControlContext = onlyPublic
	}
	return one.DialContext(ctx, network, address)
}

// dial connects to a server or forward proxy by its host:port.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	known, tunnels := d.isProxy(address)
	opened, err := d.open(ctx, network, address, d.private || known)
	if err != nil {
		return nil, err
	}
	out := &outbound{Conn: opened, patience: d.patience}
	if tunnels {
		out.first = d.Timeout
	}
	return newEarly(out), nil
}

// dialTLS connects with TLS, all within the time to connect. To a forward proxy
// that is without what is the servers' own.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	opened, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	settings := d.settings
	if known, _ := d.isProxy(address); known {
		settings = toForwardProxies
	}
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		_ = opened.Close()
		return nil, err
	}
	secured, err := secure(ctx, opened, settings, name)
	if err != nil {
		_ = opened.Close()
		return nil, err
	}
	return secured, nil
}

// onlyPublic is asked about the address itself, after names were looked up, so that
// no name leads where its address could not.
func onlyPublic(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || credentials.IsPrivateAddress(at.Addr()) {
		return errAddressRefused
	}
	return nil
}

// deadlineSteps is into how many steps the time to write is cut, of which up to one may
// be missing: to set a deadline with each write costs more than that is worth.
const deadlineSteps = 16

// outbound is a connection that lets go of a server that stops reading what it is sent.
type outbound struct {
	net.Conn
	patience time.Duration
	first    time.Duration // that the first read may take: a forward proxy's answer, which net/http would wait a minute for; 0: any

	mu    sync.Mutex // guards the fields below and write deadlines
	until time.Time  // that was asked for, as crypto/tls does for its last words; zero: none
	set   time.Time  // the deadline
}

func (c *outbound) Write(p []byte) (int, error) {
	c.mu.Lock()
	end := time.Now().Add(c.patience)
	if !c.until.IsZero() && c.until.Before(end) {
		end = c.until
	}
	if moved := end.Sub(c.set); moved < 0 || moved > c.patience/deadlineSteps { // or it is near enough
		c.set = end
		_ = c.Conn.SetWriteDeadline(end) // fails where Write does
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// Read is called by one at a time.
func (c *outbound) Read(p []byte) (int, error) {
	if c.first == 0 {
		return c.Conn.Read(p)
	}
	_ = c.SetReadDeadline(time.Now().Add(c.first)) // fails where Read does
	n, err := c.Conn.Read(p)
	c.first = 0
	_ = c.SetReadDeadline(time.Time{})
	return n, err
}

func (c *outbound) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until, c.set = t, t
	return c.Conn.SetWriteDeadline(t)
}

func (c *outbound) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
