package daemon

import (
	"time"

	"bearerd/proxy"
	"bearerd/proxy/admin"
)

// Overrides are what flags and the environment say over the file.
type Overrides struct {
	Listen              []string // addresses instead of the file's listeners
	LogLevel, LogFormat string
	// Private listens on free ports of loopback instead: on one for the prefixes,
	// and on one for each service that the environment names a URL of, since not
	// every tool keeps that URL's path. It ends without delay.
	Private bool
	// WithoutSecrets leaves out what only running needs, so that who may not read
	// the secrets can ask what is configured.
	WithoutSecrets bool

	// passed says where the sockets are that systemd passed, by name; nil if that is
	// not known, as nothing is to run.
	passed map[string][]string
}

func (o Overrides) apply(cfg *Config) {
	cfg.passed = o.passed
	cfg.ownListeners = len(o.Listen) == 0 && !o.Private
	if len(o.Listen) > 0 {
		cfg.Proxy.Listeners = nil
		for _, address := range o.Listen {
			cfg.Proxy.Listeners = append(cfg.Proxy.Listeners, proxy.ListenerConfig{Address: address})
		}
	}
	if o.Private {
		listeners := []proxy.ListenerConfig{{Address: privateAddress, OwnUser: true}}
		for _, name := range sortedKeys(cfg.Proxy.Upstreams) {
			if services[cfg.Proxy.Upstreams[name].Preset] != nil {
				listeners = append(listeners, proxy.ListenerConfig{Address: privateAddress, Upstream: name, OwnUser: true})
			}
		}
		cfg.Admin = admin.Config{}
		cfg.Proxy.Listeners, cfg.Proxy.Drain = listeners, proxy.DrainConfig{Timeout: time.Second}
	}
	if o.LogLevel != "" {
		cfg.Log.Level = o.LogLevel
	}
	if o.LogFormat != "" {
		cfg.Log.Format = o.LogFormat
	}
}

const privateAddress = "127.0.0.1:0"
