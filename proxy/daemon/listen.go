package daemon

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// AddressError is an address that cannot be listened on.
type AddressError struct {
	Key, Address string
	Err          error
}

func (e *AddressError) Error() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		or := ", or start with --listen localhost:PORT"
		if !strings.HasPrefix(e.Key, "proxy.") {
			or = ""
		}
		return fmt.Sprintf("%s: %s is in use by another program; write another port there%s", e.Key, e.Address, or)
	}
	return fmt.Sprintf("%s: cannot listen on %s: %v; write another address there", e.Key, e.Address, e.Err)
}

func (e *AddressError) Unwrap() error { return e.Err }

// listen opens an address of the configuration. localhost is two sockets on one
// port, or one where a machine has no IPv6.
func listen(address string) ([]net.Listener, error) {
	host, wanted, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host != "localhost" {
		one, err := net.Listen("tcp", address)
		return []net.Listener{one}, err
	}
	four, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", wanted))
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(four.Addr().String()) // the one taken, where 0 was wanted
	six, err := net.Listen("tcp6", net.JoinHostPort("::1", port))
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

// newServer bounds what a connection may cost before a request is known.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:                      handler,
		ReadHeaderTimeout:            5 * time.Second,
		IdleTimeout:                  60 * time.Second,
		MaxHeaderBytes:               28 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0), // its lines quote callers' bytes
	}
}
