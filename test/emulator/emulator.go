// Package emulator is Globus in one process, as far as a service account sees it:
// Auth issues tokens, which expire and are revoked; in Transfer collections are
// searched and listed, and tasks are submitted and finish; Flows runs flows, and
// collections keep files over HTTPS. Tests, benchmarks and `bearerd demo` share it.
//
// An Emulator is an http.Handler and nothing more. It opens no listener, starts
// no goroutine and keeps no timer beyond one request, so it also lives behind a
// net.Pipe or inside a testing/synctest bubble. What arrives is kept as Records;
// what goes wrong is arranged beforehand with FailTokens, FailRequests, Revoke
// and the Set knobs, all safe for concurrent use and effective at once.
//
// It is faithful where bearerd depends on Globus (statuses, error shapes,
// headers, scopes in brackets) and small elsewhere. It follows RFC 6749 §4.4
// and §5, RFC 7662 for introspection, and the habits of Globus where the two
// differ. It is no place for real credentials.
package emulator

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// What an Emulator accepts unless its Config says otherwise. The secret has the
// form Globus gives secrets (32 bytes in base64) and opens nothing else.
const (
	DemoClientID     = "0b6a9f6e-7d0c-4c1f-9c0e-6a1c2b5d4e3f"
	DemoClientSecret = "bearerd/demo+this/opens+the/emulator+only/0="
)

// The scopes most clients ask for, each list for one resource server.
const (
	AuthScopes    = "openid profile email"
	TransferScope = "urn:globus:auth:scope:transfer.api.globus.org:all"
)

// The resource servers the Emulator itself is; it issues tokens for more.
const (
	authServer     = "auth.globus.org"
	transferServer = "transfer.api.globus.org"
)

// Config says what a new Emulator holds. The zero value is usable.
type Config struct {
	ClientID     string        // default DemoClientID
	ClientSecret string        // default DemoClientSecret
	Lifetime     time.Duration // of tokens; default 48h. Whole seconds go out as expires_in
	Endpoints    int           // collections the service account owns, the mapped ones among them; default 3
	Mapped       int           // how many of them, the last ones, are mapped and want data_access consent; default 1
	TaskPolls    int           // GETs of a task that answer ACTIVE before SUCCEEDED; default 1, -1 means none
}

func (c Config) withDefaults() Config {
	if c.ClientID == "" {
		c.ClientID = DemoClientID
	}
	if c.ClientSecret == "" {
		c.ClientSecret = DemoClientSecret
	}
	if c.Lifetime == 0 {
		c.Lifetime = 48 * time.Hour
	}
	if c.Endpoints <= 0 {
		c.Endpoints = 3
	}
	if c.Mapped <= 0 {
		c.Mapped = 1
	}
	c.Mapped = min(c.Mapped, c.Endpoints)
	switch {
	case c.TaskPolls == 0:
		c.TaskPolls = 1
	case c.TaskPolls < 0:
		c.TaskPolls = 0
	}
	return c
}

// Emulator is one Globus with one client. Create it with New.
type Emulator struct {
	clientID    string
	taskPolls   int
	auth        *api
	transfer    *api
	flows       *api
	scopes      map[string]string // known scope to its resource server
	collections []collection

	secret   atomic.Pointer[string]
	lifetime atomic.Int64 // time.Duration
	delay    atomic.Int64 // time.Duration; of the token endpoint

	tokens        tokens
	consents      consents
	tasks         tasks
	runs          runs
	files         files
	tokenFaults   faults
	requestFaults faults
	journal       journal
}

// New returns an Emulator that has issued no token and seen no request.
func New(cfg Config) *Emulator {
	cfg = cfg.withDefaults()
	e := &Emulator{
		clientID:    cfg.ClientID,
		taskPolls:   cfg.TaskPolls,
		scopes:      knownScopes(),
		collections: makeCollections(cfg.Endpoints, cfg.Mapped),
	}
	e.auth = &api{name: "auth", routes: e.authRoutes(), refuse: refuseAuth}
	e.transfer = &api{name: "transfer", routes: e.transferRoutes(), refuse: refuseTransfer}
	e.flows = &api{name: "flows", routes: e.flowsRoutes(), refuse: refuseFlows}
	e.SetSecret(cfg.ClientSecret)
	e.SetLifetime(cfg.Lifetime)
	return e
}

