package credentials

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

// wants is the scope of consent to a collection.
func wants(collection string) string {
	return emulator.TransferScope + "[*https://auth.globus.org/scopes/" + collection + "/data_access]"
}

func TestConsent_LeavesTheTokenAndIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		first, scope := mustToken(t, c), wants(g.MappedCollection())
		if err := c.Consent(t.Context(), scope, nil); err != nil || !g.Consented(g.MappedCollection(), transferServer) {
			t.Fatalf("Consent() = %v", err)
		}
		granted := time.Now()
		if !mustToken(t, c).Same(first) {
			t.Error("the token is another")
		}
		time.Sleep(consentKept - 1)
		var before *ConsentedError
		if err := c.Consent(t.Context(), scope, nil); !errors.As(err, &before) || !before.At.Equal(granted) {
			t.Errorf("again: %v, want a ConsentedError", err)
		}
		wantRequests(t, g, 2)
		time.Sleep(1)
		if err := c.Consent(t.Context(), scope, nil); err != nil {
			t.Errorf("later: %v", err)
		}
		wantRequests(t, g, 3)
	})
}

func TestConsent_ARefusalOfTheScopeIsRememberedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		for range 10 {
			var refused *Error
			if err := c.Consent(t.Context(), wants(g.EndpointIDs()[0]), nil); !errors.As(err, &refused) || refused.Code != "UNKNOWN_SCOPE_ERROR" {
				t.Fatalf("Consent() = %v", err)
			}
		}
		wantRequests(t, g, 1)
		time.Sleep(consentKept)
		if err := c.Consent(t.Context(), wants(g.EndpointIDs()[0]), nil); err == nil {
			t.Error("later it was granted")
		}
		wantRequests(t, g, 2)
		mustToken(t, c) // the refusal of a consent is none of the token
	})
}

func TestConsent_AHundredWaitForOneGrantAndOneMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(5 * time.Second)
		c := transferCredential(g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Consent(ctx, wants(g.MappedCollection()), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who could not wait: %v", err)
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		wantRequests(t, g, 1)
	})
}

func TestConsent_CannotSpendWhatRenewalsNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		defer running(t, c)()
		first := mustToken(t, c)
		for range 4 { // in 40 min
			together(1000, func(i int) { _ = c.Consent(t.Context(), wants(fmt.Sprint(i)), nil) })
			time.Sleep(consentKept)
		}
		wantRequests(t, g, 1+consentBudget)
		if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); classOf(err) != ClassBudget {
			t.Errorf("one more: %v, want the class budget", err)
		}
		g.Revoke(transferServer)
		if !c.Rejected(first) || mustToken(t, c).Same(first) {
			t.Error("consents left nothing for the renewal of a refused token")
		}
		time.Sleep(time.Hour)
		if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

func TestConsent_AFailingEndpointIsAskedOnceAndLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		mustToken(t, c)
		g.fails(emulator.Failure{Status: 429, Header: http.Header{"Retry-After": {"300"}}})
		start, told := time.Now(), 0
		c.observeConsent = func(Consented) { told++ }
		for range 290 {
			together(10, func(i int) {
				if err := c.Consent(t.Context(), wants(fmt.Sprint(i)), nil); classOf(err) != ClassRateLimited {
					t.Errorf("Consent() = %v, want the class rate_limited", err)
				}
			})
			time.Sleep(time.Second)
		}
		wantRequests(t, g, 2)
		if told != 1 {
			t.Errorf("%d requests were told, want the one that was made", told)
		}
		g.heals()
		time.Sleep(time.Until(start.Add(5 * time.Minute)))
		if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); err != nil {
			t.Errorf("after what Retry-After said: %v", err)
		}
	})
}

