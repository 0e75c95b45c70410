package proxy

import (
	"crypto/tls"
	"math"
	"net/url"
	"strings"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
)

// UpstreamConfig is one service to forward to.
type UpstreamConfig struct {
	Preset     string `yaml:"preset"`     // fills url, path and a credential
	Collection string `yaml:"collection"` // preset collection: its UUID
	Endpoint   string `yaml:"endpoint"`   // preset gcs: the endpoint's UUID
	URL        string `yaml:"url"`
	Credential string `yaml:"credential"` // default: the upstream's own name
	Prefix     string `yaml:"prefix"`     // default: /NAME
	Host       string `yaml:"host"`       // also reached by this Host name, without prefix
	Path       string `yaml:"path"`       // strict (default) or files
	// InsecureHTTP allows a url of http://, over which tokens can be read by
	// everybody on the way. Default false.
	InsecureHTTP bool `yaml:"insecure_http"`
	// Private allows a url with an address of this machine or of a private network,
	// where not everything that answers is what it seems. Default false.
	Private bool `yaml:"private"`
	// Headers are what of the caller's own is forwarded after all.
	Headers HeadersConfig `yaml:"headers"`
	// InboundAuthorization says what becomes of a caller's own Authorization:
	// replace (default) or refuse. None is ever forwarded.
	InboundAuthorization string `yaml:"inbound_authorization"`
	// TokenShim answers tools that ask Globus Auth for tokens of their own with
	// placeholders. Preset auth only; default true there.
	TokenShim *bool `yaml:"token_shim"`
	// DataAccess are mapped collections whose data is used through this upstream:
	// the token is asked for with consent to it. Presets transfer and timers.
	DataAccess []string `yaml:"data_access"`
	// Flows are the flows that may be started: each has a token of its own, under
	// the name UPSTREAM.FLOW, for run and validate_run, and for resume where it is
	// the only one: the path of that names no flow, so that of several a rule has
	// to name the credential. Preset flows.
	Flows []string `yaml:"flows"`
	// Consent says what becomes of a ConsentRequired for one collection's
	// data_access: auto (default with presets transfer and timers, which alone may
	// have it) grants it to the service account and sends the request again, off
	// passes it on.
	Consent string `yaml:"consent"`

	// Idempotent are patterns of paths whose requests may be sent twice where it is not
	// known what became of the first, since the second does nothing new: such as
	// Transfer's submissions, which carry a submission_id. Preset transfer has those.
	Idempotent []string              `yaml:"idempotent"`
	Limits     LimitsConfig          `yaml:"limits"`
	TLS        credentials.TLSConfig `yaml:"tls"` // own authorities, and a certificate of bearerd's own; default: the system's, none
	Breaker    BreakerConfig         `yaml:"breaker"`
	Tuning     TuningConfig          `yaml:"tuning"`

	settings *tls.Config // of TLS, read by resolve

	// LoginRedirect says that a redirect to Globus's login page is how the
	// upstream refuses a token. Set by preset collection.
	LoginRedirect bool `yaml:"-"`
	// Routes are requests with another credential than the upstream's, where the
	// rule names none. The first that matches counts. Set by preset flows.
	Routes []CredentialRoute `yaml:"-"`
}

// CredentialRoute gives some of an upstream's requests a credential of their own.
type CredentialRoute struct {
	Method string
	// Path is compared by segment, percent-decoded and in any case, so that
	// /flows/ID/%72un is /flows/ID/run. A segment * is any one that is not empty.
	Path       string
	Credential string
}

// LimitsConfig is how much an upstream's requests may be.
type LimitsConfig struct {
	// Body is how long a request's body may be; longer ones are refused with 413.
	// Default 10MiB with path: strict, unlimited with path: files.
	Body Limit `yaml:"body"`
	// Spool is how long a body may be that is read whole before the upstream hears of
	// the request, and can be sent again; longer ones stream. Default 64KiB.
	Spool Limit `yaml:"spool"`
	// Concurrency is how many requests are under way at once; some more wait for a
	// moment, the others are refused with 503. Default 1024.
	Concurrency int `yaml:"concurrency"`
}

