package proxy

import (
	"cmp"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"

	"bearerd/credentials"
	"bearerd/policy"
)

// Deps are what a Proxy needs from others. Authorizer and Policy must be set, and
// Shim where an upstream has a token shim or a caller a key.
type Deps struct {
	Authorizer func(name string) (credentials.Authorizer, bool)
	Policy     *policy.Policy
	Shim       Shim
	// Asked returns the scopes that a credential is asked for with; nil for one
	// that is not by grant. Nil: no consent is granted, as nobody knows to what.
	Asked  func(credential string) []string
	Egress Egress // the way out; nil: straight
	// Resolver is who is asked for upstreams' addresses; nil: the system.
	Resolver *net.Resolver
	// Verifiers check bearer tokens that tell who calls; the first that claims one
	// checks it.
	Verifiers []policy.Verifier
	Limiter   *policy.Limiter // of what rules allow at a time; nil: no limits
	// Audit is told of what a rule allows before it is forwarded, and whose error
	// keeps it from being forwarded; nil: nobody is told.
	Audit   func(*Exchange) error
	Observe Observer // nil: nobody is told
	// InFlight is told when an upstream has one more or one less request to serve;
	// nil: nobody is.
	InFlight func(upstream string, delta int)
}

// Proxy serves what comes in on its listeners. Its tables are immutable; Reload
// swaps one for another, and requests under way keep theirs.
type Proxy struct {
	table    atomic.Pointer[table]
	draining atomic.Bool
	budget   budget
	// pseudonym is this Proxy's own, in Via.
	pseudonym string
}

// Listener is the handler for what comes in on one listener of the Config. All
// its answers depend on the table of the moment.
type Listener struct {
	proxy *Proxy
	index int
}

// table is everything a request needs, made from one Config.
type table struct {
	deps      Deps
	listeners []ListenerConfig
	hosts     [][]string       // names accepted in Host, by listener
	trusted   [][]netip.Prefix // proxies whose X-Forwarded-For counts, by listener
	sites     []sites          // by listener
	// knowsUsers says that callers are told by the user at the other end.
	knowsUsers bool
	upstreams  map[string]*Upstream
	circuits   map[string]*circuit // by origin
	bounds     map[string]bound    // by credential
	router     router
}

// New makes a Proxy of a Config that was resolved without mistakes. Bindings
// says which upstream each credential is for; see Config.Bind.
func New(cfg Config, deps Deps, bindings map[string]string) *Proxy {
	p := &Proxy{budget: newBudget(), pseudonym: newPseudonym()}
	p.Reload(cfg, deps, bindings)
	return p
}

// Reload replaces the whole table at once. Upstreams that are the same keep
// their connections, and breakers what they know of where they lead.
func (p *Proxy) Reload(cfg Config, deps Deps, bindings map[string]string) {
	old := p.table.Load()
	t := &table{
		deps:      deps,
		listeners: cfg.Listeners,
		upstreams: map[string]*Upstream{},
		bounds:    map[string]bound{},
	}
	ways := newWays(cfg, deps, old)
	t.circuits = ways.circuits
	needs := deps.Policy.Needs()
	t.knowsUsers = needs.Users || needs.Groups
	var hostRoutes []string
	for name, u := range cfg.Upstreams {
		t.upstreams[name] = newUpstream(name, u, ways.to(name, u), p.pseudonym)
		if u.Host != "" {
			hostRoutes = append(hostRoutes, u.Host)
		}
	}
	for _, l := range cfg.Listeners {
		t.hosts = append(t.hosts, slices.Concat(l.ownNames(), lower(l.Hosts), hostRoutes))
		t.trusted = append(t.trusted, l.Trusted())
		t.sites = append(t.sites, l.sites(cfg.Upstreams))
	}
	for credential, upstream := range bindings {
		if authorizer, ok := deps.Authorizer(credential); ok {
			base := t.upstreams[upstream].base
			b := bound{authorizer: authorizer, base: base, origin: originOf(base)}
			if deps.Asked != nil {
				b.asked = deps.Asked(credential)
			}
			t.bounds[credential] = b
		}
	}
	t.router = newRouter(t.upstreams)
	p.table.Store(t)
	if old != nil {
		old.closeUnused(t)
	}
}

// Listener returns the handler for the listener of that index in the Config. A
// Config that it is reloaded with must have as many.
func (p *Proxy) Listener(index int) http.Handler { return &Listener{p, index} }

// Breakers returns the state of each upstream's breaker: closed, half-open, open.
// Upstreams whose breaker is not enabled are not among them.
func (p *Proxy) Breakers() map[string]string {
	states := map[string]string{}
	for name, u := range p.table.Load().upstreams {
		if state := u.way.breaker.state(); state != "" {
			states[name] = state
		}
	}
	return states
}

// Draining reports whether Drain was called.
func (p *Proxy) Draining() bool { return p.draining.Load() }

// Drain makes every answer from now on the last of its connection.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Close lets go of the idle connections to the upstreams.
func (p *Proxy) Close() { p.table.Load().closeUnused(&table{}) }

// closeUnused closes idle connections that the next table does not use. Those
// still in use close when they have been idle for a while.
func (t *table) closeUnused(next *table) {
	for name, u := range t.upstreams {
		if other := next.upstreams[name]; other == nil || other.way.wire != u.way.wire {
			u.way.wire.retire()
		}
	}
}

// usualPorts are those that a URL may leave out, by its scheme.
var usualPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// portOf is the port that a URL leads to.
func portOf(u *url.URL) string { return cmp.Or(u.Port(), usualPorts[u.Scheme]) }

// originOf is where a URL leads: scheme, host and port, the last never omitted.
func originOf(u *url.URL) string { return u.Scheme + "://" + hostName(u.Host) + ":" + portOf(u) }

// Origin is where a URL of the configuration leads: scheme, host and port. ""
// for what is no URL.
func Origin(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return originOf(u)
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
