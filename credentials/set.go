package credentials

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Deps are what a Set needs from others. Observe may be nil.
type Deps struct {
	Transport http.RoundTripper // to the token endpoints; comparable, as a pointer is
	// Private is the way to endpoints that may be on this machine or a private
	// network: those of clients that say so. Nil: Transport.
	Private http.RoundTripper
	// NewTransport makes one for a client with TLS settings or a forward proxy (""
	// for the usual way) of its own, to private addresses too if that is so. It may
	// be nil where no client has.
	NewTransport func(settings *tls.Config, proxyURL Secret, private bool) (http.RoundTripper, error)
	UserAgent    string
	Observe      Observer
	// ObserveConsent is told of each request for consent, once; it may be nil.
	ObserveConsent func(Consented)
	// Store keeps the tokens over restarts and shares them; nil: this process's
	// memory does. It is comparable. ObserveStore is told of what goes wrong in it,
	// by operation; it may be nil.
	Store        Store
	ObserveStore func(op string, err error)
	// KnownScopes are resource servers by scope, beside those of the Config; see
	// Set.ResourceServer.
	KnownScopes map[string]string
}

// Set is every credential by name. It does not change; a reload makes another.
type Set struct {
	deps    Deps
	config  Config
	shelf   *shelf
	clients map[string]*client
	// versions are those of the clients when the Set was made.
	versions map[string]int
	members  map[string]Authorizer
}

// NewSet makes the authorizers of a Config that was resolved without mistakes.
// A credential that is the same in old keeps its authorizer; one that differs
// only in how it is asked for (secret, proxy) keeps its token. Old may be nil.
func NewSet(cfg Config, deps Deps, old *Set) (*Set, error) {
	s := &Set{deps: deps, config: cfg, shelf: newShelf(deps, old), clients: map[string]*client{}, versions: map[string]int{}, members: map[string]Authorizer{NoCredential: None()}}
	for name, client := range cfg.Clients {
		made, err := newClient(client, deps)
		if err != nil {
			return nil, err
		}
		s.clients[name], s.versions[name] = s.keptClient(made, old)
	}
	for name, token := range cfg.Tokens {
		authorizer, err := s.newAuthorizer(name, token, old)
		if err != nil {
			return nil, err
		}
		s.members[name] = authorizer
	}
	return s, nil
}