// BreakerConfig is about what leaves a failing upstream alone.
type BreakerConfig struct {
	Enabled *bool `yaml:"enabled"` // default true
}

// TuningConfig is how patient bearerd is with an upstream.
type TuningConfig struct {
	Dial           time.Duration `yaml:"dial"`            // to connect, with TLS; default 5s
	ResponseHeader time.Duration `yaml:"response_header"` // from the request's end to the answer's head; default 60s
	BodyIdle       time.Duration `yaml:"body_idle"`       // that a body, sent or answered, may bring nothing; default 30s
	// Idle is how long a connection is kept for the next request. It is to be shorter
	// than the upstream keeps it, or a request may meet the upstream's closing it.
	// Default 30s, less where the upstream says so.
	Idle  time.Duration `yaml:"idle"`
	HTTP2 bool          `yaml:"http2"` // offer HTTP/2, which costs more than a pool of HTTP/1.1; default false
}

// Limit is a number of bytes, or unlimited. 0 is none given; what is no size is
// read as a negative one, for who checks it to say so.
type Limit int64

// unlimited is no limit.
const unlimited Limit = math.MaxInt64

// UnmarshalYAML reads a size as policy.Size does, or unlimited.
func (l *Limit) UnmarshalYAML(read func(any) error) error {
	var text string
	if err := read(&text); err != nil {
		return err
	}
	if *l = unlimited; text != "unlimited" {
		*l = Limit(policy.ParseSize(text))
	}
	if *l == 0 {
		*l = -1
	}
	return nil
}

func (l Limit) String() string {
	if l == unlimited {
		return "unlimited"
	}
	return policy.Size(l).String()
}

const (
	defaultBody        = 10 << 20
	defaultSpool       = 64 << 10
	defaultConcurrency = 1024
)

func (u *UpstreamConfig) resolve(name string, path []any, m Mistakes) {
	if !policy.ValidName(name) {
		m.Add(path, "%q cannot be a name; write lower-case letters, digits, ., _ and -, at most 64", name)
	}
	u.checkURL(append(path, "url"), m)
	u.Headers.resolve(append(path, "headers"), m)
	if u.Credential == "" {
		u.Credential = name
	}
	switch {
	case u.Prefix == "":
		u.Prefix = "/" + name
	case !strings.HasPrefix(u.Prefix, "/"), strings.HasSuffix(u.Prefix, "/"), checkPath(u.Prefix) != "", strings.Contains(u.Prefix, "%"):
		m.Add(append(path, "prefix"), "%q is no prefix; write one such as /%s, without a / at the end (for none, give the upstream a listener or a host of its own)", u.Prefix, name)
	}
	if u.Host != "" {
		checkHost(append(path, "host"), u.Host, m)
		u.Host = strings.ToLower(u.Host)
	}
	if u.Path == "" {
		u.Path = "strict"
	}
	if u.Path != "strict" && u.Path != "files" {
		m.Unknown(append(path, "path"), "path", u.Path, []string{"strict", "files"})
	}
	if u.InboundAuthorization == "" {
		u.InboundAuthorization = "replace"
	}
	if u.InboundAuthorization != "replace" && u.InboundAuthorization != "refuse" {
		m.Unknown(append(path, "inbound_authorization"), "inbound_authorization", u.InboundAuthorization, []string{"replace", "refuse"})
	}
	u.resolveLimits(append(path, "limits"), m)
	u.resolveTuning(append(path, "tuning"), m)
	u.resolveTLS(append(path, "tls"), m)
	for i, text := range u.Idempotent {
		if _, err := policy.ParsePattern(text); err != nil {
			m.Add(append(path, "idempotent", i), "%q %v", text, err)
		}
	}
	if u.Consent == "" {
		u.Consent = "off"
	}
	if u.Consent != "auto" && u.Consent != "off" {
		m.Unknown(append(path, "consent"), "consent", u.Consent, []string{"auto", "off"})
	}
}

