package proxy

import (
	"io"
	"log"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"bearerd/policy"
)

// Upstream is one service: a ReverseProxy over a stack of RoundTrippers. Consent
// and the credential are outermost, so that a failing token endpoint never opens the
// breaker; then the breaker, which hears of each request once, however often it has
// to be sent; then what repeats, and the wire.
type Upstream struct {
	httputil.ReverseProxy
	name       string
	base       *url.URL
	prefix     string
	host       string // lower-case; "" for none
	credential string // where the decision names none
	files      bool
	way        *way
	via        via

	limits     LimitsConfig
	patience   time.Duration    // with bodies that bring nothing
	idempotent []policy.Pattern // paths whose requests may be sent twice

	headers        HeadersConfig
	refusesInbound bool
	hasShim        bool
	consents       bool              // grants consent that upstreams ask for; see consent.go
	routes         []CredentialRoute // paths with a credential of their own
}

func newUpstream(name string, cfg UpstreamConfig, way *way, pseudonym string) *Upstream {
	base, err := url.Parse(cfg.URL)
	if err != nil {
		base = &url.URL{} // Resolve noted it; nothing is bound to such an origin
	}
	u := &Upstream{
		name: name, base: base, prefix: cfg.Prefix, host: cfg.Host,
		credential: cfg.Credential, files: cfg.Path == "files",
		way: way, via: newVia(pseudonym),
		limits:         cfg.Limits,
		patience:       cfg.Tuning.BodyIdle,
		headers:        cfg.Headers,
		refusesInbound: cfg.InboundAuthorization == "refuse",
		hasShim:        cfg.TokenShim != nil && *cfg.TokenShim,
		consents:       cfg.Consent == "auto",
		routes:         cfg.Routes,
	}
	for _, text := range cfg.Idempotent {
		if pattern, err := policy.ParsePattern(text); err == nil { // Resolve noted the others
			u.idempotent = append(u.idempotent, pattern)
		}
	}
	u.ReverseProxy = httputil.ReverseProxy{
		Rewrite:        u.rewrite,
		Transport:      aside{consent{authorize{u.way.breaker, cfg.LoginRedirect}}},
		ModifyResponse: u.answer,
		ErrorHandler:   writeError,
		ErrorLog:       log.New(io.Discard, "", 0), // its lines quote peers; the Exchange has the facts
		BufferPool:     buffers,
	}
	return u
}

// buffers are what bodies are copied through.
var buffers = &bufferPool{sync.Pool{New: func() any { return new([32 << 10]byte) }}}

type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte  { return b.pool.Get().(*[32 << 10]byte)[:] }
func (b *bufferPool) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
