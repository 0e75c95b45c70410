package credentials

import (
	"errors"
	"time"
)

const (
	earliestRenewal = 0.75 // of a token's life
	latestRenewal   = 0.90

	firstBackoff   = time.Second
	longestBackoff = time.Minute
	firstProbe     = 30 * time.Second // after a failure that somebody must see to
	longestProbe   = 5 * time.Minute

	// forcedInterval bounds renewals that upstreams' refusals cause, so that one
	// endpoint that refuses every token cannot turn bearerd against Auth.
	forcedInterval = 10 * time.Second
	// minInterval lies between two requests for one credential that succeed,
	// however short its tokens live.
	minInterval = 5 * time.Second
	// hourlyBudget is how many requests are made for one credential in any hour,
	// for whatever reason.
	hourlyBudget = 360
	// pollInterval is how often the clocks, the secrets and the token files are
	// looked at: a timer alone stands still while a machine is suspended.
	pollInterval = 5 * time.Second
)

// renewalAge is how old a token may get before its renewal starts: 75 to 90 % of
// its life, as chance (0 to 1) has it, so that many bearerds do not ask at once.
// Where the margin leaves less than 90 % of the life, it is 75 to 90 % of what
// it leaves.
func renewalAge(life, margin time.Duration, chance float64) time.Duration {
	part := earliestRenewal + (latestRenewal-earliestRenewal)*chance
	served := life - effectiveMargin(life, margin)
	if float64(served) < latestRenewal*float64(life) {
		life = served
	}
	return time.Duration(part * float64(life))
}

// effectiveMargin is the margin, but at most half the token's life: a longer one
// would ask for a new token at each request.
func effectiveMargin(life, margin time.Duration) time.Duration { return min(margin, life/2) }

// backoff is how long to leave the endpoint alone after the failures-th failed
// request in a row: with full jitter from 1 s to 1 min, or 30 s to 5 min once it
// has said that somebody must act; longer if it asked for that.
func backoff(failures int, class Class, retryAfter time.Duration, chance float64) time.Duration {
	first, longest := firstBackoff, longestBackoff
	if class.Permanent() {
		first, longest = firstProbe, longestProbe
	}
	step := min(first<<min(failures-1, 10), longest)
	wait := first + time.Duration(chance*float64(step-first))
	return max(wait, retryAfter)
}

// pace bounds the requests for one credential. Tests have shorter ones.
type pace struct {
	minInterval, forcedInterval time.Duration
	hourlyBudget                int
}

var usualPace = pace{minInterval, forcedInterval, hourlyBudget}

// ledger is when requests were made within the last hour, the oldest first.
type ledger struct{ made []time.Time }

// count forgets what is older than an hour and returns how many are left.
func (l *ledger) count(now time.Time) int {
	old := 0
	for old < len(l.made) && now.Sub(l.made[old]) >= time.Hour {
		old++
	}
	l.made = l.made[:copy(l.made, l.made[old:])]
	return len(l.made)
}

// wait is how long it is until the oldest is an hour old.
func (l *ledger) wait(now time.Time) time.Duration {
	if len(l.made) == 0 {
		return 0
	}
	return max(time.Hour-now.Sub(l.made[0]), 0)
}

func (l *ledger) add(now time.Time) { l.made = append(l.made, now) }

// classOf returns the class of a failed request; "" for none.
func classOf(err error) Class {
	var failed *Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &failed):
		return ClassNetwork
	}
	return failed.Class
}

// retryAfterOf returns how long the endpoint asked to be left alone.
func retryAfterOf(err error) time.Duration {
	var failed *Error
	if !errors.As(err, &failed) {
		return 0
	}
	return failed.RetryAfter
}
