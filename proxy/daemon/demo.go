package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"bearerd/test/emulator"
)

// DemoOptions say what Demo does.
type DemoOptions struct {
	Once    bool // make the calls, show both sides, and end
	Version string
	Log     io.Writer
}

// demoConfig is a configuration as a person would write it, for the emulator.
const demoConfig = `proxy:
  listeners: [{address: "%s"}]
  upstreams:
    auth:     {preset: auth, url: "%s", insecure_http: true, private: true}
    transfer: {preset: transfer, url: "%s", insecure_http: true, private: true}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%s/v2/oauth2/token", insecure_http: true, private: true, client_id: %s, client_secret: "file:%s"}
policy:
  rules:
    - {name: read, callers: [local], upstreams: [auth, transfer], allow: [read]}
    - {name: submit, callers: [local], upstreams: [transfer], allow: [submit]}
admin: {address: ""}
`

// Demo runs bearerd against an emulated Globus, both on this machine, until ctx
// ends or a signal; with Once it makes the calls itself, and fails unless all
// went as they should. It prints to out what a person can do with it.
func Demo(ctx context.Context, out io.Writer, options DemoOptions) error {
	globus := emulator.New(emulator.Config{})
	auth, err := serveDemo(globus.Auth())
	if err != nil {
		return err
	}
	defer auth.close()
	transfer, err := serveDemo(globus.Transfer())
	if err != nil {
		return err
	}
	defer transfer.close()
	dir, err := os.MkdirTemp("", "bearerd-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	secret, config := filepath.Join(dir, "secret"), filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(secret, []byte(emulator.DemoClientSecret+"\n"), 0o600); err != nil {
		return err
	}
	address := demoAddress()
	if options.Once {
		address = "localhost:0" // nobody pastes it, and several may run at once
	}
	text := fmt.Sprintf(demoConfig, address, auth.url, transfer.url, auth.url, emulator.DemoClientID, secret)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	started := make(chan string, 1)
	run := Options{ConfigPath: config, Version: options.Version, Log: options.Log, Started: func(_ *Config, a []string) { started <- a[0] }}
	if options.Once {
		run.Log = io.Discard
	}
	group, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() error {
		defer stop()
		return Run(ctx, run)
	})
	group.Go(func() error {
		select {
		case address := <-started:
			if !options.Once {
				return printDemo(out, address)
			}
			defer stop()
			return (&demoCalls{out: out, base: "http://" + address, globus: globus}).make(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

// demoAddress is the usual address, or a free port where that is taken.
func demoAddress() string {
	const usual = "localhost:8080"
	opened, err := listen(usual)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "localhost:0"
	}
	for _, l := range opened {
		_ = l.Close()
	}
	return usual
}

type demoServer struct {
	url    string
	server *http.Server
}

func serveDemo(handler http.Handler) (*demoServer, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &demoServer{"http://" + l.Addr().String(), newServer(handler)}
	go func() { _ = s.server.Serve(l) }() // Demo owns it and ends it with close
	return s, nil
}

func (s *demoServer) close() { _ = s.server.Close() }

func printDemo(out io.Writer, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	base := "http://localhost:" + port
	_, err = fmt.Fprintf(out, `bearerd is at %s, in front of an emulated Globus. Nothing leaves this machine.
Paste, in another terminal:

  curl '%s/transfer/v0.10/endpoint_search?filter_scope=my-endpoints'
  curl %s/auth/v2/oauth2/userinfo
  curl -X DELETE %s/transfer/v0.10/bookmark/1          # no rule allows it
  curl -X POST %s/auth/v2/oauth2/token                 # no rule can allow it

Ctrl-C ends it.
`, base, base, base, base, base)
	return err
}
