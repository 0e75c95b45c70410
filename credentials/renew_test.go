package credentials

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"bearerd/test/emulator"
)

func TestClientCredentials_RenewsWhenMarginIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		first := mustToken(t, c)
		time.Sleep(days(2) - DefaultMargin - time.Nanosecond)
		if !mustToken(t, c).Same(first) {
			t.Error("another token before margin was left")
		}
		wantRequests(t, g, 1)
		time.Sleep(time.Nanosecond)
		if mustToken(t, c).Same(first) {
			t.Error("the same token with only margin left")
		}
		wantRequests(t, g, 2)
	})
}

func TestClientCredentials_MarginLongerThanTheTokensLifeIsNoRequestPerCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetLifetime(10 * time.Minute)
		c := transferCredential(g)
		c.margin = time.Hour
		for range 100 { // to 4 min 57 s
			mustToken(t, c)
			time.Sleep(3 * time.Second)
		}
		wantRequests(t, g, 1) // half its life is what counts
		mustToken(t, c)
		wantRequests(t, g, 2)
	})
}

func TestClientCredentials_NeverServesAnExpiredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetLifetime(10 * time.Minute)
		c := transferCredential(g)
		first := mustToken(t, c)
		g.fails(emulator.Unavailable())
		for range 400 { // 20 minutes
			tok, err := c.Token(t.Context())
			if err == nil && !time.Now().Before(first.ExpiresAt) {
				t.Fatalf("a token that ended %v ago was served", time.Since(first.ExpiresAt))
			}
			if err != nil && tok.Fingerprint() != "" {
				t.Fatal("a token came with an error")
			}
			time.Sleep(3 * time.Second)
		}
		if _, err := c.Token(t.Context()); err == nil {
			t.Error("Token() succeeded 10 minutes after the end of the last token")
		}
		g.heals()
		time.Sleep(longestBackoff)
		if mustToken(t, c).Same(first) {
			t.Error("the expired token came back")
		}
	})
}

// withWallMoved moves t's wall clock by whole seconds and leaves its monotonic reading.
func withWallMoved(t *testing.T, at time.Time, d time.Duration) time.Time {
	t.Helper()
	moved := at
	// The first word of a Time with a monotonic reading is a flag, 33 bits of
	// seconds since 1885, and 30 bits of nanoseconds.
	*(*uint64)(unsafe.Pointer(&moved)) += uint64(int64(d/time.Second)) << 30
	if moved.Sub(at) != 0 || moved.Round(0).Sub(at.Round(0)) != d {
		t.Fatal("time.Time is made otherwise than this test knows")
	}
	return moved
}