// keptClient returns the client of old that is the same as made, or made, and the
// version that is heeded of it. Of one that is kept that is old's: what changed
// since then old's Run may not have seen.
func (s *Set) keptClient(made *client, old *Set) (*client, int) {
	if old == nil || s.deps.Transport != old.deps.Transport {
		return made, made.version()
	}
	for _, name := range names(old.clients) {
		if was := old.clients[name]; made.same(was) {
			return was, old.versions[name]
		}
	}
	return made, made.version()
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
		if !ok || member.key.ResourceServer != resourceServer {
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
	for _, name := range names(s.clients) {
		if of := s.clients[name].secrets; of != nil && of.first().Reveal() != "" {
			secret := of.first().Reveal()
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
		return s.newWatched(name, token.Token, newBearer)
	case token.Username != "":
		return s.newWatched(name, token.Password, func(password string) (Token, error) { return newBasic(token.Username, password), nil })
	}
	client := s.clients[token.Client]
	key := Key{
		Endpoint: client.config.place(), ClientID: client.config.id, Auth: client.config.Auth,
		ResourceServer: token.ResourceServer, Scopes: token.Scopes, Parameters: client.config.Parameters,
	}
	fresh := newClientCredentials(name, client.endpoint, key, s.config.Margin)
	fresh.fallback, fresh.extras, fresh.required = token.Fallback, token.Extras, token.required()
	fresh.observe, fresh.observeConsent, fresh.shelf = s.deps.Observe, s.deps.ObserveConsent, s.shelf
	if old == nil {
		return fresh, nil
	}
	before, ok := old.members[name].(*ClientCredentials)
	if !ok || !s.sameRight(name, old) {
		return fresh, nil
	}
	if client.endpoint == before.endpoint && s.config.Margin == old.config.Margin && s.shelf == old.shelf &&
		fresh.required == before.required && slices.Equal(fresh.fallback, before.fallback) && slices.Equal(fresh.extras, before.extras) {
		return before, nil
	}
	fresh.inherit(before)
	return fresh, nil
}

func (s *Set) newWatched(name string, from Reference, made func(text string) (Token, error)) (Authorizer, error) {
	w := &watched{name: name, from: from, made: made, required: s.config.Tokens[name].required(), observe: s.deps.Observe}
	return w, w.look()
}

// sameRight reports whether both sets mean the same client, resource server and
// scopes by name, so that a token got for one serves the other.
func (s *Set) sameRight(name string, old *Set) bool {
	a, b := s.config.Tokens[name], old.config.Tokens[name]
	x, y := s.config.Clients[a.Client], old.config.Clients[b.Client]
	return a.ResourceServer == b.ResourceServer && slices.Equal(a.Scopes, b.Scopes) &&
		x.place() == y.place() && x.id == y.id && sameParameters(x.Parameters, y.Parameters)
}

func sameParameters(a, b map[string]Texts) bool {
	return maps.EqualFunc(a, b, slices.Equal[Texts])
}

// Run renews every token ahead of its end, and heeds secrets and token files that
// change, until ctx is done and what is on its way to the store is there, or has
// failed. It returns nil then; it has no other reason to return.
func (s *Set) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, member := range s.members {
		switch member := member.(type) {
		case *ClientCredentials:
			group.Go(func() { member.run(ctx) })
		case *watched:
			group.Go(func() { every(ctx, pollInterval, func() { _ = member.look() }) })
		}
	}
	for name, client := range s.clients {
		group.Go(func() {
			known := s.versions[name]
			every(ctx, pollInterval, func() {
				if now := client.version(); now != known {
					known = now
					s.heed(client)
				}
			})
		})
	}
	group.Wait()
	s.shelf.settled()
	return nil
}

// heed ends the rest after a refusal of the client, which has another secret, key,
// certificate or assertion to prove itself with now.
func (s *Set) heed(client *client) {
	if way, ok := client.endpoint.Transport.(interface{ CloseIdleConnections() }); ok && client.config.TLS.Certificate != "" {
		way.CloseIdleConnections() // they were made with the certificate before
	}
	for _, member := range s.members {
		if c, ok := member.(*ClientCredentials); ok && c.endpoint == client.endpoint {
			c.endRest()
		}
	}
}

// every calls do at an interval until ctx is done.
func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// Status tells how every credential stands, by name.
func (s *Set) Status() []Status {
	now := time.Now()
	all := []Status{}
	for _, name := range names(s.members) {
		switch member := s.members[name].(type) {
		case *ClientCredentials:
			one := member.status(now)
			one.Client = s.config.Tokens[name].Client
			all = append(all, one)
		case *watched:
			all = append(all, member.status())
		}
	}
	return all
}

// Granted is what one credential got from Set.Grant.
type Granted struct {
	Credential, Client, ResourceServer string
	Asked                              []string // scopes
	Token                              Token    // zero if Err is set
	Warning                            string   // it is good for less than was asked for
	Err                                error
}

// Grant makes fresh token requests for the named credentials, one per client as
// Warm does, and fills every one of them from the answer. Credentials that are
// fixed come back as they are. The order is that of names.
func (s *Set) Grant(ctx context.Context, credentials []string) []Granted {
	results := make([]Granted, len(credentials))
	at := map[*ClientCredentials]int{}
	var members []*ClientCredentials
	for i, name := range credentials {
		token := s.config.Tokens[name]
		results[i] = Granted{Credential: name, Client: token.Client, ResourceServer: token.ResourceServer, Asked: token.Scopes}
		switch member := s.members[name].(type) {
		case *ClientCredentials:
			at[member] = i
			members = append(members, member)
		case *watched:
			results[i].Token = *member.current.Load()
		}
	}
	for _, r := range rounds(members) {
		start := time.Now()
		r.ask(ctx, func(c *ClientCredentials, tok Token, warning string, err error) {
			c.settle(tok, warning, err, start)
			result := &results[at[c]]
			result.Token, result.Warning, result.Err = tok, warning, err
		})
	}
	return results
}
