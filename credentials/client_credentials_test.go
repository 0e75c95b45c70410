package credentials

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

// together runs n goroutines and waits for them.
func together(n int, do func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { do(i) })
	}
	group.Wait()
}

func TestClientCredentials_ManyCallersShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(time.Second)
		c := transferCredential(g)
		tokens := make([]Token, 500)
		together(len(tokens), func(i int) {
			var err error
			if tokens[i], err = c.Token(t.Context()); err != nil {
				t.Errorf("Token() = %v", err)
			}
		})
		wantRequests(t, g, 1)
		for _, tok := range tokens {
			if !tok.Same(tokens[0]) {
				t.Fatal("two callers got different tokens")
			}
		}
	})
}

func TestClientCredentials_ManyCallersShareOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(time.Second)
		g.fails(emulator.Unavailable())
		c := transferCredential(g)
		together(500, func(int) {
			if _, err := c.Token(t.Context()); err == nil {
				t.Error("Token() succeeded, want an error")
			}
		})
		wantRequests(t, g, 1)
	})
}

func TestClientCredentials_FirstCallersCancelDoesNotDisturbTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(5 * time.Second)
		c := transferCredential(g)
		first, cancel := context.WithCancelCause(t.Context())
		left := errors.New("the caller hung up")
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := c.Token(first); !errors.Is(err, left) {
				t.Errorf("first caller: %v, want %v", err, left)
			}
		})
		synctest.Wait() // its request is under way
		for range 4 {
			group.Go(func() {
				if _, err := c.Token(t.Context()); err != nil {
					t.Errorf("another caller: %v, want a token", err)
				}
			})
		}
		time.Sleep(time.Second)
		cancel(left)
		group.Wait()
		wantRequests(t, g, 1)
	})
}

func TestClientCredentials_EveryCallerMayLeaveAndTheTokenIsStillKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(5 * time.Second)
		c := transferCredential(g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Token() = %v, want the deadline", err)
		}
		time.Sleep(5 * time.Second)
		mustToken(t, c)
		wantRequests(t, g, 1)
	})
}

func TestClientCredentials_EachWaiterLeavesAtItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(8 * time.Second)
		c := transferCredential(g)
		together(7, func(i int) {
			wait := time.Duration(i+1) * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			start := time.Now()
			_, err := c.Token(ctx)
			if took := time.Since(start); took != wait || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiter of %v left after %v with %v", wait, took, err)
			}
		})
		time.Sleep(2 * time.Second) // the request ends
		wantRequests(t, g, 1)
	})
}

func TestClientCredentials_ASilentEndpointFailsEverybodyAfter10Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(time.Hour)
		c := transferCredential(g)
		start := time.Now()
		together(20, func(int) {
			_, err := c.Token(t.Context())
			if failed, ok := errors.AsType[*Error](err); !ok || failed.Status != 0 || time.Since(start) != grantTimeout {
				t.Errorf("Token() = %v after %v, want an *Error without a status after 10s", err, time.Since(start))
			}
		})
	})
}

func TestClientCredentials_APanicIsAnErrorForAllAndTheNextCallWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		var panicked atomic.Bool
		c := transferCredential(transport(func(req *http.Request) (*http.Response, error) {
			if !panicked.Swap(true) {
				time.Sleep(time.Second)
				panic(canary)
			}
			return g.RoundTrip(req)
		}))
		var told []Renewal
		c.observe = func(r Renewal) { told = append(told, r) }
		together(50, func(int) {
			_, err := c.Token(t.Context())
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("Token() = %v, want an *Error", err)
			}
			wantNothingOf(t, "the error", fmt.Sprint(err), canary)
		})
		time.Sleep(firstBackoff)
		mustToken(t, c)
		wantRequests(t, g, 1)
		if len(told) != 2 || told[0].Err == nil || told[1].Err != nil {
			t.Errorf("%d renewals were told, want the panic's and the good one", len(told))
		}
	})
}

func TestClientCredentials_APanickingObserverCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, store := transferCredential(newGlobus()), NewMemory()
		c.shelf = &shelf{store: store}
		c.observe = func(Renewal) { panic(canary) }
		mustToken(t, c)
		c.shelf.settled()
		release, err := store.Lease(t.Context(), c.key)
		if err != nil {
			t.Fatal("the lease was not given back")
		}
		release()
	})
}

func TestClientCredentials_AuthorizeWritesTheTokenItReturns(t *testing.T) {
	c := transferCredential(newGlobus())
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+transferServer+"/", nil)
	req.Header["Authorization"] = []string{"Bearer callers", "Basic eDp5"}
	tok, err := c.Authorize(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := req.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+tok.Reveal() {
		t.Errorf("%d Authorization values, want the token's alone", len(got))
	}
}

func TestClientCredentials_AFailedAuthorizeLeavesTheRequestAlone(t *testing.T) {
	c := transferCredential(answers(500, nil, ""))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+transferServer+"/", nil)
	if _, err := c.Authorize(req); err == nil || len(req.Header) != 0 {
		t.Errorf("Authorize() = %v with %d headers, want an error and none", err, len(req.Header))
	}
}

func TestClientCredentials_ObserverIsToldOncePerRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(250 * time.Millisecond)
		c := transferCredential(g)
		var told []Renewal
		c.observe = func(r Renewal) { told = append(told, r) }
		callers := func() { together(100, func(int) { _, _ = c.Token(t.Context()) }) }

		callers()
		first := mustToken(t, c)
		c.Rejected(first)
		g.FailTokens(1, emulator.RateLimited("7"))
		callers() // fails
		callers() // served the first again, which has not ended
		time.Sleep(forcedInterval)
		c.Rejected(first)
		callers()

		if len(told) != 3 {
			t.Fatalf("%d renewals were told, want 3", len(told))
		}
		for i, want := range []struct {
			forced, failed bool
			retryIn        time.Duration
		}{{false, false, 0}, {true, true, 7 * time.Second}, {true, false, 0}} {
			got := told[i]
			if got.Credential != "transfer" || got.Forced != want.forced || (got.Err != nil) != want.failed || got.RetryIn != want.retryIn {
				t.Errorf("renewal %d was told as %+v, want %+v", i, got, want)
			}
			if got.Took != 250*time.Millisecond || (got.Token.Fingerprint() == "") != want.failed {
				t.Errorf("renewal %d took %v with token %v, want 250ms and a token exactly if it did not fail", i, got.Took, got.Token)
			}
		}
		if !told[0].Token.Same(first) || told[2].Token.Same(first) {
			t.Error("the tokens told are not those handed out")
		}
	})
}
