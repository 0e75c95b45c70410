package credentials

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

// running has Run renew c's token until the returned function is called.
func running(t *testing.T, c *ClientCredentials) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { c.run(ctx) })
	return func() {
		cancel()
		group.Wait()
	}
}

func TestEngine_TenThousandColdRequestsCostOneTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(200 * time.Millisecond)
		c := transferCredential(g)
		var answered atomic.Int64
		start := time.Now()
		together(10_000, func(int) {
			if _, err := c.Token(t.Context()); err == nil {
				answered.Add(1)
			}
		})
		wantRequests(t, g, 1)
		if answered.Load() != 10_000 || time.Since(start) != 200*time.Millisecond {
			t.Errorf("%d were answered within %v, want all within 200ms", answered.Load(), time.Since(start))
		}
		t.Logf("10000 concurrent cold requests, 200 ms a token request: %d token request, %d answered in %v", g.requests(), answered.Load(), time.Since(start))
	})
}

func TestEngine_AFailingEndpointIsAskedOnceAStepAndLeftAloneAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(200 * time.Millisecond)
		g.fails(emulator.Unavailable())
		c := transferCredential(g)
		start := time.Now()
		together(1000, func(int) {
			if _, err := c.Token(t.Context()); err == nil {
				t.Error("Token() succeeded")
			}
			if took := time.Since(start); took > 300*time.Millisecond {
				t.Errorf("told after %v, want within the request's 200ms and 100ms more", took)
			}
		})
		wantRequests(t, g, 1)
		steps := 1
		for range 40 { // callers come as soon as the endpoint may be asked again
			time.Sleep(c.restLeft())
			together(50, func(int) {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				if _, err := c.Token(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Token() = %v, want the endpoint's failure", err)
				}
			})
			steps++
			wantRequests(t, g, steps)
		}
		time.Sleep(24 * time.Hour)
		wantRequests(t, g, steps)
		t.Logf("503 for 1000 concurrent and then 40 times 50 callers: %d requests in %d backoff steps, none in the 24 h after", g.requests(), steps)
	})
}

// restLeft is how long c leaves its endpoint alone yet.
func (c *ClientCredentials) restLeft() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restOver(time.Now())
}

func TestEngine_ADeadEndpointIsNotNoticedBeforeTheTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		defer running(t, c)()
		first := mustToken(t, c)
		time.Sleep(time.Hour)
		g.fails(emulator.Aborted())
		served, firstFailure := 0, time.Time{}
		for time.Since(first.ExpiresAt) < time.Hour {
			tok, err := c.Token(t.Context())
			switch {
			case err == nil && !time.Now().Before(first.ExpiresAt):
				t.Fatal("an expired token was served")
			case err == nil && tok.Same(first):
				served++
			case firstFailure.IsZero():
				firstFailure = time.Now()
			}
			time.Sleep(10 * time.Second)
		}
		if early := first.ExpiresAt.Add(-DefaultMargin); firstFailure.Before(early) {
			t.Errorf("the first failure came %v before the token ended, want none before its last minute", first.ExpiresAt.Sub(firstFailure))
		}
		requests := g.requests()
		g.heals()
		died := time.Now()
		for {
			if _, err := c.Token(t.Context()); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if healed := time.Since(died); healed > longestBackoff {
			t.Errorf("healed after %v, want within one backoff step", healed)
		}
		t.Logf("endpoint dead for 47 h of a 48 h token and an hour more: %d requests served, 0 failed before its last minute, %d token requests, healed in %v",
			served, requests, time.Since(died))
	})
}

func TestEngine_AHundredExpiriesStallNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetLifetime(time.Hour)
		g.SetTokenDelay(9 * time.Second) // as slow as can be
		c := transferCredential(g)
		defer running(t, c)()
		mustToken(t, c)
		waited, asked := 0, 0
		tokens := map[string]bool{}
		for len(tokens) <= 100 {
			start := time.Now()
			tok, err := c.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if time.Since(start) > 0 {
				waited++
			}
			asked++
			tokens[tok.Fingerprint()] = true
			time.Sleep(time.Second)
		}
		if waited > 0 {
			t.Errorf("%d requests waited for a token", waited)
		}
		t.Logf("%d expiries under %d requests: %d waited", len(tokens)-1, asked, waited)
	})
}

func TestEngine_ARevokedTokenCostsOneRenewalUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(200 * time.Millisecond)
		c := transferCredential(g)
		defer running(t, c)()
		mustToken(t, c)
		var failed, refused atomic.Int64
		call := func() bool { // as the proxy does: one replay after a refusal
			for range 2 {
				req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+transferServer+"/v0.10/task_list", nil)
				tok, err := c.Authorize(req)
				if err != nil {
					return false
				}
				resp, err := g.RoundTrip(req)
				if err != nil || resp.StatusCode != http.StatusUnauthorized {
					return err == nil
				}
				refused.Add(1)
				if !c.Rejected(tok) {
					return false
				}
			}
			return false
		}
		together(3000, func(i int) { // 1000 a second
			time.Sleep(time.Duration(i) * time.Millisecond)
			if i == 1000 {
				g.Revoke(transferServer)
			}
			if !call() {
				failed.Add(1)
			}
		})
		wantRequests(t, g, 2)
		if failed.Load() > 0 {
			t.Errorf("%d requests failed", failed.Load())
		}
		t.Logf("token revoked under 1000 requests a second: %d renewal, %d refused, %d of 3000 failed", g.requests()-1, refused.Load(), failed.Load())
	})
}