func TestToken_TheEarlierOfBothClocksIsBelieved(t *testing.T) {
	start := time.Now()
	tok := Token{ExpiresAt: start.Add(time.Hour), lifetime: time.Hour}
	for _, tt := range []struct {
		name string
		mono time.Duration // passed since the token came
		wall time.Duration // jump beside that
		want bool
	}{
		{"nothing happened", 0, 0, true},
		{"both clocks are before the end", 58 * time.Minute, 0, true},
		{"both are past it", time.Hour, 0, false},
		{"the machine slept for two hours and the monotonic clock stood still", 0, 2 * time.Hour, false},
		{"the wall clock was set back by two hours, and the token has ended", 61 * time.Minute, -2 * time.Hour, false},
		{"the wall clock was set back by two hours, and the token has not ended", 10 * time.Minute, -2 * time.Hour, true},
		{"the wall clock is a little ahead", 10 * time.Minute, 10 * time.Minute, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := withWallMoved(t, start.Add(tt.mono), tt.wall)
			if got := tok.usable(now, time.Minute); got != tt.want {
				t.Errorf("usable() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestEndpoint_ExpiresAtKeepsTheMonotonicReading(t *testing.T) {
	c := transferCredential(newGlobus())
	at := mustToken(t, c).ExpiresAt
	if at == at.Round(0) { // the comparison of == that sees the reading
		t.Error("ExpiresAt has only the wall clock")
	}
}

func TestToken_WithoutEndIsAlwaysUsable(t *testing.T) {
	tok := newToken("a", "Bearer a")
	if !tok.usable(time.Now().AddDate(100, 0, 0), time.Hour) {
		t.Error("usable() = false, want true")
	}
}

func TestClientCredentials_RestsLongerAfterEachFailureAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.fails(emulator.Unavailable())
		c := transferCredential(g)
		for i := range 9 {
			_, err := c.Token(t.Context())
			told, ok := errors.AsType[*RestingError](err)
			if most := min(time.Second<<i, time.Minute); !ok || told.Wait < time.Second || told.Wait > most {
				t.Fatalf("failure %d: %v, want to be told of 1s to %v of rest", i, err, most)
			}
			rest := told.Wait
			wantRequests(t, g, i+1)
			time.Sleep(rest - time.Millisecond)
			_, err = c.Token(t.Context())
			resting, ok := errors.AsType[*RestingError](err)
			if !ok || resting.Wait != time.Millisecond {
				t.Fatalf("after failure %d and nearly %v: %v, want 1ms more of rest", i, rest, err)
			}
			if failed, ok := errors.AsType[*Error](err); !ok || failed.Status != 503 || err.Error() != failed.Error() {
				t.Errorf("a resting error does not tell the last failure: %v", err)
			}
			wantRequests(t, g, i+1)
			time.Sleep(time.Millisecond)
		}
		g.heals()
		tok := mustToken(t, c)
		time.Sleep(tok.lifetime)
		g.fails(emulator.Unavailable())
		_, _ = c.Token(t.Context())
		_, err := c.Token(t.Context())
		if told, ok := errors.AsType[*RestingError](err); !ok || told.Wait != time.Second {
			t.Errorf("after a success the first failure tells %v, want 1s of rest", err)
		}
	})
}

func TestClientCredentials_OneMalformedAnswerHealsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.FailTokens(1, emulator.Malformed("html"))
		c := transferCredential(g)
		if _, err := c.Token(t.Context()); err == nil {
			t.Fatal("a login page was taken for a token")
		}
		time.Sleep(firstBackoff)
		mustToken(t, c)
	})
}

func TestClientCredentials_AWrongSecretIsProbedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetSecret("another")
		c := transferCredential(g)
		for i := range 8 {
			_, err := c.Token(t.Context())
			if failed, ok := errors.AsType[*Error](err); !ok || failed.Class != ClassClient || failed.Code != "UNAUTHORIZED" {
				t.Fatalf("Token() = %v, want the endpoint's no", err)
			}
			told, _ := errors.AsType[*RestingError](err)
			if told.Wait < firstProbe || told.Wait > longestProbe {
				t.Fatalf("a no rests for %v, want 30s to 5 min", told.Wait)
			}
			wantRequests(t, g, i+1)
			time.Sleep(told.Wait - 1)
			_, _ = c.Token(t.Context())
			wantRequests(t, g, i+1)
			time.Sleep(1)
		}
		g.SetSecret(emulator.DemoClientSecret)
		mustToken(t, c)
	})
}