func (u *UpstreamConfig) checkURL(path []any, m Mistakes) {
	parsed, err := url.Parse(u.URL)
	switch {
	case u.URL == "":
		m.Add(path, "missing; write the service's URL, or preset: and one of the presets")
	case strings.Contains(u.URL, "@"): // not repeated: what stands before it may be a password
		m.Add(path, "has user information; write scheme, host and path alone, and the rest under credentials.tokens")
	case err == nil && parsed.Scheme != "http" && parsed.Scheme != "https" && !strings.Contains(u.URL, "://"):
		m.Add(path, "%q has no scheme; write https://%s", u.URL, u.URL)
	case err != nil || parsed.Host == "" || parsed.Opaque != "" || (parsed.Scheme != "http" && parsed.Scheme != "https"):
		m.Add(path, "%q is no URL of a service; write one such as https://api.example.org/v1/", u.URL)
	case parsed.RawQuery != "" || parsed.Fragment != "" || parsed.ForceQuery:
		m.Add(path, "has a query or a fragment; write scheme, host and path alone")
	case parsed.Path != "" && (checkPath(parsed.EscapedPath()) != "" || checkStrict(parsed.EscapedPath()) != ""):
		m.Add(path, "%q has a path that cannot be forwarded below; write it without dot segments, // and encoded separators", u.URL)
	case parsed.Scheme == "http" && !u.InsecureHTTP:
		m.Add(path, "%q would send tokens in the clear; write https://, or insecure_http: true where nobody can listen", u.URL)
	case !u.Private && credentials.IsPrivate(parsed.Hostname()):
		m.Add(path, "%q is on this machine or a private network; write private: true beside it if it is meant", u.URL)
	}
}

// maxSpool is how much of one body is kept at most: of those that are kept at once
// there are budgetBytes.
const maxSpool = 16 << 20

func (u *UpstreamConfig) resolveLimits(path []any, m Mistakes) {
	l := &u.Limits
	if l.Body == 0 {
		l.Body = defaultBody
		if u.Path == "files" {
			l.Body = unlimited
		}
	}
	if l.Spool == 0 {
		l.Spool = defaultSpool
	}
	if l.Concurrency == 0 {
		l.Concurrency = defaultConcurrency
	}
	if l.Body < 0 {
		m.Add(append(path, "body"), "not a size of a body; write one such as 10MiB, or unlimited")
	}
	if l.Spool < 0 || l.Spool > maxSpool {
		m.Add(append(path, "spool"), "not a size that is read ahead; write one such as 64KiB, up to 16MiB")
	}
	if l.Concurrency < 0 {
		m.Add(append(path, "concurrency"), "%d is no number of requests; write one such as 64", l.Concurrency)
	}
}

func (u *UpstreamConfig) resolveTuning(path []any, m Mistakes) {
	t := &u.Tuning
	for _, one := range []struct {
		key   string
		value *time.Duration
		usual time.Duration
	}{
		{"dial", &t.Dial, dialTimeout},
		{"response_header", &t.ResponseHeader, responseHeaderTimeout},
		{"body_idle", &t.BodyIdle, idleBody},
		{"idle", &t.Idle, idleTimeout},
	} {
		if *one.value < 0 {
			m.Add(append(path, one.key), "%v is negative; write a duration such as %v", *one.value, one.usual)
		}
	}
	t.fill()
	if t.HTTP2 && u.isPlain() {
		m.Add(append(path, "http2"), "a url of http:// is asked in HTTP/1.1 alone; leave it out")
	}
}

func (u *UpstreamConfig) isPlain() bool { return strings.HasPrefix(strings.ToLower(u.URL), "http://") }

func (u *UpstreamConfig) resolveTLS(path []any, m Mistakes) {
	if u.TLS == (credentials.TLSConfig{}) {
		return
	}
	if u.isPlain() {
		m.Add(path, "a url of http:// is asked without TLS; leave it out, or write https://")
		return
	}
	u.TLS.Resolve(path, m)
	if settings, err := u.TLS.Settings(); err == nil { // else Resolve noted it
		u.settings = settings
	}
}
