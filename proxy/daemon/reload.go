package daemon

import (
	"errors"
	"os"
	"slices"

	"bearerd/proxy"
)

// loaded is a configuration that was read anew, or what is wrong with it.
type loaded struct {
	cfg *Config
	err error
}

// load reads the configuration anew, beside everything else: a file system that
// hangs must not keep bearerd from being stopped.
func (d *daemon) load() chan loaded {
	done := make(chan loaded, 1)
	go func() { // ends when the files were read, which nobody waits for
		cfg, err := Load(d.options.ConfigPath, d.options.Overrides)
		done <- loaded{cfg, err}
	}()
	return done
}

// reload puts the configuration that was read in force as a whole, or keeps the old
// one and says what is wrong.
func (d *daemon) reload(next loaded) {
	cfg, err := next.cfg, next.err
	if err == nil && !sameAddresses(cfg.Proxy.Listeners, d.config.Proxy.Listeners) {
		err = Mistakes{d.options.ConfigPath + ": proxy.listeners: addresses changed (or mode, owner, with tls or without), which a reload cannot do; restart bearerd"}
	}
	if err == nil && cfg.Admin != d.config.Admin {
		err = Mistakes{d.options.ConfigPath + ": admin: the section changed, which a reload cannot do; restart bearerd"}
	}
	if err == nil && cfg.Log != d.config.Log {
		err = Mistakes{d.options.ConfigPath + ": log: changed, which a reload cannot do; restart bearerd"}
	}
	if err == nil {
		err = d.build(cfg)
	}
	d.audit.Load().reload(err)
	if err == nil {
		d.useCertificates()
		d.useLimits()
		d.renewing()
	} else {
		d.metrics.Reloaded(false)
	}
	var found Mistakes
	switch {
	case errors.As(err, &found):
		for _, line := range found {
			d.log.Error().Str("err", line).Msg("config mistake")
		}
		d.log.Error().Str("err", found.Count()).Msg("config not reloaded, the old one stays")
	case err != nil:
		d.log.Error().AnErr("err", err).Msg("config not reloaded, the old one stays")
	default:
		d.log.Info().Msg("config reloaded")
		checkGrace(d.log, os.Getenv(graceVariable), cfg.Proxy.Drain)
	}
}

// sameAddresses reports whether the sockets that are open for one can go on for the
// other.
func sameAddresses(a, b []proxy.ListenerConfig) bool {
	return slices.EqualFunc(a, b, func(x, y proxy.ListenerConfig) bool {
		return x.Address == y.Address && x.SocketMode() == y.SocketMode() && x.Owner == y.Owner && (x.TLS == nil) == (y.TLS == nil)
	})
}

// useCertificates takes the files that the configuration in force names.
func (d *daemon) useCertificates() {
	for i, l := range d.config.Proxy.Listeners {
		if l.TLS != nil {
			d.certificates[i].use(*l.TLS)
		}
	}
}

// useLimits takes the limits on connections of the configuration in force.
func (d *daemon) useLimits() {
	d.connections.use(d.fit(d.config.Proxy))
	for i, l := range d.config.Proxy.Listeners {
		trusted := l.Trusted()
		for _, g := range d.gates[i] {
			g.trusted.Store(&trusted)
		}
	}
}
