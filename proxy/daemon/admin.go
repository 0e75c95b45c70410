package daemon

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"bearerd/credentials"
	"bearerd/proxy"
	"bearerd/proxy/admin"
)

const (
	adminReadTimeout  = 5 * time.Second // of a whole request: none has a body
	adminWriteTimeout = 30 * time.Second
)

// serveAdmin serves the admin section's addresses until stop is called, after the
// drain: who asks meanwhile is told of it.
func (d *daemon) serveAdmin() (stop func(), err error) {
	operators, probes := admin.New(admin.Deps{
		Status:    func() []credentials.Status { return d.live.Load().set.Status() },
		Draining:  d.proxy.Draining,
		Upstreams: func() map[string][]string { return d.live.Load().config.credentialsOf() },
		Metrics:   d.metrics.Handler(),
		Version:   d.options.Version,
		Profiles:  d.config.Admin.Profiles,
	})
	share := adminShare(d.connections.most())
	counted := newConnections(proxy.ConnectionLimits{Connections: share, PerPeer: share}, d.connectionEvents())
	var servers []*http.Server
	var group errgroup.Group
	stop = func() {
		for _, server := range servers {
			_ = server.Close()
		}
		_ = group.Wait() // the servers' ends
	}
	for _, one := range []struct {
		key, address string
		handler      http.Handler
	}{{"admin.address", d.config.Admin.Address, operators}, {"admin.probe_address", d.config.Admin.ProbeAddress, probes}} {
		if one.address == "" {
			continue
		}
		opened, err := listen(one.address)
		if err != nil {
			stop()
			return nil, &AddressError{one.key, one.address, err}
		}
		server := newServer(one.handler)
		server.ReadTimeout, server.WriteTimeout = adminReadTimeout, adminWriteTimeout
		servers = append(servers, server)
		for _, l := range opened {
			g := counted.gate(l, one.key, false, nil)
			group.Go(func() error { return server.Serve(g) })
			d.log.Info().Str("address", l.Addr().String()).Str("key", one.key).Msg("admin listening")
		}
	}
	return stop, nil
}

// credentialsOf returns the credentials that each upstream may be reached with.
func (c *Config) credentialsOf() map[string][]string {
	all := map[string][]string{}
	add := func(upstream, credential string) {
		if credential != "" && !slices.Contains(all[upstream], credential) {
			all[upstream] = append(all[upstream], credential)
		}
	}
	for name, u := range c.Proxy.Upstreams {
		add(name, cmp.Or(u.Credential, name))
		for _, route := range u.Routes {
			add(name, route.Credential)
		}
	}
	for _, rule := range c.Policy.Rules {
		for _, name := range rule.Upstreams {
			add(name, rule.Credential)
		}
	}
	return all
}
