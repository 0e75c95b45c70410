package credentials

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ClientAuth proves who the client is to a token endpoint (RFC 6749 §2.3).
type ClientAuth interface {
	// Prove adds the proof to the header or the form of one request to endpoint.
	Prove(ctx context.Context, endpoint string, header http.Header, form url.Values) error
}

// clientAuths are the values of `auth:` in the order they are offered.
var clientAuths = []string{"globus_basic", "client_secret_basic", "client_secret_post"}

func newClientAuth(kind, id string, secret Secret) (ClientAuth, error) {
	switch kind {
	case "globus_basic":
		return basicAuth{id, secret}, nil
	case "client_secret_basic":
		return basicAuth{url.QueryEscape(id), NewSecret(url.QueryEscape(secret.Reveal()))}, nil
	case "client_secret_post":
		return postAuth{id, secret}, nil
	}
	return nil, fmt.Errorf("unknown auth %q; write one of %s", kind, strings.Join(clientAuths, ", "))
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