func TestEngine_TokenAllocatesNothing(t *testing.T) {
	c := transferCredential(newGlobus())
	ctx := t.Context()
	mustToken(t, c)
	c.mu.Lock() // what is looked up under a lock would wait for ever
	defer c.mu.Unlock()
	if allocations := testing.AllocsPerRun(1000, func() { _, _ = c.Token(ctx) }); allocations != 0 {
		t.Errorf("Token() allocates %v times, want 0", allocations)
	}
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+transferServer+"/", nil)
	allocations := testing.AllocsPerRun(1000, func() { _, _ = c.Authorize(req) })
	if allocations != 0 {
		t.Errorf("Authorize() allocates %v times, want 0", allocations)
	}
	t.Logf("allocations: token lookup and header %v, no lock", allocations)
}

func BenchmarkToken(b *testing.B) {
	c := transferCredential(newGlobus())
	if _, err := c.Token(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = c.Token(context.Background())
		}
	})
}

func TestEngine_ShortLivedTokensAreBoundedByAnIntervalAndABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetLifetime(2 * time.Second)
		c := transferCredential(g)
		store := &badStore{do: func(context.Context) (Token, error) { return Token{}, ErrMiss }}
		c.shelf = &shelf{store: store}
		told := 0
		c.observe = func(r Renewal) {
			if r.Class == ClassBudget {
				told++
			}
		}
		defer running(t, c)()
		for range 4 * 3600 {
			if _, err := c.Token(t.Context()); err != nil && classOf(err) != ClassBudget {
				t.Fatalf("Token() = %v, want a token or the class budget", err)
			}
			time.Sleep(250 * time.Millisecond)
		}
		if requests := g.requests(); requests > hourlyBudget || requests < hourlyBudget*9/10 {
			t.Errorf("%d token requests in an hour, want no more than %d and nearly as many", requests, hourlyBudget)
		}
		if asked := store.asked.Load(); told == 0 || told > 1000 || asked > 6*1000 {
			t.Errorf("the budget was told %d times and the store asked %d times in an hour, want each wait told once and the store left alone meanwhile", told, asked)
		}
		at := recordedTimes(g)
		for i := 1; i < len(at); i++ {
			if apart := at[i].Sub(at[i-1]); apart < minInterval {
				t.Fatalf("two token requests %v apart, want %v at least", apart, minInterval)
			}
		}
	})
}

func recordedTimes(g *globus) []time.Time {
	var at []time.Time
	for _, r := range g.Records() {
		at = append(at, r.Time)
	}
	return at
}

func TestEngine_ARefusedTokenIsUsedAgainWhereNoOtherCanBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		quirk := mustToken(t, c) // refused by one path only
		g.fails(emulator.Unavailable())
		if !c.Rejected(quirk) {
			t.Fatal("Rejected() = false for the first refusal")
		}
		if _, err := c.Token(t.Context()); err == nil {
			t.Error("a token came from an endpoint that fails")
		}
		if !mustToken(t, c).Same(quirk) {
			t.Error("the token that has not ended is not used again")
		}
		for range 100 {
			if c.Rejected(quirk) {
				t.Fatal("the token was dropped while the endpoint is left alone")
			}
			mustToken(t, c)
		}
		wantRequests(t, g, 2)
	})
}

func TestSet_WarmGetsAllOfAClientsTokensInOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(time.Second)
		set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g}, nil)
		set.Warm(t.Context())
		together(100, func(i int) { // who comes meanwhile waits for it
			mustTokenOf(t, set, []string{"auth", "transfer"}[i%2])
		})
		wantRequests(t, g, 1)
	})
}

func mustTokenOf(t *testing.T, s *Set, name string) Token {
	t.Helper()
	tok, err := member(t, s, name).Token(t.Context())
	if err != nil {
		t.Errorf("no token for %s: %v", name, err)
	}
	return tok
}

func TestSet_AScopeThatSpoilsTheRequestCostsItsOwnCredentialOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := globusConfig()
		cfg.Tokens["wrong"] = TokenConfig{ResourceServer: "x", Scopes: []string{"urn:globus:auth:scope:x:nobody_knows"}}
		g := newGlobus()
		set := newSet(t, cfg, emulator.DemoClientSecret, Deps{Transport: g}, nil)
		set.Warm(t.Context())
		mustTokenOf(t, set, "auth")
		mustTokenOf(t, set, "transfer")
		_, err := member(t, set, "wrong").Token(t.Context())
		if classOf(err) != ClassScope {
			t.Errorf("the credential with the wrong scope: %v, want class scope", err)
		}
		wantRequests(t, g, 4) // together, and then each for itself
		for _, s := range set.Status() {
			if s.FetchesLastHour != 2 {
				t.Errorf("%d requests are told of %s, want 2", s.FetchesLastHour, s.Credential)
			}
		}
	})
}

