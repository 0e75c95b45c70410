// Package metrics counts what the proxy and its credentials do, for Prometheus, on
// a registry of its own. Labels come from the configuration and from fixed sets,
// never from what a caller sent.
package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bearerd/credentials"
	"bearerd/proxy"
)

// Deps are live values that are read when somebody asks for the metrics. All must
// be set.
type Deps struct {
	Status   func() []credentials.Status
	Breakers func() map[string]string // the state of each upstream's
	Dropped  func() uint64            // log lines that were lost
	Version  string
	Go       string // its version
}

// Metrics is everything that is counted. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests, errors, denied, renewals, uses, storeErrors *prometheus.CounterVec
	inbound                                               *prometheus.CounterVec
	received, sent                                        *prometheus.CounterVec
	duration, upstreamDuration, renewalDuration           *prometheus.HistogramVec
	inFlight, connections                                 *prometheus.GaugeVec
	shed                                                  *prometheus.CounterVec
	reloaded, reloadedAt                                  prometheus.Gauge
	auditErrors                                           prometheus.Counter

	upstreams found[string, *upstream]
	used      found[use, prometheus.Counter]
}

// upstream is what is counted of one.
type upstream struct {
	duration, upstreamDuration prometheus.Observer
	received, sent             prometheus.Counter
	inFlight                   prometheus.Gauge
	requests                   found[outcome, prometheus.Counter]
}

// outcome and use are what requests and tokens are counted by.
type (
	outcome struct {
		method string // an own one, or other
		status int    // one that HTTP knows, or -1
	}
	use struct{ credential, state string }
)

// buckets are of seconds: a request takes as long as its upstream does.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// New returns an empty one.
func New(deps Deps) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		made := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bearerd_" + name, Help: help}, labels)
		m.registry.MustRegister(made)
		return made
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		made := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "bearerd_" + name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(made)
		return made
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		made := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "bearerd_" + name, Help: help}, labels)
		m.registry.MustRegister(made)
		return made
	}
	m.requests = counter("requests_total", "Requests answered.", "upstream", "method", "status")
	m.errors = counter("errors_total", "Answers of bearerd's own, by their Bearerd-Error code.", "upstream", "code")
	m.denied = counter("denied_total", "Requests that policy denied.", "caller", "upstream", "rule")
	m.inbound = counter("inbound_authorization_total", "Requests with an Authorization of the caller's own, by what became of it.", "caller", "result")
	m.received = counter("response_bytes_total", "Bytes of responses' bodies sent to callers.", "upstream")
	m.sent = counter("request_bytes_total", "Bytes of requests' bodies sent to upstreams.", "upstream")
	m.duration = histogram("request_duration_seconds", "From a request's arrival to its answer's end.", "upstream")
	m.upstreamDuration = histogram("upstream_request_duration_seconds", "From sending a request to an upstream to its response's headers.", "upstream")
	m.inFlight = gauge("requests_in_flight", "Requests that are being served.", "upstream")
	m.connections = gauge("connections", "Callers' connections that are open.", "listener")
	m.shed = counter("connections_shed_total", "Connections that were too many and turned away.", "listener")
	m.renewals = counter("token_renewals_total", "Token requests, and tokens read from the store or from files, by outcome.", "credential", "result", "class")
	m.renewalDuration = histogram("token_renewal_duration_seconds", "How long token requests took.", "credential")
	m.uses = counter("token_uses_total", "Tokens put on requests, by how they stood.", "credential", "state")
	m.storeErrors = counter("store_errors_total", "Operations of the token store that failed.", "op")
	m.auditErrors = counter("audit_errors_total", "Audit lines that could not be written.").WithLabelValues()
	m.reloaded = gauge("config_last_reload_successful", "Whether the last load of the configuration was good (1).").WithLabelValues()
	m.reloadedAt = gauge("config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded.").WithLabelValues()
	gauge("build_info", "The running version; always 1.", "version", "go_version").WithLabelValues(deps.Version, deps.Go).Set(1)
	m.registry.MustRegister(
		live{deps}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "bearerd_log_dropped_total", Help: "Log lines that were lost."},
			func() float64 { return float64(deps.Dropped()) }),
	)
	return m
}

// Handler serves them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// methods are those that have a label of their own.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// Request is a proxy.Observer.
func (m *Metrics) Request(x *proxy.Exchange) {
	u := m.upstream(x.Upstream)
	m.answered(u, x).Inc()
	u.duration.Observe(x.Total.Seconds())
	u.received.Add(float64(x.Received))
	u.sent.Add(float64(x.Sent()))
	if x.Attempts > 0 {
		u.upstreamDuration.Observe(x.UpstreamTime.Seconds())
	}
	if x.Code != "" {
		m.errors.WithLabelValues(x.Upstream, x.Code).Inc()
	}
	if x.Decision == "deny" {
		m.denied.WithLabelValues(x.Caller, x.Upstream, x.Rule).Inc()
	}
	if x.Inbound != "" {
		m.inbound.WithLabelValues(x.Caller, x.Inbound).Inc()
	}
	if x.TokenState != "" {
		m.use(x.Credential, string(x.TokenState)).Inc()
	}
}

