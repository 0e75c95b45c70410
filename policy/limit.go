package policy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxWait is how long a request may wait for its turn.
const maxWait = time.Second

// Limits are what each caller may do by one rule.
type Limits struct {
	PerSecond   float64 // requests; 0 for any number
	Concurrency int     // requests at a time; 0 for any number
	text        string  // the rate as it is written
}

// burst is how many requests may come at once.
func (l Limits) burst() int { return max(1, int(math.Ceil(l.PerSecond))) }

// LimitError is a request that is one too many.
type LimitError struct {
	Rule, Caller string
	Limit        string        // what is kept, such as "rate 5/s"
	RetryAfter   time.Duration // when the next may come
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("rule %s keeps caller %s to %s; try again in %v", e.Rule, e.Caller, e.Limit, (e.RetryAfter + time.Second - 1).Truncate(time.Second))
}

// Limiter keeps rules' limits, for each caller by itself. Safe for concurrent use.
type Limiter struct {
	mu   sync.Mutex
	uses map[limited]*use
}

type limited struct {
	rule, caller string
	limits       Limits
}

// use is what one caller does by one rule.
type use struct {
	turns *rate.Limiter // nil for any rate

	mu  sync.Mutex // guards the field below, and keeps reservations in order
	now int        // requests under way
}

// NewLimiter returns a Limiter for a policy's rules. What is known from before of
// rules whose limits are the same counts on; before is nil at the start.
func NewLimiter(before *Limiter, p *Policy) *Limiter {
	l := &Limiter{uses: map[limited]*use{}}
	if before == nil {
		return l
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	for at, u := range before.uses {
		for _, r := range p.rules {
			if r.name == at.rule && r.limits != nil && *r.limits == at.limits {
				l.uses[at] = u
			}
		}
	}
	return l
}

// Acquire takes one of the requests that a rule's limits give its caller, and
// waits at most a second for its turn. Release must be called when the request
// has ended. The error is a *LimitError, or the context's cause. Nil limits are
// none.
func (l *Limiter) Acquire(ctx context.Context, rule string, limits *Limits, caller string) (release func(), err error) {
	if limits == nil {
		return func() {}, nil
	}
	u := l.use(limited{rule, caller, *limits})
	if !u.enter(limits.Concurrency) {
		return nil, &LimitError{rule, caller, "concurrency " + strconv.Itoa(limits.Concurrency), time.Second}
	}
	if wait, err := u.turn(ctx); err != nil || wait > 0 {
		u.leave()
		if err == nil {
			err = &LimitError{rule, caller, "rate " + limits.text, wait}
		}
		return nil, err
	}
	return sync.OnceFunc(u.leave), nil
}

func (l *Limiter) use(at limited) *use {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.uses[at]
	if u == nil {
		u = &use{}
		if at.limits.PerSecond > 0 {
			u.turns = rate.NewLimiter(rate.Limit(at.limits.PerSecond), at.limits.burst())
		}
		l.uses[at] = u
	}
	return u
}

func (u *use) enter(most int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if most > 0 && u.now >= most {
		return false
	}
	u.now++
	return true
}

func (u *use) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now--
}

// turn waits until the rate gives a request. If that takes too long it does not,
// and returns how long it would.
func (u *use) turn(ctx context.Context) (tooLong time.Duration, err error) {
	if u.turns == nil {
		return 0, nil
	}
	turn, wait := u.reserve()
	if wait == 0 || wait > maxWait {
		return wait, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0, nil
	case <-ctx.Done():
		turn.Cancel()
		return 0, context.Cause(ctx)
	}
}

// reserve takes the next turn unless that is too far off. Nobody may reserve
// between that and giving it back, or the rate would count turns nobody had.
func (u *use) reserve() (*rate.Reservation, time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	turn := u.turns.Reserve()
	wait := turn.Delay()
	if wait > maxWait {
		turn.Cancel()
	}
	return turn, wait
}

var perSecond = map[string]float64{"s": 1, "m": 60, "h": 3600}

// maxRate is more than anybody limits.
const maxRate = 1_000_000

// newLimits returns nil for none.
func (c LimitsConfig) newLimits() (*Limits, error) {
	limits := Limits{Concurrency: c.Concurrency, text: c.Rate}
	if c.Rate != "" {
		number, unit, _ := strings.Cut(c.Rate, "/")
		n, err := strconv.Atoi(number)
		if seconds := perSecond[unit]; err == nil && n > 0 && n <= maxRate && seconds > 0 {
			limits.PerSecond = float64(n) / seconds
		} else {
			return nil, errors.New("is no rate; write a whole number of requests a second, minute or hour, such as 5/s, 100/m or 10/h")
		}
	}
	if limits.PerSecond == 0 && limits.Concurrency == 0 {
		return nil, nil
	}
	return &limits, nil
}