func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		name       string
		failures   int
		class      Class
		retryAfter time.Duration
		least      time.Duration // by the smallest chance
		most       time.Duration // by the greatest
	}{
		{"first", 1, ClassNetwork, 0, time.Second, time.Second},
		{"second", 2, ClassServer, 0, time.Second, 2 * time.Second},
		{"sixth", 6, ClassServer, 0, time.Second, 32 * time.Second},
		{"seventh", 7, ClassMalformed, 0, time.Second, time.Minute},
		{"thousandth", 1000, ClassServer, 0, time.Second, time.Minute},
		{"a no, the first", 1, ClassClient, 0, 30 * time.Second, 30 * time.Second},
		{"a no, the second", 2, ClassScope, 0, 30 * time.Second, time.Minute},
		{"a no, the ninth", 9, ClassRequest, 0, 30 * time.Second, 5 * time.Minute},
		{"asked for more", 1, ClassRateLimited, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute},
		{"asked for less", 7, ClassRateLimited, 3 * time.Second, 3 * time.Second, time.Minute},
		{"a no, and asked for more", 1, ClassClient, time.Minute, time.Minute, time.Minute},
	} {
		least, most := backoff(tt.failures, tt.class, tt.retryAfter, 0), backoff(tt.failures, tt.class, tt.retryAfter, 1)
		if least != tt.least || most != tt.most {
			t.Errorf("%s: backoff is %v to %v, want %v to %v", tt.name, least, most, tt.least, tt.most)
		}
	}
}

func TestRenewalAge(t *testing.T) {
	for _, tt := range []struct {
		name         string
		life, margin time.Duration
		least, most  time.Duration
	}{
		{"a two-day token waits for 75 to 90 % of its life", 48 * time.Hour, time.Minute, 36 * time.Hour, 43*time.Hour + 12*time.Minute},
		{"a token of ten minutes, of which the margin is a tenth", 10 * time.Minute, time.Minute, 450 * time.Second, 540 * time.Second},
		{"a token of five minutes is served for four", 5 * time.Minute, time.Minute, 3 * time.Minute, 216 * time.Second},
		{"a token of a minute is served for half of it", time.Minute, time.Minute, 22500 * time.Millisecond, 27 * time.Second},
		{"no margin", time.Hour, 0, 45 * time.Minute, 54 * time.Minute},
	} {
		least, most := renewalAge(tt.life, tt.margin, 0), renewalAge(tt.life, tt.margin, 1)
		if (least-tt.least).Abs() > time.Millisecond || (most-tt.most).Abs() > time.Millisecond {
			t.Errorf("%s: renewalAge is %v to %v, want %v to %v", tt.name, least, most, tt.least, tt.most)
		}
		if served := tt.life - effectiveMargin(tt.life, tt.margin); most > served {
			t.Errorf("%s: renewal may start at %v, after the token is served no more at %v", tt.name, most, served)
		}
	}
}

func TestClientCredentials_ARefusedTokenCosts200CallersOneRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		refused := mustToken(t, c)
		g.Revoke(transferServer)
		g.SetTokenDelay(time.Second)
		together(200, func(i int) {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond) // some find the newer token already
			if !c.Rejected(refused) {
				t.Error("Rejected() = false, want true: a newer token is there or on its way")
			}
			if tok, err := c.Token(t.Context()); err != nil || tok.Same(refused) {
				t.Errorf("Token() = %v, %v; want a newer token", tok, err)
			}
		})
		wantRequests(t, g, 2)
	})
}

func TestClientCredentials_ForgetsARefusedTokenAtMostOncePer10Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		first := mustToken(t, c)
		if !c.Rejected(first) {
			t.Fatal("the first refusal was not believed")
		}
		second := mustToken(t, c)
		if !c.Rejected(first) || !mustToken(t, c).Same(second) {
			t.Error("the refusal of an old token took the newer one away")
		}
		time.Sleep(forcedInterval - 1)
		if c.Rejected(second) || !mustToken(t, c).Same(second) {
			t.Error("a second token was forgotten within 10s of the first")
		}
		wantRequests(t, g, 2)
		time.Sleep(1)
		if !c.Rejected(second) || mustToken(t, c).Same(second) {
			t.Error("a refused token was kept after 10s")
		}
		wantRequests(t, g, 3)
	})
}

func TestClientCredentials_AnUpstreamThatRefusesEverythingCostsARequestPer10Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		c := transferCredential(g)
		for range 600 { // a minute of ten requests per second
			c.Rejected(mustToken(t, c))
			time.Sleep(100 * time.Millisecond)
		}
		wantRequests(t, g, 7) // the first token and six renewals
	})
}
