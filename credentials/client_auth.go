package credentials

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
)

// ClientAuth proves who the client is to a token endpoint (RFC 6749 §2.3).
type ClientAuth interface {
	// Prove adds the proof to the header or the form of one request to endpoint.
	Prove(ctx context.Context, endpoint string, header http.Header, form url.Values) error
}

// clientAuths are the values of `auth:` in the order they are offered.
var clientAuths = []string{"globus_basic", "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "federated"}

// newClientAuth makes the ClientAuth of a client that was resolved.
func newClientAuth(cfg ClientConfig) ClientAuth {
	bySecret := func(make func(Secret) ClientAuth) ClientAuth {
		return &secrets{refs: cfg.ClientSecret, make: make, known: slices.Clone(cfg.secrets)}
	}
	switch cfg.Auth {
	case "globus_basic":
		return bySecret(func(secret Secret) ClientAuth { return basicAuth{cfg.id, secret} })
	case "client_secret_post":
		return bySecret(func(secret Secret) ClientAuth { return postAuth{cfg.id, secret} })
	case "private_key_jwt":
		return jwtAuth{id: cfg.id, key: cfg.PrivateKey, keyID: cfg.KeyID, algorithm: cfg.Algorithm, audience: cfg.audience()}
	case "tls_client_auth":
		return idAuth{cfg.id}
	case "federated":
		return assertionAuth{cfg.id, cfg.Assertion}
	}
	return bySecret(func(secret Secret) ClientAuth {
		return basicAuth{url.QueryEscape(cfg.id), NewSecret(url.QueryEscape(secret.Reveal()))}
	})
}

// basicAuth sends the pair as it is. RFC 6749 §2.3.1 wants both form-encoded
// first, and client_secret_basic is made so; the Globus SDK sends them raw, and
// Globus secrets end in "=", so the two differ for every Globus client.
type basicAuth struct {
	id     string
	secret Secret
}

func (b basicAuth) Prove(_ context.Context, _ string, header http.Header, _ url.Values) error {
	pair := b.id + ":" + b.secret.Reveal()
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	return nil
}

type postAuth struct {
	id     string
	secret Secret
}

func (p postAuth) Prove(_ context.Context, _ string, _ http.Header, form url.Values) error {
	form.Set("client_id", p.id)
	form.Set("client_secret", p.secret.Reveal())
	return nil
}

// idAuth only says who the client is; its certificate proves it (RFC 8705 §2).
type idAuth struct{ id string }

func (a idAuth) Prove(_ context.Context, _ string, _ http.Header, form url.Values) error {
	form.Set("client_id", a.id)
	return nil
}

// assertionType is RFC 7523 §2.2's.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionAuth sends an assertion that somebody else signed (RFC 7523 §2.2): a
// projected Kubernetes ServiceAccount token, or a cloud's workload identity. It is
// read anew each time, since whoever writes it replaces it before it ends.
type assertionAuth struct {
	id   string
	from Reference
}

func (a assertionAuth) Prove(_ context.Context, _ string, _ http.Header, form url.Values) error {
	assertion, err := a.from.Read()
	if err != nil {
		return err
	}
	form.Set("client_id", a.id)
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", assertion.Reveal())
	return nil
}
