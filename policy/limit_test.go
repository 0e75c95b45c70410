package policy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func limitsOf(t *testing.T, rate string, concurrency int) *Limits {
	t.Helper()
	limits, err := LimitsConfig{rate, concurrency}.newLimits()
	if err != nil {
		t.Fatal(err)
	}
	return limits
}

func wantLimited(t *testing.T, err error, atLeast, atMost time.Duration) {
	t.Helper()
	var limited *LimitError
	if !errors.As(err, &limited) || limited.RetryAfter < atLeast || limited.RetryAfter > atMost {
		t.Errorf("Acquire() says %v, want to be told to come back in %v to %v", err, atLeast, atMost)
	}
}

func TestLimiter_LetsABurstThroughAndThenTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, limits, begin := NewLimiter(nil, &Policy{}), limitsOf(t, "5/s", 0), time.Now()
		for i := range 10 { // five at once, five by the rate
			release, err := l.Acquire(t.Context(), "r", limits, "cron")
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			release()
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("ten requests took %v, want 1s", took)
		}
	})
}

func TestLimiter_WaitsASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, limits := NewLimiter(nil, &Policy{}), limitsOf(t, "10/h", 0)
		if _, err := l.Acquire(t.Context(), "r", limits, "cron"); err != nil {
			t.Fatal(err)
		}
		for range 100 { // what is refused takes no turn
			begin := time.Now()
			_, err := l.Acquire(t.Context(), "r", limits, "cron")
			wantLimited(t, err, 359*time.Second, 360*time.Second)
			if time.Since(begin) != 0 {
				t.Errorf("a refusal took %v", time.Since(begin))
			}
		}
		if _, err := l.Acquire(t.Context(), "r", limits, "other"); err != nil {
			t.Errorf("another caller: %v", err)
		}
		if _, err := l.Acquire(t.Context(), "other", limits, "cron"); err != nil {
			t.Errorf("another rule: %v", err)
		}
		time.Sleep(359 * time.Second)
		begin := time.Now()
		if _, err := l.Acquire(t.Context(), "r", limits, "cron"); err != nil || time.Since(begin).Round(time.Millisecond) != time.Second {
			t.Errorf("a second before its turn: %v after %v, want it after 1s", err, time.Since(begin))
		}
	})
}

func TestLimiter_GivesBackATurnThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, limits := NewLimiter(nil, &Policy{}), limitsOf(t, "1/s", 1)
		release, err := l.Acquire(t.Context(), "r", limits, "cron")
		if err != nil {
			t.Fatal(err)
		}
		release()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second/2, errors.New("gone"))
		defer cancel()
		if _, err := l.Acquire(ctx, "r", limits, "cron"); err == nil || err.Error() != "gone" {
			t.Errorf("Acquire() = %v, want why the caller left", err)
		}
		if release, err = l.Acquire(t.Context(), "r", limits, "cron"); err != nil {
			t.Errorf("after one who left: %v", err)
		} else {
			release()
		}
	})
}

func TestLimiter_RefusesMoreAtATime(t *testing.T) {
	l, limits := NewLimiter(nil, &Policy{}), limitsOf(t, "", 2)
	first, err1 := l.Acquire(t.Context(), "r", limits, "cron")
	_, err2 := l.Acquire(t.Context(), "r", limits, "cron")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	_, err := l.Acquire(t.Context(), "r", limits, "cron")
	wantLimited(t, err, time.Second, time.Second)
	if want := "rule r keeps caller cron to concurrency 2; try again in 1s"; err.Error() != want {
		t.Errorf("says %q, want %q", err, want)
	}
	if _, err := l.Acquire(t.Context(), "r", limits, "other"); err != nil {
		t.Errorf("another caller: %v", err)
	}
	first()
	first() // ends once only
	if _, err := l.Acquire(t.Context(), "r", limits, "cron"); err != nil {
		t.Errorf("after one ended: %v", err)
	}
	_, err = l.Acquire(t.Context(), "r", limits, "cron")
	wantLimited(t, err, time.Second, time.Second)
	if release, err := l.Acquire(t.Context(), "free", nil, "cron"); err != nil {
		t.Errorf("without limits: %v", err)
	} else {
		release()
	}
}

func TestLimiter_ARefusalTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, limits := NewLimiter(nil, &Policy{}), limitsOf(t, "1/m", 1)
		u := l.use(limited{"r", "cron", *limits})
		u.enter(1)
		_, err := l.Acquire(t.Context(), "r", limits, "cron")
		wantLimited(t, err, time.Second, time.Second)
		u.leave()
		if _, err := l.Acquire(t.Context(), "r", limits, "cron"); err != nil {
			t.Errorf("the turn is gone: %v", err)
		}
	})
}

func TestLimiter_CountsOnOverAReload(t *testing.T) {
	limiting := func(rate string) *Policy {
		r := byHand("r", "GET", "/v1")
		r.Limits = LimitsConfig{Rate: rate, Concurrency: 1}
		return newPolicy(t, r, byHand("other", "GET", "/v2"))
	}
	acquire := func(l *Limiter, p *Policy) error {
		_, err := l.Acquire(t.Context(), "r", p.Decide(ask(Local, "example", "GET", "/v1")).Limits, Local)
		return err
	}
	p := limiting("5/s")
	l := NewLimiter(nil, p)
	if err := acquire(l, p); err != nil {
		t.Fatal(err)
	}
	same, other := limiting("5/s"), limiting("6/s")
	if err := acquire(NewLimiter(l, same), same); err == nil {
		t.Error("the same limits began anew")
	}
	changedTo := NewLimiter(l, other)
	if len(changedTo.uses) != 0 {
		t.Errorf("%d uses of limits that are gone are kept", len(changedTo.uses))
	}
	if err := acquire(changedTo, other); err != nil {
		t.Errorf("other limits: %v", err)
	}
}

func TestLimits_Burst(t *testing.T) {
	for rate, want := range map[string]int{"5/s": 5, "100/m": 2, "10/h": 1, "60/m": 1, "61/m": 2} {
		if got := limitsOf(t, rate, 0).burst(); got != want {
			t.Errorf("burst of %s is %d, want %d", rate, got, want)
		}
	}
	if got := limitsOf(t, "", 0); got != nil {
		t.Errorf("no limits are %+v, want nil", got)
	}
}