// ServeHTTP answers Auth's paths as Auth and every other as Transfer.
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, prefix := range []string{"/v2/oauth2/", "/v2/api/", "/.well-known/", "/jwk.json"} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			e.serve(e.auth, w, r)
			return
		}
	}
	e.serve(e.transfer, w, r)
}

// Auth returns auth.globus.org alone; Transfer's paths are unknown to it.
func (e *Emulator) Auth() http.Handler { return e.handler(e.auth) }

// Transfer returns transfer.api.globus.org alone; Auth's paths are unknown to it.
func (e *Emulator) Transfer() http.Handler { return e.handler(e.transfer) }

// Flows returns flows.automate.globus.org with the flows of FlowIDs, which run
// until they are resumed. Running, validating and resuming one want a token whose
// resource server is that flow; the rest wants one for flows.globus.org.
func (e *Emulator) Flows() http.Handler { return e.handler(e.flows) }

// Collection returns the HTTPS server of one collection, any UUID: GET, HEAD and
// PUT of files of up to 1 MiB, kept in memory, one range or several. Without a
// live token whose resource server is the collection it answers as the real one
// does, not with 401 but with a redirect to Auth's login page.
func (e *Emulator) Collection(id string) http.Handler {
	return e.handler(&api{name: "collection", refuse: refuseCollection,
		serve: func(c *call) answer { return e.serveFile(c, id) }})
}

func (e *Emulator) handler(a *api) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.serve(a, w, r) })
}

// SetLifetime sets how long tokens issued from now on live. Tokens of zero or
// less are expired when they arrive.
func (e *Emulator) SetLifetime(d time.Duration) { e.lifetime.Store(int64(d)) }

// SetSecret rotates the client's secret: from now on only this one is accepted.
// Tokens already issued stay live.
func (e *Emulator) SetSecret(secret string) { e.secret.Store(&secret) }

// SetTokenDelay makes the token endpoint wait d before it answers, also before
// it fails. A caller that goes away meanwhile gets no token; its record has
// status 499.
func (e *Emulator) SetTokenDelay(d time.Duration) { e.delay.Store(int64(d)) }

// Revoke refuses every live token of a resource server from now on, or every
// live token if resourceServer is "". It returns how many there were.
func (e *Emulator) Revoke(resourceServer string) int { return e.tokens.revoke(resourceServer) }

// FailTokens makes the next n requests to the token endpoint answer f. Calls
// queue up behind each other; n of 0 or less empties the queue.
func (e *Emulator) FailTokens(n int, f Failure) { e.tokenFaults.add(n, f) }

// FailRequests makes the next n requests to anything but the token endpoint
// answer f. Calls queue up behind each other; n of 0 or less empties the queue.
func (e *Emulator) FailRequests(n int, f Failure) { e.requestFaults.add(n, f) }

// EndpointIDs returns the ids of all collections, in the order endpoint_search
// lists them. They are the same in every Emulator of the same size.
func (e *Emulator) EndpointIDs() []string {
	ids := make([]string, len(e.collections))
	for i, c := range e.collections {
		ids[i] = c.id
	}
	return ids
}

// MappedCollection returns the id of a collection that wants data_access consent
// before it is listed or written to: the last of EndpointIDs. Config.Mapped makes
// those before it want it too. The consent of a service account is a grant of the
// scope, and is remembered for each collection and the service that asks on its
// behalf: consent for Timers is none for Transfer.
func (e *Emulator) MappedCollection() string { return e.collections[len(e.collections)-1].id }

// FlowIDs returns the ids of the two flows there are, the same in every Emulator.
func (e *Emulator) FlowIDs() []string { return []string{flowID(1), flowID(2)} }

// Consented reports whether a service ("transfer.api.globus.org", or another's
// resource server) may use a collection's data_access on the client's behalf.
func (e *Emulator) Consented(collection, service string) bool {
	return e.consents.has(consent{collection, service})
}
