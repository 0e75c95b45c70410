package credentials

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Warm has every credential by grant that has no token get one: from the store,
// or by one token request for all of a client's. It returns at once; who needs one
// of the tokens waits for that as for any other. It makes a further request only for
// credentials of a resource server that the request already has: in one request
// the narrower of the two would become the broader. Where the endpoint refuses the
// request for a scope, each credential asks for itself, so that only the one with
// that scope goes without.
func (s *Set) Warm(ctx context.Context) {
	var cold []*ClientCredentials
	for _, name := range names(s.members) {
		if c, ok := s.members[name].(*ClientCredentials); ok && c.current.Load() == nil && c.renewing.CompareAndSwap(false, true) {
			cold = append(cold, c)
		}
	}
	for _, r := range rounds(cold) {
		ready := map[*ClientCredentials]func(){}
		for _, c := range r {
			told := make(chan struct{})
			ready[c] = sync.OnceFunc(func() {
				c.renewing.Store(false)
				close(told)
			})
			c.flight.DoChan("", func() (any, error) { // who comes meanwhile waits here
				<-told
				return c.outcome()
			})
		}
		go r.warm(context.WithoutCancel(ctx), ready) // ends with the round's requests, each of which has a timeout
	}
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
		a, b := c.key.ResourceServer, other.key.ResourceServer
		return a == "" || b == "" || a == b || c.endpoint != other.endpoint
	})
}

// ask makes the request, and where a scope spoils it, one for each credential. Each
// outcome is told as soon as it is there. Once the endpoint is out of reach, wants
// to be left alone, or refuses the client, no further request is made.
func (r round) ask(ctx context.Context, told func(c *ClientCredentials, tok Token, warning string, err error)) {
	alone := len(r) == 1
	var tokens []Token
	var err error
	if !alone {
		var scopes []string
		for _, c := range r {
			scopes = append(scopes, c.key.Scopes...)
		}
		tokens, err = r[0].endpoint.grant(ctx, scopes, r.count)
		if class := classOf(err); class == ClassScope || class == ClassRequest {
			alone, err = true, nil
		}
	}
	for _, c := range r {
		switch {
		case err != nil:
			told(c, Token{}, "", err)
		case alone:
			if len(r) > 1 {
				c.count()
			}
			tok, warning, failed := c.ask(ctx)
			told(c, tok, warning, failed)
			switch classOf(failed) {
			case "", ClassScope, ClassRequest, ClassMalformed: // says nothing of the next one
			default:
				err = failed
			}
		default:
			tok, warning, failed := c.pick(tokens)
			told(c, tok, warning, failed)
		}
	}
}

func (r round) count() {
	for _, c := range r {
		c.count()
	}
}

// warm gets the first tokens of the round, and says of each when it is ready: has
// its token, or goes without. Leases are taken in the order of keys, so that two
// processes that start together do not wait for each other; 5 s is the most that
// is waited for all of them.
func (r round) warm(ctx context.Context, ready map[*ClientCredentials]func()) {
	var bug error
	leases := map[*ClientCredentials]func(){}
	defer func() { // also after a panic: who waits is told that there is no token
		for _, c := range r {
			ready[c]()
			c.giveBack(leases[c], nil)
		}
	}()
	defer recovered(&bug)
	start := time.Now()
	cold := r.fromStores(ctx, ready)
	slices.SortFunc(cold, func(a, b *ClientCredentials) int { return strings.Compare(a.key.ID(), b.key.ID()) })
	turn, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	var need round
	for _, c := range cold {
		leases[c] = c.shelf.lease(turn, c.key, leaseWait)
		tok := c.current.Load()
		stored := tok != nil && tok.usable(time.Now(), c.margin) // by another renewal
		if !stored {
			_, stored = c.fromStore(ctx)
		}
		var err error
		if !stored {
			err = c.spend(time.Now())
		}
		switch {
		case err != nil:
			c.settle(Token{}, "", err, start)
			fallthrough
		case stored:
			ready[c]()
		default:
			need = append(need, c)
		}
	}
	if len(need) == 0 {
		return
	}
	need.ask(ctx, func(c *ClientCredentials, tok Token, warning string, err error) {
		c.settle(tok, warning, err, start)
		ready[c]()
		if err == nil {
			c.giveBack(leases[c], &tok)
			delete(leases, c)
		}
	})
}

// fromStores takes all that the store has, at once and without a lease, and returns
// those that it has none for.
func (r round) fromStores(ctx context.Context, ready map[*ClientCredentials]func()) round {
	var group sync.WaitGroup
	missing := make([]bool, len(r))
	for i, c := range r {
		group.Go(func() {
			if c.current.Load() == nil && c.resting(time.Now()) == nil {
				_, stored := c.fromStore(ctx)
				missing[i] = !stored
			}
			if !missing[i] {
				ready[c]()
			}
		})
	}
	group.Wait()
	var cold round
	for i, c := range r {
		if missing[i] {
			cold = append(cold, c)
		}
	}
	return cold
}
