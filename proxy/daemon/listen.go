package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"bearerd/proxy"
)

// AddressError is an address that cannot be listened on.
type AddressError struct {
	Key, Address string
	Err          error
}

func (e *AddressError) Error() string {
	if strings.HasPrefix(e.Address, "systemd:") { // whose errors say what to do
		return fmt.Sprintf("%s: cannot listen on %s: %v", e.Key, e.Address, e.Err)
	}
	if strings.HasPrefix(e.Address, "unix:") {
		return e.socketError()
	}
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		or := ", or start with --listen localhost:PORT"
		if !strings.HasPrefix(e.Key, "proxy.") {
			or = ""
		}
		return fmt.Sprintf("%s: %s is in use by another program; write another port there%s", e.Key, e.Address, or)
	}
	return fmt.Sprintf("%s: cannot listen on %s: %v; write another address there", e.Key, e.Address, e.Err)
}

// socketError is Error for a unix socket.
func (e *AddressError) socketError() string {
	advice := "write another path there"
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return fmt.Sprintf("%s: %s is in use by another program; write another path there", e.Key, e.Address)
	case errors.Is(e.Err, errNoSocket):
		advice = "move it away, or write another path there"
	case errors.Is(e.Err, fs.ErrNotExist):
		advice = "make the directory it is to be in, or write another path there"
	case errors.Is(e.Err, fs.ErrPermission):
		advice = "only root may give it to another owner, and bearerd's user must be able to write its directory"
	}
	return fmt.Sprintf("%s: cannot listen on %s: %v; %s", e.Key, e.Address, e.Err, advice)
}

func (e *AddressError) Unwrap() error { return e.Err }

// open opens what a listener of the configuration says, and counts its connections.
// One that speaks TLS has certificates.
func (d *daemon) open(l proxy.ListenerConfig) (opened []net.Listener, gates []*gate, c *certificates, err error) {
	if l.TLS != nil {
		c, err = newCertificates(*l.TLS, func(err error) {
			d.log.Warn().Str("address", l.Address).AnErr("err", err).Msg("certificate files changed and cannot be used, the old ones stay")
		})
		if err != nil {
			return nil, nil, nil, err
		}
	}
	if opened, err = d.sockets(l); err != nil {
		return nil, nil, nil, err
	}
	for i, one := range opened {
		g := d.connections.gate(one, l.Address, c != nil, l.Trusted())
		gates = append(gates, g)
		opened[i] = g
		if c != nil {
			opened[i] = tls.NewListener(g, c.config())
		}
	}
	return opened, gates, c, nil
}

// sockets opens those of a listener, or takes those that systemd has opened.
func (d *daemon) sockets(l proxy.ListenerConfig) ([]net.Listener, error) {
	if name, isSystemd := l.SystemdName(); isSystemd {
		return d.passed.take(name)
	}
	if _, isSocket := l.SocketPath(); isSocket {
		one, err := listenSocket(l)
		return []net.Listener{one}, err
	}
	return listen(l.Address)
}

// addressOf is how a listener's address is written: as in the configuration, but
// for a free port that was taken, and for sockets that systemd opened.
func addressOf(l net.Listener) string {
	if at, isSocket := l.Addr().(*net.UnixAddr); isSocket {
		return "unix:" + at.Name
	}
	return l.Addr().String()
}

// listen opens an address of the configuration. localhost is two sockets on one
// port, or one where a machine has no IPv6.
func listen(address string) ([]net.Listener, error) {
	host, wanted, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host != "localhost" {
		one, err := listenTCP("tcp", address)
		return []net.Listener{one}, err
	}
	four, err := listenTCP("tcp4", net.JoinHostPort("127.0.0.1", wanted))
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(four.Addr().String()) // the one taken, where 0 was wanted
	six, err := listenTCP("tcp6", net.JoinHostPort("::1", port))
	switch {
	case err == nil:
		return []net.Listener{four, six}, nil
	case !errors.Is(err, syscall.EADDRINUSE):
		return []net.Listener{four}, nil
	}
	_ = four.Close()
	if wanted == "0" {
		return listen(address) // another free one
	}
	return nil, err
}

// listenTCP listens in plain TCP. Of Multipath TCP, which Go would offer, the kernel
// keeps the sockets to itself: they can neither be reset nor told to take nobody new.
func listenTCP(network, address string) (net.Listener, error) {
	var way net.ListenConfig
	way.SetMultipathTCP(false)
	return way.Listen(context.Background(), network, address)
}

// readHeaderTimeout is how long a caller may take for a request's head.
const readHeaderTimeout = 5 * time.Second

// newServer bounds what a connection may cost before a request is known.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:                      handler,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  60 * time.Second,
		MaxHeaderBytes:               28 << 10,
		DisableGeneralOptionsHandler: true,
		HTTP2:                        &bounds2,
		TLSNextProto:                 map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": serveStreams},
		ErrorLog:                     log.Default(), // a libraryLog, see Run
	}
}
