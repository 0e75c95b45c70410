//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"bearerd/test/harness"
)

// child is what a process of ours is that bench started: it says where it listens, and
// for each line of its standard input how many connections it has accepted. It ends
// when that does.
func child(role string, args []string) error {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l := &counting{Listener: inner}
	fmt.Println(l.Addr())
	failed := make(chan error, 1)
	go func() { // ends with the process
		failed <- serveAs(role, args, l)
	}()
	ended := make(chan struct{})
	go func() { // likewise
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(l.accepted.Load())
		}
		close(ended)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

// counting counts what it accepts.
type counting struct {
	net.Listener
	accepted atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.accepted.Add(1)
	}
	return conn, err
}

func serveAs(role string, args []string, l net.Listener) error {
	switch role {
	case "upstream": // SIZE PROTOCOL
		size, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return serveUpstream(l, size, protocol(args[1]))
	case "store":
		return http.Serve(l, http.HandlerFunc(serveStore)) //nolint:gosec // nobody but us asks it
	case "naive", "tuned", "oauth2": // URL, and the last TOKENURL
		base, err := url.Parse(args[0])
		if err != nil {
			return err
		}
		if role == "naive" {
			return http.Serve(l, naive(base)) //nolint:gosec // it is what it is
		}
		debug.SetGCPercent(400)
		if role == "oauth2" {
			return http.Serve(l, withTokens(base, args[1])) //nolint:gosec // likewise
		}
		handler, _ := harness.Bare(base, trusting())
		return http.Serve(l, handler) //nolint:gosec // likewise
	}
	return errors.New("no such role: " + role)
}

// naive is what one writes first.
func naive(base *url.URL) http.Handler {
	p := httputil.NewSingleHostReverseProxy(base)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trusting()
	p.Transport = transport
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", harness.BareToken)
		p.ServeHTTP(w, r)
	})
}

// trusting is for the upstream on this machine, whose certificate is everybody's.
func trusting() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // see above
}
