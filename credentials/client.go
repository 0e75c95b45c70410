package credentials

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync"
)

// client is an application at a token endpoint, shared by its credentials.
type client struct {
	config   ClientConfig
	endpoint *Endpoint
	roots    *x509.CertPool // nil: the system's
	secrets  *secrets       // nil where it has none

	mu      sync.Mutex                      // guards the fields below
	seen    map[Reference][sha256.Size]byte // what proves it, when it was last looked at
	changes int                             // how often any of it was another than before
}

func newClient(cfg ClientConfig, deps Deps) (*client, error) {
	c := &client{config: cfg, seen: map[Reference][sha256.Size]byte{}}
	if !slices.Contains(clientAuths, cfg.Auth) {
		return nil, fmt.Errorf("unknown auth %q", cfg.Auth)
	}
	transport := deps.Transport
	if cfg.Private && deps.Private != nil {
		transport = deps.Private
	}
	if cfg.TLS != (TLSConfig{}) || cfg.egress.Reveal() != "" {
		settings, err := cfg.TLS.Settings()
		if err != nil {
			return nil, err
		}
		if deps.NewTransport == nil {
			return nil, errors.New("no transport of its own can be made for a client")
		}
		if transport, err = deps.NewTransport(settings, cfg.egress, cfg.Private); err != nil {
			return nil, err
		}
		c.roots = settings.RootCAs
	}
	auth := newClientAuth(cfg)
	if s, ok := auth.(*secrets); ok {
		c.secrets = s
	}
	c.endpoint = &Endpoint{
		URL: cfg.TokenURL, Issuer: cfg.Issuer, InsecureHTTP: cfg.InsecureHTTP, MutualTLS: cfg.Auth == "tls_client_auth",
		Auth: auth, Parameters: cfg.Parameters, UserAgent: deps.UserAgent, Transport: transport, Timeout: cfg.Timeout,
	}
	return c, nil
}

// version looks at what the client proves itself with, and returns a number that is
// another whenever any of it is. What cannot be read is as it was.
func (c *client) version() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets != nil {
		_ = c.secrets.look()
	}
	changed := false
	for _, ref := range append(c.config.proofs(), c.config.TLS.Certificate) {
		text, _, err := ref.load(ref != c.config.TLS.Certificate)
		if err != nil {
			continue
		}
		if sum := sha256.Sum256([]byte(text)); c.seen[ref] != sum {
			c.seen[ref], changed = sum, true
		}
	}
	if changed {
		c.changes++
	}
	return c.changes
}

// same reports whether both are configured alike, with the same secrets, so that
// one can stay in the place of the other.
func (c *client) same(other *client) bool {
	a, b := c.config, other.config
	equal := slices.EqualFunc(a.secrets, b.secrets, Secret.Equal) && a.egress.Equal(b.egress) && c.roots.Equal(other.roots)
	a.secrets, b.secrets, a.egress, b.egress = nil, nil, Secret{}, Secret{}
	return equal && reflect.DeepEqual(a, b)
}

// place is where its tokens come from: the token endpoint, or the issuer that
// names it.
func (c *ClientConfig) place() string {
	if c.Issuer != "" {
		return c.Issuer
	}
	return c.TokenURL
}

// secrets is a ClientAuth by shared secret, of which there may be several while
// one takes the place of another. They are read anew for each request, so that a
// new one needs no restart; what cannot be read leaves the one before in force.
type secrets struct {
	refs []Reference
	make func(Secret) ClientAuth

	mu    sync.Mutex // guards the fields below
	known []Secret
	works int  // the index of the one that the endpoint took last
	taken bool // it took one
}

// Prove proves the client with the secret that was taken last.
func (s *secrets) Prove(ctx context.Context, endpoint string, header http.Header, form url.Values) error {
	all, err := s.proofs()
	if err != nil {
		return err
	}
	return all[0].Prove(ctx, endpoint, header, form)
}

// proof is one way to prove the client, and what to call if it was taken.
type proof struct {
	ClientAuth
	taken func()
}

// proofs returns one for each secret, that which was taken last first.
func (s *secrets) proofs() ([]proof, error) {
	err := s.look()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []proof
	for n := range s.refs {
		i := (s.works + n) % len(s.refs)
		if s.known[i].Reveal() == "" {
			continue
		}
		all = append(all, proof{s.make(s.known[i]), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.works, s.taken = i, true
		}})
	}
	if len(all) == 0 {
		return nil, err
	}
	return all, nil
}

// look reads every secret, without holding up who asks for the status. Its error is
// the last that was met.
func (s *secrets) look() (failed error) {
	found := make([]Secret, len(s.refs))
	for i, ref := range s.refs {
		secret, err := ref.Read()
		if err != nil {
			failed = err
		}
		found[i] = secret
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) < len(s.refs) {
		s.known = make([]Secret, len(s.refs))
	}
	for i, secret := range found {
		if secret.Reveal() != "" {
			s.known[i] = secret
		}
	}
	return failed
}

// working returns the reference of the secret that was taken last; "" if none was.
func (s *secrets) working() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taken {
		return ""
	}
	return string(s.refs[s.works])
}

// first returns the first secret there is.
func (s *secrets) first() Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.known {
		if secret.Reveal() != "" {
			return secret
		}
	}
	return Secret{}
}

// TLSConfig is how a connection to a token endpoint or an upstream is secured beside
// the usual way. What it names is read anew: the certificate and key for each connection,
// the authorities when the configuration is loaded.
type TLSConfig struct {
	CA          Reference `yaml:"ca"`          // certificates (PEM) of authorities to trust instead of the system's
	Certificate Reference `yaml:"certificate"` // the client's own (PEM), with Key; also for tls_client_auth (RFC 8705)
	Key         Reference `yaml:"key"`
}

// Resolve notes what is wrong with t, and with the files that it names.
func (t TLSConfig) Resolve(path []any, m Mistakes) {
	if (t.Certificate == "") != (t.Key == "") {
		m.Add(path, "certificate and key go together; write both")
		return
	}
	if _, err := t.pool(); err != nil {
		m.Add(append(path, "ca"), "%v", err)
	}
	if t.Certificate == "" {
		return
	}
	if _, err := t.certificate(); err != nil {
		m.Add(append(path, "certificate"), "%v", err)
	}
}

// Settings returns what crypto/tls needs, TLS 1.2 or newer. It reads the
// authorities, which its error is about; RootCAs is nil where they are the system's.
func (t TLSConfig) Settings() (*tls.Config, error) {
	pool, err := t.pool()
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	if t.Certificate != "" {
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.certificate() }
	}
	return settings, nil
}

func (t TLSConfig) pool() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil // the system's
	}
	return t.CA.ReadAuthorities()
}

func (t TLSConfig) certificate() (*tls.Certificate, error) {
	return ReadCertificate(t.Certificate, t.Key)
}
