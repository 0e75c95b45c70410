package daemon

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"runtime"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
	"bearerd/proxy/metrics"
)

// inForce is a configuration and the credentials made of it.
type inForce struct {
	config *Config
	set    *credentials.Set
}

// renewed tells the log and the metrics; so do the next three.
func (d *daemon) renewed(r credentials.Renewal) {
	d.log.renewal(r)
	d.metrics.Renewal(r)
	if a := d.audit.Load(); a != nil {
		a.renewal(r)
	}
}

func (d *daemon) consented(c credentials.Consented) {
	d.log.consent(c)
	d.metrics.Consented(c)
}

func (d *daemon) storeFailed(op string, err error) {
	d.log.store(op, err)
	d.metrics.StoreError(op, err)
}

// allowed is proxy.Deps.Audit: it writes to the log that is in force, also for
// requests that began under another.
func (d *daemon) allowed(x *proxy.Exchange) error { return d.audit.Load().allowed(x) }

func (d *daemon) served(x *proxy.Exchange) {
	d.log.request(x)
	d.metrics.Request(x)
	d.audit.Load().answered(x)
}

// build makes everything a configuration says, and then puts it in force.
func (d *daemon) build(cfg *Config) error {
	egress := cfg.Proxy.Egress(http.ProxyFromEnvironment)
	if d.metrics == nil {
		d.metrics = metrics.New(metrics.Deps{
			Status:   func() []credentials.Status { return d.live.Load().set.Status() },
			Breakers: func() map[string]string { return d.proxy.Breakers() },
			Dropped:  d.log.out.dropped.Load, Version: d.options.Version, Go: runtime.Version(),
		})
	}
	to := d.endpoints
	if to == nil || !cfg.Proxy.SameEgress(d.config.Proxy) {
		to = newEndpoints(egress)
	}
	kept, err := openStore(d.options.ConfigPath, cfg.Credentials.Store, d.store)
	if err != nil {
		return err
	}
	defer func() {
		if d.store != kept { // something went wrong
			kept.close()
		}
	}()
	set, err := credentials.NewSet(cfg.Credentials, credentials.Deps{
		Transport: to.public, Private: to.private, NewTransport: ownTransport(egress), UserAgent: "bearerd/" + d.options.Version,
		Observe: d.renewed, ObserveConsent: d.consented, Store: kept.Store, ObserveStore: d.storeFailed, KnownScopes: presetScopes(),
	}, d.set)
	if err != nil {
		return err
	}
	verifiers, err := d.verifiers(cfg, egress)
	if err != nil {
		return err
	}
	auditing, err := openAudit(cfg.Policy.Audit, d.audit.Load(), d.auditFailed)
	if err != nil {
		return err
	}
	limiter := policy.NewLimiter(d.limiter, cfg.policy)
	deps := proxy.Deps{
		Authorizer: set.Authorizer, Policy: cfg.policy, Shim: set, Asked: cfg.scopesAsked, Egress: egress,
		Verifiers: verifiers, Limiter: limiter, Audit: d.allowed, Observe: d.served, InFlight: d.metrics.InFlight,
	}
	if d.proxy == nil {
		d.proxy = proxy.New(cfg.Proxy, deps, cfg.bindings)
	} else {
		d.proxy.Reload(cfg.Proxy, deps, cfg.bindings)
	}
	if d.endpoints != nil && d.endpoints != to {
		d.endpoints.closeIdle()
	}
	if d.store != nil && d.store != kept {
		d.retired = append(d.retired, d.store)
	}
	d.config, d.set, d.endpoints, d.store = cfg, set, to, kept
	d.verifying, d.limiter = verifiers, limiter
	d.oldAudit.close(auditing)
	d.oldAudit = d.audit.Swap(auditing)
	d.live.Store(&inForce{cfg, set})
	d.metrics.Reloaded(true)
	return nil
}

// endpoints are the usual ways to token endpoints: to those that anybody could ask,
// and to those of clients that say private: true.
type endpoints struct{ public, private *http.Transport }

func newEndpoints(egress proxy.Egress) *endpoints {
	return &endpoints{
		public:  proxy.NewTransport(proxy.TransportConfig{Egress: egress}),
		private: proxy.NewTransport(proxy.TransportConfig{Egress: egress, Private: true}),
	}
}

func (e *endpoints) closeIdle() {
	e.public.CloseIdleConnections()
	e.private.CloseIdleConnections()
}

// ownTransport makes the way to a token endpoint that has TLS settings or a forward
// proxy of its own.
func ownTransport(egress proxy.Egress) func(*tls.Config, credentials.Secret, bool) (http.RoundTripper, error) {
	return func(settings *tls.Config, proxyURL credentials.Secret, private bool) (http.RoundTripper, error) {
		way := egress
		if proxyURL.Reveal() != "" {
			u, err := url.Parse(proxyURL.Reveal())
			if err != nil {
				return nil, errors.New("proxy_url is no URL") // which may hold a password
			}
			way = proxy.Egress(http.ProxyURL(u))
		}
		return proxy.NewTransport(proxy.TransportConfig{Egress: way, TLS: settings, Private: private}), nil
	}
}