// upstream returns what is counted of an upstream.
func (m *Metrics) upstream(name string) *upstream {
	if u, ok := m.upstreams.get(name); ok {
		return u
	}
	u := &upstream{duration: m.duration.WithLabelValues(name), received: m.received.WithLabelValues(name), sent: m.sent.WithLabelValues(name)}
	if name != "" { // what has none never gets as far
		u.upstreamDuration, u.inFlight = m.upstreamDuration.WithLabelValues(name), m.inFlight.WithLabelValues(name)
	}
	return m.upstreams.add(name, u)
}

// answered returns the counter of requests such as x.
func (m *Metrics) answered(u *upstream, x *proxy.Exchange) prometheus.Counter {
	o := outcome{x.Method, x.Status}
	if !slices.Contains(methods, o.method) {
		o.method = "other"
	}
	if http.StatusText(o.status) == "" && o.status != 499 { // of a caller that left
		o.status = -1 // an upstream can make up hundreds
	}
	if counter, ok := u.requests.get(o); ok {
		return counter
	}
	label := "other"
	if o.status >= 0 {
		label = strconv.Itoa(o.status)
	}
	return u.requests.add(o, m.requests.WithLabelValues(x.Upstream, o.method, label))
}

// use returns the counter of tokens in such a state.
func (m *Metrics) use(credential, state string) prometheus.Counter {
	u := use{credential, state}
	if counter, ok := m.used.get(u); ok {
		return counter
	}
	return m.used.add(u, m.uses.WithLabelValues(credential, state))
}

// InFlight tells that delta more requests of an upstream are being served.
func (m *Metrics) InFlight(upstream string, delta int) {
	m.upstream(upstream).inFlight.Add(float64(delta))
}

// Connection tells that delta more connections of a listener are open.
func (m *Metrics) Connection(listener string, delta int) {
	m.connections.WithLabelValues(listener).Add(float64(delta))
}

// Shed tells that a connection to a listener was turned away.
func (m *Metrics) Shed(listener string) { m.shed.WithLabelValues(listener).Inc() }

// Renewal is a credentials.Observer.
func (m *Metrics) Renewal(r credentials.Renewal) {
	result := "ok"
	switch {
	case r.Err != nil:
		result = "failed"
	case r.Stored:
		result = "stored"
	case r.Read:
		result = "read"
	}
	m.renewals.WithLabelValues(r.Credential, result, string(r.Class)).Inc()
	if !r.Stored && !r.Read && r.Class != credentials.ClassBudget { // a request was made
		m.renewalDuration.WithLabelValues(r.Credential).Observe(r.Took.Seconds())
	}
}

// Consented tells of a request for consent. It is a token request, and counted with
// the others, by results of its own.
func (m *Metrics) Consented(c credentials.Consented) {
	result := "consented"
	if c.Err != nil {
		result = "consent_failed"
	}
	m.renewals.WithLabelValues(c.Credential, result, string(c.Class)).Inc()
}

// StoreError tells that an operation of the store failed.
func (m *Metrics) StoreError(op string, _ error) { m.storeErrors.WithLabelValues(op).Inc() }

// AuditError tells that an audit line could not be written.
func (m *Metrics) AuditError() { m.auditErrors.Inc() }

// Reloaded tells whether a configuration was put in force.
func (m *Metrics) Reloaded(ok bool) {
	m.reloaded.Set(0)
	if ok {
		m.reloaded.Set(1)
		m.reloadedAt.Set(float64(time.Now().Unix()))
	}
}

// live is what is read when somebody asks.
type live struct{ deps Deps }

var (
	expiry  = prometheus.NewDesc("bearerd_token_expiry_timestamp_seconds", "When the token held ends.", []string{"credential"}, nil)
	breaker = prometheus.NewDesc("bearerd_breaker_state", "The state an upstream's breaker is in (1) and those it is not in (0); none for one that is not enabled.", []string{"upstream", "state"}, nil)
)

// Describe is prometheus.Collector's.
func (live) Describe(out chan<- *prometheus.Desc) {
	out <- expiry
	out <- breaker
}

// Collect is prometheus.Collector's.
func (l live) Collect(out chan<- prometheus.Metric) {
	for _, s := range l.deps.Status() {
		if !s.ExpiresAt.IsZero() {
			out <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(s.ExpiresAt.Unix()), s.Credential)
		}
	}
	for upstream, state := range l.deps.Breakers() {
		for _, one := range []string{"closed", "half-open", "open"} {
			in := 0.0
			if one == state {
				in = 1
			}
			out <- prometheus.MustNewConstMetric(breaker, prometheus.GaugeValue, in, upstream, one)
		}
	}
}