func TestConsent_ThatWasNotAskedForCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		mustToken(t, c)
		g.SetTokenDelay(100 * time.Millisecond)
		g.fails(emulator.Unavailable())
		together(consentBudget, func(i int) { _ = c.Consent(t.Context(), wants(fmt.Sprint(i)), nil) })
		g.heals()
		wantRequests(t, g, 2)
		if s := c.status(time.Now()); s.FetchesLastHour != 2 {
			t.Errorf("%d requests are told, want the 2 that were made", s.FetchesLastHour)
		}
		time.Sleep(longestBackoff)
		if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); err != nil {
			t.Errorf("once it heals: %v", err)
		}
	})
}

// A consent that waits for its turn while the token's own scopes are refused was not
// refused itself.
func TestConsent_ThatWasNotAskedForIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(5 * time.Second)
		c := transferCredential(g)
		together(2, func(i int) {
			if i == 0 {
				_ = c.Consent(t.Context(), wants("first"), nil)
				return
			}
			time.Sleep(time.Second)
			go func() { // while the first is under way
				time.Sleep(2 * time.Second)
				c.settle(Token{}, "", c.endpoint.fail(400, "invalid_scope", ClassScope, "x"), time.Now())
			}()
			if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); err == nil {
				t.Error("consent was granted while the endpoint rests")
			}
		})
		time.Sleep(longestProbe)
		if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); err != nil {
			t.Errorf("after the rest: %v", err)
		}
	})
}

func TestConsent_ANewSecretEndsItsRestToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		mustToken(t, c)
		g.fails(emulator.Failure{Status: 401, Body: `{"error":"invalid_client"}`})
		_ = c.Consent(t.Context(), wants(g.MappedCollection()), nil)
		g.heals()
		c.endRest()
		if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); err != nil {
			t.Errorf("Consent() = %v", err)
		}
	})
}

func TestConsent_APanickingObserverCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		c.observeConsent = func(Consented) { panic(canary) }
		for i := range 2 {
			_ = c.Consent(t.Context(), wants(fmt.Sprint(i)), nil)
		}
		synctest.Wait()
		wantRequests(t, g, 2)
	})
}

func TestConsent_OneRequestAtATimeIsToldWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(time.Second)
		c := transferCredential(g)
		var told []Consented
		c.observeConsent = func(one Consented) { told = append(told, one) }
		start := time.Now()
		together(5, func(i int) {
			_ = c.Consent(t.Context(), wants(fmt.Sprint(i)), map[string]string{"request_id": fmt.Sprint(i)})
		})
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("5 consents of a second took %v, want one after the other", took)
		}
		synctest.Wait()
		if len(told) != 5 {
			t.Fatalf("%d were told, want 5", len(told))
		}
		for _, one := range told {
			if one.Scope != wants(one.Because["request_id"]) || one.Credential != "transfer" {
				t.Errorf("told %+v", one)
			}
		}
	})
}

func TestConsent_WithoutTheScopeIsNone(t *testing.T) {
	for name, answer := range map[string]transport{
		"another scope":           answers(http.StatusOK, nil, tokenIn(map[string]string{"scope": `"openid"`})),
		"another resource server": answers(http.StatusOK, nil, tokenIn(map[string]string{"resource_server": `"auth.globus.org"`})),
	} {
		c := transferCredential(answer)
		if err := c.Consent(t.Context(), wants("x"), nil); classOf(err) != ClassScope {
			t.Errorf("%s: %v, want the class scope", name, err)
		}
	}
}

func TestConsent_LeavesAnEndpointAloneThatRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.fails(emulator.Unavailable())
		c := transferCredential(g)
		_, _ = c.Token(t.Context())
		var resting *RestingError
		if err := c.Consent(t.Context(), wants(g.MappedCollection()), nil); !errors.As(err, &resting) {
			t.Errorf("Consent() = %v", err)
		}
		wantRequests(t, g, 1)
	})
}

func TestConsent_APanicIsAnError(t *testing.T) {
	c := transferCredential(transport(func(*http.Request) (*http.Response, error) { panic(canary) }))
	if err := c.Consent(t.Context(), "x", nil); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("Consent() = %v", err)
	}
}
