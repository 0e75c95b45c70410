package credentials

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Deps are what a Set needs from others. Observe may be nil.
type Deps struct {
	Transport http.RoundTripper // to the token endpoints; comparable, as a pointer is
	UserAgent string
	Observe   Observer
	// KnownScopes are resource servers by scope, beside those of the Config; see
	// Set.ResourceServer.
	KnownScopes map[string]string
}

// Set is every credential by name. It does not change; a reload makes another.
type Set struct {
	deps    Deps
	config  Config
	members map[string]Authorizer
}

// NewSet makes the authorizers of a Config that was resolved without mistakes.
// A credential that is the same in old keeps its authorizer; one that differs
// only in how it is asked for (secret, proxy) keeps its token. Old may be nil.
func NewSet(cfg Config, deps Deps, old *Set) (*Set, error) {
	s := &Set{deps: deps, config: cfg, members: map[string]Authorizer{NoCredential: None()}}
	for name, token := range cfg.Tokens {
		authorizer, err := s.newAuthorizer(name, token, old)
		if err != nil {
			return nil, err
		}
		s.members[name] = authorizer
	}
	return s, nil
}

// Authorizer returns the credential of that name.
func (s *Set) Authorizer(name string) (Authorizer, bool) {
	authorizer, ok := s.members[name]
	return authorizer, ok
}

// ClientIDs is the Config's.
func (s *Set) ClientIDs(credential string) []string { return s.config.ClientIDs(credential) }

// Lifetime returns how long the token held for a resource server is good for
// yet. It asks for none, and reports false where none is held.
func (s *Set) Lifetime(resourceServer string) (time.Duration, bool) {
	for _, name := range names(s.members) {
		member, ok := s.members[name].(*ClientCredentials)
		if !ok || member.resourceServer != resourceServer {
			continue
		}
		now := time.Now()
		if tok := member.current.Load(); tok != nil && tok.usable(now, member.margin) && !tok.ExpiresAt.IsZero() {
			return tok.ExpiresAt.Sub(now), true
		}
	}
	return 0, false
}

// Scopes returns the scopes that are asked for at a resource server; nil for one
// that no credential is for.
func (s *Set) Scopes(resourceServer string) []string {
	for _, name := range names(s.config.Tokens) {
		if token := s.config.Tokens[name]; token.ResourceServer == resourceServer {
			return token.Scopes
		}
	}
	return nil
}

// Seal returns a message authentication code of text (HMAC-SHA-256) that nobody
// can make without the clients' secrets: bearerds of one configuration make the
// same, and a new secret ends those made before. It is "" where no client has a
// secret.
func (s *Set) Seal(text string) string {
	key := sha256.New()
	sealed := false
	for _, name := range names(s.config.Clients) {
		if secret := s.config.Clients[name].secret.Reveal(); secret != "" {
			_, _ = fmt.Fprintf(key, "bearerd seal %d %s", len(secret), secret)
			sealed = true
		}
	}
	if !sealed {
		return ""
	}
	mac := hmac.New(sha256.New, key.Sum(nil))
	_, _ = io.WriteString(mac, text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *Set) newAuthorizer(name string, token TokenConfig, old *Set) (Authorizer, error) {
	switch {
	case token.Token != "":
		return AccessToken(token.secret)
	case token.Username != "":
		return Basic(token.Username, token.secret), nil
	}
	client := s.config.Clients[token.Client]
	auth, err := newClientAuth(client.Auth, client.id, client.secret)
	if err != nil {
		return nil, err
	}
	fresh := &ClientCredentials{
		name: name,
		endpoint: &Endpoint{
			URL: client.TokenURL, Auth: auth, Parameters: client.Parameters,
			UserAgent: s.deps.UserAgent, Transport: s.deps.Transport,
		},
		resourceServer: token.ResourceServer,
		scopes:         token.Scopes,
		margin:         s.config.Margin,
		observe:        s.deps.Observe,
	}
	if old == nil {
		return fresh, nil
	}
	before, ok := old.members[name].(*ClientCredentials)
	if !ok || !s.sameRight(name, old) {
		return fresh, nil
	}
	was := old.config.Clients[old.config.Tokens[name].Client]
	if s.deps.Transport == old.deps.Transport && s.config.Margin == old.config.Margin &&
		was.Auth == client.Auth && was.secret.Equal(client.secret) {
		return before, nil
	}
	fresh.current.Store(before.current.Load())
	return fresh, nil
}

// sameRight reports whether both sets mean the same client, resource server and
// scopes by name, so that a token got for one serves the other.
func (s *Set) sameRight(name string, old *Set) bool {
	a, b := s.config.Tokens[name], old.config.Tokens[name]
	x, y := s.config.Clients[a.Client], old.config.Clients[b.Client]
	return a.ResourceServer == b.ResourceServer && slices.Equal(a.Scopes, b.Scopes) &&
		x.TokenURL == y.TokenURL && x.id == y.id && maps.Equal(x.Parameters, y.Parameters)
}

// Granted is what one credential got from Set.Grant.
type Granted struct {
	Credential, Client, ResourceServer string
	Asked                              []string // scopes
	Token                              Token    // zero if Err is set
	Err                                error
}

// Grant makes fresh token requests for the named credentials, one per client,
// and fills every one of them from the answer. It makes a further request only
// for credentials of a resource server that the request already has: in one
// request the narrower of the two would become the broader. Credentials that are
// fixed come back as they are. The order is that of names.
func (s *Set) Grant(ctx context.Context, credentials []string) []Granted {
	results := make([]Granted, len(credentials))
	rounds := map[string][]round{}
	for i, name := range credentials {
		token := s.config.Tokens[name]
		results[i] = Granted{Credential: name, Client: token.Client, ResourceServer: token.ResourceServer, Asked: token.Scopes}
		switch member := s.members[name].(type) {
		case *ClientCredentials:
			rounds[token.Client] = place(rounds[token.Client], i, member)
		case static:
			results[i].Token = member.token
		}
	}
	for _, client := range names(rounds) {
		for _, r := range rounds[client] {
			r.grant(ctx, results)
		}
	}
	return results
}

// round is one token request: credentials of one client, of different resource
// servers, by their place in the results.
type round map[int]*ClientCredentials

// place adds a member to the first round without its resource server. A server
// that names none in its answers has a round for each credential.
func place(rounds []round, at int, member *ClientCredentials) []round {
	for _, r := range rounds {
		free := member.resourceServer != ""
		for _, other := range r {
			free = free && other.resourceServer != "" && other.resourceServer != member.resourceServer
		}
		if free {
			r[at] = member
			return rounds
		}
	}
	return append(rounds, round{at: member})
}

func (r round) grant(ctx context.Context, results []Granted) {
	order := slices.Sorted(maps.Keys(r))
	var scopes []string
	for _, at := range order {
		scopes = append(scopes, r[at].scopes...)
	}
	start := time.Now()
	tokens, err := r[order[0]].endpoint.Grant(ctx, scopes)
	for _, at := range order {
		tok, err := Token{}, err
		if err == nil {
			tok, err = r[at].pick(tokens)
		}
		r[at].settle(tok, err, time.Since(start))
		results[at].Token, results[at].Err = tok, err
	}
}
