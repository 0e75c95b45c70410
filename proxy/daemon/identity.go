package daemon

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/policy/identity"
	"bearerd/proxy"
)

// What Kubernetes gives every pod.
const (
	podCA    = "file:/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
	podToken = "file:/var/run/secrets/kubernetes.io/serviceaccount/token"
)

// fillKubernetes takes the API server from the pod's environment where the file does
// not name one, or by the name that it has in every cluster.
func (c *Config) fillKubernetes() {
	k := c.Policy.Identity.Kubernetes
	if k == nil {
		return
	}
	if host := os.Getenv("KUBERNETES_SERVICE_HOST"); host != "" {
		fill(&k.URL, "https://"+net.JoinHostPort(host, cmp.Or(os.Getenv("KUBERNETES_SERVICE_PORT"), "443")))
	}
	fill(&k.URL, "https://kubernetes.default.svc")
	fill(&k.CA, podCA)
	fill(&k.Token, podToken)
}

// verifiers make what checks the tokens that callers show; those of before where
// nothing about them can have changed, since they know something.
func (d *daemon) verifiers(cfg *Config, egress proxy.Egress) ([]policy.Verifier, error) {
	hasCA := slices.ContainsFunc(sortedKeys(cfg.Policy.Identity.JWT), func(name string) bool { return cfg.Policy.Identity.JWT[name].CA != "" })
	if d.config != nil && !hasCA && reflect.DeepEqual(cfg.Policy.Identity, d.config.Policy.Identity) && cfg.Proxy.SameEgress(d.config.Proxy) {
		return d.verifying, nil
	}
	var all []policy.Verifier
	for _, name := range sortedKeys(cfg.Policy.Identity.JWT) {
		issuer := cfg.Policy.Identity.JWT[name]
		way := proxy.TransportConfig{Egress: egress, Private: issuer.Private}
		if issuer.CA != "" {
			pool, err := systemAnd(credentials.Reference(issuer.CA))
			if err != nil {
				return nil, err
			}
			way.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
		all = append(all, identity.NewJWT(name, issuer, proxy.NewTransport(way)))
	}
	if k := cfg.Policy.Identity.Kubernetes; k != nil {
		all = append(all, identity.NewKubernetes(*k, identity.KubernetesDeps{
			Transport: func(settings *tls.Config) http.RoundTripper {
				return proxy.NewTransport(proxy.TransportConfig{TLS: settings, Private: true}) // straight: the API server is in the cluster
			},
			Read: func(reference string) ([]byte, error) { return readIdentity(reference, *k) },
		}))
	}
	return all, nil
}

// readIdentity reads what TokenReview needs. A token that is not the one Kubernetes
// gives every pod, with whatever mode, is a secret file as any other.
func readIdentity(reference string, k policy.KubernetesConfig) ([]byte, error) {
	if reference != k.Token || reference == podToken {
		return credentials.Reference(reference).ReadPublic()
	}
	secret, err := credentials.Reference(reference).Read()
	return []byte(secret.Reveal()), err
}

// systemAnd are the system's authorities and those in a file.
func systemAnd(ca credentials.Reference) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	text, err := ca.ReadPublic()
	if err == nil {
		pool.AppendCertsFromPEM(text)
	}
	return pool, err
}

// checkIdentity notes issuers on private addresses, where not everything that answers
// is what it seems, unless they are meant, and files that cannot be read. Those that
// Kubernetes gives every pod need not be there: a configuration may be checked elsewhere.
func (c *Config) checkIdentity(m *mistakes) {
	if k := c.Policy.Identity.Kubernetes; k != nil {
		for key, reference := range map[string]string{"ca": k.CA, "token": k.Token} {
			if reference == podCA || reference == podToken || !isFile(reference) {
				continue
			}
			if _, err := readIdentity(reference, *k); err != nil {
				m.Add([]any{"policy", "identity", "kubernetes", key}, "%v", err)
			}
		}
	}
	for name, issuer := range c.Policy.Identity.JWT {
		path := []any{"policy", "identity", "jwt", name}
		for key, text := range map[string]string{"issuer": issuer.Issuer, "jwks": issuer.JWKS} {
			if u, err := url.Parse(text); err == nil && !issuer.Private && credentials.IsPrivate(u.Hostname()) {
				m.Add(append(path, key), "%q is on this machine or a private network; write private: true beside it if it is meant", text)
			}
		}
		if !isFile(issuer.CA) {
			continue
		}
		if _, err := credentials.Reference(issuer.CA).ReadAuthorities(); err != nil {
			m.Add(append(path, "ca"), "%v", err)
		}
	}
}

// isFile reports whether a reference names a file; others are noted by package policy.
func isFile(reference string) bool { return strings.HasPrefix(reference, "file:") }
