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
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Deps are what a Set needs from others. Observe may be nil.
type Deps struct {
	Transport http.RoundTripper // to the token endpoints; comparable, as a pointer is
	// NewTransport makes one for a client with TLS settings or a forward proxy (""
	// for the usual way) of its own. It may be nil where no client has.
	NewTransport func(settings *tls.Config, proxyURL Secret) (http.RoundTripper, error)
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
		s.clients[name] = s.keptClient(made, old)
		s.versions[name] = s.clients[name].version()
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

// keptClient returns the client of old that is the same as made, or made.
func (s *Set) keptClient(made *client, old *Set) *client {
	if old == nil || s.deps.Transport != old.deps.Transport {
		return made
	}
	for _, name := range names(old.clients) {
		if was := old.clients[name]; made.same(was) {
			return was
		}
	}
	return made
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

// Warm has every credential by grant that has no token get one: from the store,
// or by one token request for all of a client's. It returns at once; who needs one
// of the tokens waits for it as for any other. It makes a further request only for
// credentials of a resource server that the request already has: in one request
// the narrower of the two would become the broader. Where the endpoint refuses the
// request for a scope, each credential asks for itself, so that only the one with
// that scope goes without.
func (s *Set) Warm(ctx context.Context) {
	var cold []*ClientCredentials
	for _, name := range names(s.members) {
		if c, ok := s.members[name].(*ClientCredentials); ok && c.current.Load() == nil {
			cold = append(cold, c)
		}
	}
	for _, r := range rounds(cold) {
		warmed := make(chan struct{})
		var begun atomic.Bool
		for _, c := range r {
			c.flight.DoChan("", func() (v any, err error) {
				defer recovered(&err)
				if begun.CompareAndSwap(false, true) {
					defer close(warmed) // also after a panic: the others wait for it
					r.warm(context.WithoutCancel(ctx))
				} else {
					<-warmed
				}
				return c.outcome()
			})
		}
	}
}

// Run renews every token ahead of its end, and heeds secrets and token files that
// change, until ctx is done. It returns nil then; it has no other reason to return.
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
		outcomes := r.ask(ctx)
		for _, c := range r {
			got := outcomes[c]
			c.settle(got.token, got.warning, got.err, start)
			result := &results[at[c]]
			result.Token, result.Warning, result.Err = got.token, got.warning, got.err
		}
	}
	return results
}

// round is the credentials of one token request: of one client, and of different
// resource servers.
type round []*ClientCredentials

// rounds puts each credential into the first round of its client that is without
// its resource server. A server that names none in its answers has a round for
// each credential.
func rounds(members []*ClientCredentials) []round {
	var all []round
	for _, c := range members {
		at := slices.IndexFunc(all, func(r round) bool { return r.takes(c) })
		if at < 0 {
			all = append(all, round{c})
			continue
		}
		all[at] = append(all[at], c)
	}
	return all
}

func (r round) takes(c *ClientCredentials) bool {
	return !slices.ContainsFunc(r, func(other *ClientCredentials) bool {
		a, b := c.key, other.key
		return a.ResourceServer == "" || b.ResourceServer == "" || a.ResourceServer == b.ResourceServer ||
			a.Endpoint != b.Endpoint || a.ClientID != b.ClientID || a.Auth != b.Auth || !sameParameters(a.Parameters, b.Parameters)
	})
}

// granted is one credential's part of a token request's outcome.
type granted struct {
	token   Token
	warning string
	err     error
}

// ask makes the request, and where a scope spoils it, one for each credential.
func (r round) ask(ctx context.Context) map[*ClientCredentials]granted {
	outcomes := make(map[*ClientCredentials]granted, len(r))
	alone := len(r) == 1
	var tokens []Token
	var err error
	if !alone {
		var scopes []string
		for _, c := range r {
			scopes = append(scopes, c.key.Scopes...)
		}
		tokens, err = r[0].endpoint.Grant(ctx, scopes)
		alone = err != nil && (classOf(err) == ClassScope || classOf(err) == ClassRequest)
	}
	for _, c := range r {
		var got granted
		switch {
		case alone:
			if len(r) > 1 {
				c.count(time.Now())
			}
			got.token, got.warning, got.err = c.ask(ctx)
		case err != nil:
			got.err = err
		default:
			got.token, got.warning, got.err = c.pick(tokens)
		}
		outcomes[c] = got
	}
	return outcomes
}

// warm gets the first tokens of the round. Leases are taken in the order of keys,
// so that two processes that start together do not wait for each other; 5 s is the
// most that is waited for all of them.
func (r round) warm(ctx context.Context) {
	var bug error
	defer recovered(&bug) // who waits is told that there is no token
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 4*r[0].endpoint.timeout()+storeWait)
	defer cancel()
	turn, cancelTurn := context.WithTimeout(ctx, leaseWait)
	defer cancelTurn()
	var puts, releases []func()
	defer func() {
		go func() { // ends within the store's timeouts; nobody waits for it
			for _, do := range slices.Concat(puts, releases) {
				do()
			}
		}()
	}()
	var need round
	outcomes := map[*ClientCredentials]granted{}
	for _, c := range slices.SortedFunc(slices.Values(r), func(a, b *ClientCredentials) int { return strings.Compare(a.key.ID(), b.key.ID()) }) {
		if c.current.Load() != nil || c.resting(start) != nil {
			continue
		}
		if _, ok := c.fromStore(ctx); ok {
			continue
		}
		releases = append(releases, c.shelf.lease(turn, c.key))
		if _, ok := c.fromStore(ctx); ok {
			continue
		}
		if err := c.spend(time.Now()); err != nil {
			c.settle(Token{}, "", err, start)
			continue
		}
		need = append(need, c)
	}
	if len(need) > 0 {
		outcomes = need.ask(ctx)
	}
	for _, c := range need {
		got := outcomes[c]
		c.settle(got.token, got.warning, got.err, start)
		if got.err == nil {
			puts = append(puts, func() { c.shelf.put(context.WithoutCancel(ctx), c.key, got.token) })
		}
	}
}
