// Package daemon is the composition root: it reads the whole configuration,
// expands presets, builds the other packages' parts from it, runs them, and
// reloads and drains them. Besides main it alone touches the environment,
// configuration files and signals, and it alone logs.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
	"bearerd/proxy/metrics"
)

// ErrSecondSignal is Run's answer to a second SIGINT or SIGTERM: requests were
// under way and were cut off.
var ErrSecondSignal = errors.New("stopped at once by a second signal")

// Options say what to run.
type Options struct {
	ConfigPath string // see FindConfig; not empty
	Overrides  Overrides
	Version    string
	Log        io.Writer // where log lines go
	// Started, if set, is told once what runs, and where: host:port or unix:PATH of
	// each listener, in the order of the Config.
	Started func(cfg *Config, addresses []string)
	// Embedded leaves the process's signals to the caller; ctx alone ends Run.
	Embedded bool
}

// daemon is a running bearerd.
type daemon struct {
	options   Options
	log       *logger
	proxy     *proxy.Proxy
	servers   []*http.Server
	listeners [][]net.Listener // of each server
	gates     [][]*gate        // below them
	addresses []string         // of the first of each

	passed      *passedSockets
	connections *connections // of callers

	certificates []*certificates // of each server; nil for those without TLS

	config    *Config // the one in force, and what was made of it
	set       *credentials.Set
	endpoints *endpoints // the ways to the token endpoints
	store     *store
	retired   []*store // of configurations before, not closed yet

	verifying []policy.Verifier // what checks the tokens of callers
	limiter   *policy.Limiter
	audit     atomic.Pointer[auditor]
	oldAudit  *auditor     // the one before, to which a line may still be on its way
	auditTold atomic.Int64 // when the log was last told that the audit log fails, in Unix seconds

	metrics *metrics.Metrics
	live    atomic.Pointer[inForce] // what the admin listener and the metrics look at

	stopRenewing func() // ends what renewing started, and waits for it
}

// Run serves until ctx ends or a first SIGINT or SIGTERM, then drains and
// returns nil; a second signal cuts everything off with ErrSecondSignal. SIGHUP
// reloads. Other errors are Mistakes, an *AddressError, or a server's.
func Run(ctx context.Context, options Options) error {
	// Two channels: what does not fit is dropped, and reloads must not crowd out a stop.
	stops, reloads := make(chan os.Signal, 2), make(chan os.Signal, 1)
	if !options.Embedded { // from the start: a reload asked for too early must not end the process
		signal.Notify(stops, stopSignals...)
		signal.Notify(reloads, reloadSignals...)
		defer signal.Stop(stops)
		defer signal.Stop(reloads)
	}
	passed := takeSockets() // first: children must not inherit them
	options.Overrides.passed = passed.addresses()
	if err := checkDebug(os.Getenv("GODEBUG")); err != nil {
		return err
	}
	cfg, err := Load(options.ConfigPath, options.Overrides)
	if err != nil {
		return err
	}
	outliveLog()
	d := &daemon{options: options, log: newLogger(cfg.Log, options.Log), passed: passed}
	defer d.log.out.start()()
	log.SetFlags(0)
	log.SetOutput(newLibraryLog(d.log))
	defer log.SetOutput(io.Discard)
	sampleMemory(cfg.Admin.Profiles)
	boundMemory(d.log)
	if err := d.build(cfg); err != nil {
		return err
	}
	if os.Getenv("HTTPS_PROXY")+os.Getenv("https_proxy") != "" && cfg.Proxy.ProxyURL == "" {
		d.log.Info().Msg("HTTPS_PROXY is set and not used; set proxy.proxy_url to env to go out through it")
	}
	if cfg.localMeansEverybody() {
		d.log.Warn().Msg("this machine has several users, and callers: [local] is any of them; for yourself alone add {name: me, user: self} under policy.callers and write callers: [me]")
	}
	checkGrace(d.log, os.Getenv(graceVariable), cfg.Proxy.Drain)
	if err := d.listen(); err != nil {
		return err
	}
	stopAdmin, err := d.serveAdmin()
	if err != nil {
		d.closeListeners()
		return err
	}
	defer stopAdmin()
	d.started()
	d.renewing()
	err = d.serve(ctx, stops, reloads)
	if late := d.finish(stops); !errors.Is(err, ErrSecondSignal) {
		err = errors.Join(err, late)
	}
	return err
}