func TestSet_AnExtraScopeThatNobodyKnowsIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := globusConfig()
		plain := cfg.Tokens["transfer"].Scopes
		cfg.Tokens["transfer"] = TokenConfig{
			ResourceServer: transferServer, Fallback: plain,
			Scopes: []string{emulator.TransferScope + "[*https://auth.globus.org/scopes/00000000-0000-0000-0000-000000000000/data_access]"},
		}
		set := newSet(t, cfg, emulator.DemoClientSecret, Deps{Transport: newGlobus()}, nil)
		set.Warm(t.Context())
		mustTokenOf(t, set, "transfer")
		mustTokenOf(t, set, "auth")
		at := slices.IndexFunc(set.Status(), func(s Status) bool { return s.Credential == "transfer" })
		if status := set.Status()[at]; status.Warning == "" || status.State != StateFresh {
			t.Errorf("status %+v, want a fresh token and a warning", status)
		}
	})
}

func TestSet_OfSeveralExtraScopesTheOneThatNobodyKnowsSpoilsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, cfg := newGlobus(), globusConfig()
		good, bad := wants(g.MappedCollection()), wants("00000000-0000-0000-0000-000000000000")
		cfg.Tokens["transfer"] = TokenConfig{
			ResourceServer: transferServer, Fallback: cfg.Tokens["transfer"].Scopes, Extras: []string{good, bad},
			Scopes: []string{strings.TrimSuffix(good, "]") + " " + strings.TrimPrefix(bad, emulator.TransferScope+"[")},
		}
		var failed []string
		set := newSet(t, cfg, emulator.DemoClientSecret, Deps{Transport: g, ObserveConsent: func(c Consented) {
			if c.Err != nil {
				failed = append(failed, c.Scope)
			}
		}}, nil)
		set.Warm(t.Context())
		mustTokenOf(t, set, "transfer")
		synctest.Wait()
		if !g.Consented(g.MappedCollection(), transferServer) || len(failed) != 1 || failed[0] != bad {
			t.Errorf("consented %v, failed %q; want the good one, and the bad one told", g.Consented(g.MappedCollection(), transferServer), failed)
		}
		told := 0
		for _, s := range set.Status() {
			told += s.FetchesLastHour
		}
		if extra := 1; told != g.requests()+extra { // the first is auth's and transfer's
			t.Errorf("%d requests are told of, and %d were made", told, g.requests())
		}
	})
}

func TestClientCredentials_TheEndpointsTimeoutIsTheRenewalsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(50 * time.Second)
		c := transferCredential(g)
		c.endpoint.Timeout = time.Minute
		mustToken(t, c)
	})
}

func TestSet_RunRenewsAllAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		set.Warm(ctx)
		ended := make(chan error)
		go func() { ended <- set.Run(ctx) }()
		time.Sleep(44 * time.Hour) // 90 % of two days are over
		synctest.Wait()
		if got := g.requests(); got != 3 {
			t.Errorf("%d token requests, want the first and a renewal of each", got)
		}
		for _, s := range set.Status() {
			if s.State != StateFresh || s.FetchesLastHour > 1 || s.LastResult != "ok" {
				t.Errorf("status %+v, want a fresh one", s)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
}

func TestSet_TwoClientsOfOneIDAreNotAskedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, cfg := newGlobus(), globusConfig()
		cfg.Clients["bad"] = cfg.Clients["globus"]
		bad := newProjected(t, "no secret of Globus's")
		one := cfg.Clients["bad"]
		one.ClientSecret = References{bad.reference()}
		cfg.Clients["bad"] = one
		for name, client := range map[string]string{"auth": "bad", "transfer": "globus"} {
			token := cfg.Tokens[name]
			token.Client = client
			cfg.Tokens[name] = token
		}
		set := newSet(t, cfg, emulator.DemoClientSecret, Deps{Transport: g}, nil)
		set.Warm(t.Context())
		mustTokenOf(t, set, "transfer")
		if _, err := member(t, set, "auth").Token(t.Context()); classOf(err) != ClassClient {
			t.Errorf("with the wrong secret: %v, want the class client", err)
		}
	})
}

func TestSet_RunTriesAgainUntilATokenIsThereThoughNobodyAskedForOne(t *testing.T) {
	for name, required := range map[string]bool{"required": true, "optional": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, cfg := newGlobus(), globusConfig()
				g.fails(emulator.Aborted())
				for name, token := range cfg.Tokens {
					token.Required = &required
					cfg.Tokens[name] = token
				}
				set := newSet(t, cfg, emulator.DemoClientSecret, Deps{Transport: g}, nil)
				renewing(t, set)
				time.Sleep(10 * time.Minute)
				g.heals()
				time.Sleep(longestBackoff)
				synctest.Wait()
				for _, s := range set.Status() {
					if !s.Obtained {
						t.Errorf("status %+v, want a token", s)
					}
				}
			})
		})
	}
}
