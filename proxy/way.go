package proxy

import (
	"crypto/tls"
	"net"

	"bearerd/credentials"
)

// way is how requests get to one upstream: its connections, its places, and the
// breaker of where it leads. Each of them outlives a reload that leaves alone what
// it is made of.
type way struct {
	wire    wire
	places  *places
	breaker *breaker
	made    makings // what wire was made of
}

// makings are what an upstream's connections depend on. Those that are the same make
// the same connections.
type makings struct {
	origin      string
	egress      credentials.Secret
	private     bool
	tls         credentials.TLSConfig
	settings    *tls.Config // of tls
	tuning      TuningConfig
	concurrency int
}

func (m makings) same(other makings) bool {
	sameAuthorities := m.settings == other.settings ||
		m.settings != nil && other.settings != nil && m.settings.RootCAs.Equal(other.settings.RootCAs)
	return m.origin == other.origin && m.egress.Equal(other.egress) && m.private == other.private &&
		m.tls == other.tls && sameAuthorities && m.tuning == other.tuning && m.concurrency == other.concurrency
}

// ways makes the way of each upstream in a table.
type ways struct {
	egress   Egress
	setting  credentials.Secret // where egress comes from
	resolver *net.Resolver
	circuits map[string]*circuit // by origin
	before   *table              // nil: none
}

func newWays(cfg Config, deps Deps, before *table) *ways {
	return &ways{deps.Egress, cfg.egress, deps.Resolver, map[string]*circuit{}, before}
}

// to is the way for an upstream of that name.
func (w *ways) to(name string, cfg UpstreamConfig) *way {
	m := makings{Origin(cfg.URL), w.setting, cfg.Private, cfg.TLS, cfg.settings, cfg.Tuning, cfg.Limits.Concurrency}
	made := &way{made: m}
	if before := w.past(name); before != nil {
		if before.made.same(m) {
			made.wire = before.wire
		}
		if before.made.concurrency == m.concurrency {
			made.places = before.places
		}
	}
	if made.wire == nil {
		made.wire = newWire(TransportConfig{
			Egress: w.egress, Private: m.private, TLS: m.settings, Tuning: m.tuning, Idle: m.concurrency, Resolver: w.resolver,
		})
	}
	if made.places == nil {
		made.places = newPlaces(m.concurrency)
	}
	made.breaker = &breaker{next: repeat{made.wire}}
	if cfg.Breaker.Enabled == nil || *cfg.Breaker.Enabled {
		made.breaker.circuit = w.circuit(m.origin)
	}
	return made
}

func (w *ways) past(name string) *way {
	if w.before == nil || w.before.upstreams[name] == nil {
		return nil
	}
	return w.before.upstreams[name].way
}

// circuit is the one of all upstreams there.
func (w *ways) circuit(origin string) *circuit {
	if w.circuits[origin] == nil && w.before != nil {
		w.circuits[origin] = w.before.circuits[origin]
	}
	if w.circuits[origin] == nil {
		w.circuits[origin] = newCircuit()
	}
	return w.circuits[origin]
}