// renewing has the set in force get its first tokens and renew them, in place of
// the set before it.
func (d *daemon) renewing() {
	before := d.stopRenewing
	ctx, cancel := context.WithCancel(context.Background())
	d.set.Warm(ctx)
	var group errgroup.Group
	set := d.set
	group.Go(func() error { return set.Run(ctx) })
	d.stopRenewing = func() {
		cancel()
		_ = group.Wait() // Run ends for no reason of its own
	}
	if before != nil {
		before()
	}
	for _, store := range d.retired { // nothing is on its way there any more
		store.close()
	}
	d.retired = nil
}

func (d *daemon) listen() error {
	d.connections = newConnections(d.fit(d.config.Proxy), d.connectionEvents())
	var addresses []string
	for i, l := range d.config.Proxy.Listeners {
		opened, gates, tlsFiles, err := d.open(l)
		if err != nil {
			d.closeListeners()
			return &AddressError{fmt.Sprintf("proxy.listeners[%d].address", i), l.Address, err}
		}
		server := newServer(yielding(d.proxy.Listener(i)))
		server.ConnContext, server.ConnState = connContext, noteState
		d.listeners = append(d.listeners, opened)
		d.gates = append(d.gates, gates)
		d.certificates = append(d.certificates, tlsFiles)
		d.servers = append(d.servers, server)
		addresses = append(addresses, addressOf(opened[0]))
		for _, one := range opened {
			d.log.Info().Str("address", addressOf(one)).Str("upstream", l.Upstream).Bool("tls", l.TLS != nil).Msg("listening")
		}
	}
	d.addresses = addresses
	d.leaveRest()
	return nil
}

// started tells who wants to know what runs, and where.
func (d *daemon) started() {
	if d.options.Started != nil {
		d.options.Started(d.config, d.addresses)
	}
}

func (d *daemon) closeListeners() {
	for _, l := range slices.Concat(d.listeners...) {
		_ = l.Close()
	}
}

// serve runs the servers and heeds signals until it is told to stop.
func (d *daemon) serve(ctx context.Context, stops, reloads <-chan os.Signal) error {
	var group errgroup.Group
	failed := make(chan error, 1)
	for i, server := range d.servers {
		for _, l := range d.listeners[i] {
			group.Go(func() error {
				err := server.Serve(l)
				if errors.Is(err, http.ErrServerClosed) {
					return nil
				}
				select {
				case failed <- err:
				default:
				}
				return err
			})
		}
	}
	defer d.proxy.Close()
	defer func() { d.endpoints.closeIdle() }() // of the configuration that is then in force
	err := d.heed(ctx, stops, reloads, failed)
	d.closeServers()
	return errors.Join(err, group.Wait())
}

// heed waits for what happens; it returns when the servers are to be closed.
func (d *daemon) heed(ctx context.Context, stops, reloads <-chan os.Signal, failed <-chan error) error {
	var loading chan loaded
	again := make(chan struct{}, 1)
	for {
		select {
		case <-failed:
			return nil // serve's group has the error
		case <-ctx.Done():
			return d.drain(stops)
		case <-stops:
			return d.drain(stops)
		case <-reloads:
			if loading != nil { // the file may have changed since: once more, after that one
				select {
				case again <- struct{}{}:
				default:
				}
				continue
			}
			loading = d.load()
		case next := <-loading:
			loading = nil
			d.reload(next)
			select {
			case <-again:
				loading = d.load()
			default:
			}
		}
	}
}

var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}
