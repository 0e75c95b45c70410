package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/proxy"
)

// connect opens a connection in HTTP/1 to where a URL leads, straight or through a
// forward proxy. It returns the socket and what is spoken over, which is that or TLS
// around it, and the forward proxy that wants whole URLs in requests; nil for none. All
// that has the time to connect.
func (d *dialer) connect(to *url.URL) (s *socket, over net.Conn, whole *url.URL, err error) {
	through, err := d.throughFor(to)
	if err != nil {
		return nil, nil, nil, err
	}
	if to, err = inASCII(to); err != nil {
		return nil, nil, nil, err
	}
	first := to
	if through != nil {
		first = through
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.Timeout)
	defer cancel()
	opened, err := d.open(ctx, "tcp", addressOf(first), d.private || through != nil)
	if err != nil {
		return nil, nil, nil, err
	}
	s = newSocket(&outbound{Conn: opened, patience: d.patience})
	over = s
	if through != nil {
		over, whole, err = d.pass(ctx, s, through, to)
	}
	if err == nil && to.Scheme == "https" {
		over, err = secure(ctx, over, d.settings, to.Hostname())
	}
	if err != nil {
		_ = s.Close()
		return nil, nil, nil, err
	}
	return s, over, whole, nil
}

// throughFor is the forward proxy to a URL, or nil.
func (d *dialer) throughFor(to *url.URL) (*url.URL, error) {
	if d.egress == nil {
		return nil, nil
	}
	return d.egress(&http.Request{Method: http.MethodGet, URL: to, Header: http.Header{}})
}

// inASCII is where a URL leads, with its host as DNS and TLS know it (RFC 5891).
func inASCII(u *url.URL) (*url.URL, error) {
	host, err := httpguts.PunycodeHostPort(u.Host)
	return &url.URL{Scheme: u.Scheme, Host: host}, err
}

// addressOf is the host:port that a URL leads to.
func addressOf(u *url.URL) string { return net.JoinHostPort(u.Hostname(), portOf(u)) }

// secure agrees on TLS with who calls itself so, unless the settings know another name.
func secure(ctx context.Context, over net.Conn, settings *tls.Config, name string) (*tls.Conn, error) {
	if settings.ServerName == "" {
		settings = settings.Clone()
		settings.ServerName = name
	}
	if s, ok := over.(*socket); ok {
		s.records = new(records)
	}
	secured := tls.Client(over, settings)
	return secured, secured.HandshakeContext(ctx)
}

// pass gets through a forward proxy to where a URL leads. Over is what is spoken over
// then, and whole the proxy if it wants whole URLs in requests.
func (d *dialer) pass(ctx context.Context, s *socket, through, to *url.URL) (over net.Conn, whole *url.URL, err error) {
	over = s
	if through.Scheme == "https" {
		if over, err = secure(ctx, s, toForwardProxies, through.Hostname()); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case through.Scheme == "socks5", through.Scheme == "socks5h":
		return over, nil, askSOCKS(ctx, over, through, addressOf(to))
	case through.Scheme != "http" && through.Scheme != "https":
		return nil, nil, fmt.Errorf("no forward proxies of %s:// are spoken to; use one of http://, https:// or socks5://", through.Scheme)
	case to.Scheme == "http":
		return over, through, nil
	}
	return over, nil, tunnel(ctx, over, through, addressOf(to))
}

// toForwardProxies are settings without anything of the upstream's.
var toForwardProxies = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}

// askSOCKS has a forward proxy of SOCKS 5 connect to an address (RFC 1928).
func askSOCKS(ctx context.Context, over net.Conn, through *url.URL, address string) error {
	var user *proxy.Auth
	if through.User != nil {
		password, _ := through.User.Password()
		user = &proxy.Auth{User: through.User.Username(), Password: password}
	}
	socks, err := proxy.SOCKS5("tcp", "", user, reached{over})
	if err != nil {
		return err
	}
	_, err = socks.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	return err
}

// reached is a dialer that is there already.
type reached struct{ net.Conn }

func (r reached) Dial(string, string) (net.Conn, error) { return r.Conn, nil }

func (r reached) DialContext(context.Context, string, string) (net.Conn, error) { return r.Conn, nil }

// tunnel has a forward proxy of HTTP connect to an address (RFC 9110 §9.3.6).
func tunnel(ctx context.Context, over net.Conn, through *url.URL, address string) error {
	until, _ := ctx.Deadline()
	if err := over.SetDeadline(until); err != nil {
		return err
	}
	connect := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if login := loginOf(through); login != "" {
		connect.Header["Proxy-Authorization"] = []string{login}
	}
	if err := connect.Write(over); err != nil {
		return err
	}
	in := bufio.NewReader(io.LimitReader(over, maxResponseHeader))
	resp, err := http.ReadResponse(in, connect) //nolint:bodyclose // it is the tunnel
	switch {
	case err != nil:
		return fmt.Errorf("the forward proxy: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the forward proxy answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	case in.Buffered() > 0:
		return errors.New("the forward proxy sent something before it was told anything")
	}
	return over.SetDeadline(time.Time{})
}

// loginOf is what a forward proxy is told of who asks, as its URL says; "" for nothing.
func loginOf(through *url.URL) string {
	if through.User == nil {
		return ""
	}
	password, _ := through.User.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(through.User.Username()+":"+password))
}
