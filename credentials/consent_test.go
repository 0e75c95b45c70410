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
		if err := c.Consent(t.Context(), scope); err != nil || !g.Consented(g.MappedCollection(), transferServer) {
			t.Fatalf("Consent() = %v", err)
		}
		granted := time.Now()
		if !mustToken(t, c).Same(first) {
			t.Error("the token is another")
		}
		time.Sleep(consentKept - 1)
		var before *ConsentedError
		if err := c.Consent(t.Context(), scope); !errors.As(err, &before) || !before.At.Equal(granted) {
			t.Errorf("again: %v, want a ConsentedError", err)
		}
		wantRequests(t, g, 2)
		time.Sleep(1)
		if err := c.Consent(t.Context(), scope); err != nil {
			t.Errorf("later: %v", err)
		}
		wantRequests(t, g, 3)
	})
}

func TestConsent_ARefusalIsRememberedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		for range 10 {
			var refused *Error
			if err := c.Consent(t.Context(), wants(g.EndpointIDs()[0])); !errors.As(err, &refused) || refused.Code != "UNKNOWN_SCOPE_ERROR" {
				t.Fatalf("Consent() = %v", err)
			}
		}
		wantRequests(t, g, 1)
		time.Sleep(consentFailed)
		if err := c.Consent(t.Context(), wants(g.EndpointIDs()[0])); err == nil {
			t.Error("a minute later it was granted")
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
		if err := c.Consent(ctx, wants(g.MappedCollection())); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who could not wait: %v", err)
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := c.Consent(t.Context(), wants(g.MappedCollection())); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		wantRequests(t, g, 1)
	})
}

func TestConsent_RemembersNoMoreThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		for i := range maxConsents {
			_ = c.Consent(t.Context(), wants(fmt.Sprint(i)))
		}
		if err := c.Consent(t.Context(), wants(g.MappedCollection())); !errors.Is(err, errManyConsents) {
			t.Errorf("one more: %v", err)
		}
		wantRequests(t, g, maxConsents)
		time.Sleep(consentFailed)
		if err := c.Consent(t.Context(), wants(g.MappedCollection())); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}

func TestConsent_LeavesAnEndpointAloneThatRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.fails(emulator.Unavailable())
		c := transferCredential(g)
		_, _ = c.Token(t.Context())
		var resting *RestingError
		if err := c.Consent(t.Context(), wants(g.MappedCollection())); !errors.As(err, &resting) {
			t.Errorf("Consent() = %v", err)
		}
		wantRequests(t, g, 1)
	})
}

func TestConsent_APanicIsAnError(t *testing.T) {
	c := transferCredential(transport(func(*http.Request) (*http.Response, error) { panic(canary) }))
	if err := c.Consent(t.Context(), "x"); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("Consent() = %v", err)
	}
}
