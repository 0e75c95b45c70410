package proxy

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
)

// Exchange is what is known about one request. It fills from top to bottom as
// the request goes down the line. It never holds a token, only its fingerprint.
type Exchange struct {
	ID     string // random, in every answer of bearerd's own and in the log
	Start  time.Time
	Method string
	Target string // the path as the caller sent it, raw, without query
	Query  string // with its "?", raw; never logged

	Peer     string // the other end of the connection, as an audit names it: address, user id
	Inbound  string // what became of the caller's own Authorization: "replaced", "refused"; "" if there was none
	Caller   string // as policy names it; "" if unknown
	Upstream string // "" if none
	Path     string // below the upstream's prefix, raw: decided on and forwarded

	Decision    string // "allow", "deny", or "" before it was made
	Rule        string // that decided; "" if none did
	Credential  string
	Fingerprint string // of the token last used
	TokenState  credentials.State
	TokenWait   time.Duration // for a token, all attempts together
	Attempts    int           // how often the request went to the upstream
	Consent     string        // the collection to whose data_access consent was granted while this request waited; "" for none
	Breaker     string        // its state when last asked: closed, half-open, open

	UpstreamTime time.Duration // until the upstream's response headers, all attempts together

	Status   int // what the caller was answered; 499 when they left before
	Received int64
	Total    time.Duration
	Code     string // of an answer of bearerd's own (contract: Bearerd-Error)
	Err      error  // why, safe to log
	Warning  string // what somebody should look at though it worked; safe to log

	sent      atomic.Int64          // the transport reads the body on a goroutine of its own
	sentWhole atomic.Bool           // the transport has read a body that is here to its end
	broken    atomic.Bool           // the caller's body broke off while it was read
	fault     atomic.Pointer[Error] // what to answer for that, if not that it broke off
	ending    sync.Mutex            // guards the field below
	ended     bool                  // finish has begun

	// ctx is the request's. Where net/http makes an attempt it is with this and not with
	// the one that ReverseProxy makes of it, in which that takes interim responses (1xx)
	// and has the transport count no more of them: here they are dropped, within the
	// bound on an answer's header.
	ctx    context.Context
	within exchangeContext // what ctx is

	response response    // what the caller is answered by
	told     http.Header // what the upstream's answer says; nil once the caller is told
	used     bool        // an attempt has the outbound request, and may still read it
	sending  counted     // the body, of the first attempt
	answer   answerBody  // likewise
	cut      error       // why the last attempt's broke off, if it was not for the caller's leaving

	// in is the server's own request. Nothing is ever assigned to it, but trailers
	// turn up in it, and in no copy of it.
	in *http.Request

	step           string         // of admit, the last that was taken
	as             string         // who calls, whatever shows it; "" but where a request is explained
	asked          policy.Request // what the decision is about; empty when nobody needs it any more
	closes         bool           // the answer is the connection's last
	origin         string         // of the page that sent the request, if it may; "" for none
	preflight      bool           // a page of origin asks what it may send
	requiredHeader string         // which the listener wants of every request; "" for none

	key          *policy.KeyHash // what the caller was told by, if by a key
	body         body            // as far as it was read
	hasKeys      bool            // some caller is known by a key
	inboundKnown bool            // the caller's Authorization is for bearerd: a placeholder, a key, or a token that tells who it is

	found   found
	sentTo  string // scheme and authority of a target in absolute-form, as they came; "" for a path
	prefix  string // what was cut off Target to make Path; "" on host routes
	line    *Upstream
	served  bool   // InFlight was told of it
	placed  bool   // it has one of the upstream's places
	release func() // gives back a place among those its rule allows at a time; nil for none
	bound   bound
}

// bound is a credential and the only place it may go.
type bound struct {
	authorizer credentials.Authorizer
	base       *url.URL // of the upstream it is for; nil if that is not known
	origin     string   // of base, scheme://host:port
	asked      []string // the scopes it is asked for with; nil if it is not by grant
}

// mayGo reports whether it may go to a URL.
func (b *bound) mayGo(to *url.URL) bool {
	if b.base != nil && to.Scheme == b.base.Scheme && to.Host == b.base.Host {
		return true // as is usual, and told at less cost
	}
	return originOf(to) == b.origin
}

// Sent is how many bytes of the request's body went to the upstream, all
// attempts together.
func (x *Exchange) Sent() int64 { return x.sent.Load() }

// An Observer is told of each Exchange once, after its response has ended, and
// does not keep it.
type Observer func(*Exchange)

type exchangeKey struct{}

// exchangeContext is the context of a request, in which exchangeOf finds the Exchange.
// It is part of that: one value a request, in one piece of memory.
type exchangeContext struct {
	context.Context
	x *Exchange
}

func (c *exchangeContext) Value(key any) any {
	if key == (exchangeKey{}) {
		return c.x
	}
	return c.Context.Value(key)
}

// begin makes the Exchange of a request and the copy of the request that carries
// it. Nothing is ever assigned to the server's own request: Go before 1.26.11
// loses track of the connection when its Body is replaced.
func begin(r *http.Request, held budget) (*Exchange, *http.Request) {
	x := &Exchange{in: r, ID: rand.Text(), Start: time.Now(), Method: r.Method, body: body{budget: held}}
	x.within = exchangeContext{r.Context(), x}
	x.ctx = &x.within
	return x, r.WithContext(x.ctx)
}

func exchangeOf(r *http.Request) *Exchange {
	return r.Context().Value(exchangeKey{}).(*Exchange)
}

// response notes what the caller is answered.
type response struct {
	http.ResponseWriter
	x        *Exchange
	draining *atomic.Bool
	wrote    bool
}

func (w *response) WriteHeader(status int) {
	if status < 200 {
		return // interim responses pass the checks on answers by; RFC 9110 §15.2 lets a proxy drop them
	}
	if !w.wrote {
		w.wrote = true
		w.x.Status = status
		if h := w.Header(); h["Content-Type"] == nil {
			h["Content-Type"] = nil // net/http would guess one where the upstream says none
		}
		setBrowserHeaders(w.Header(), w.x.origin)
		if w.draining.Load() || w.x.closes && w.x.in.ProtoMajor == 1 { // in HTTP/2 a request ends where its stream does
			w.Header().Set("Connection", "close") // in HTTP/2 it is GOAWAY
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	w.within(takeTime)
	n, err := w.ResponseWriter.Write(p)
	w.within(0)
	w.x.Received += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
