package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	breakerWindow  = 10 * time.Second
	breakerBucket  = time.Second
	breakerOpen    = 5 * time.Second // give or take a fifth
	breakerProbes  = 5
	breakerMinimum = 20 // requests in the window before it may open
)

var (
	errUpstreamFailing = errors.New("upstream answered that it is failing")
	errCallerLeft      = errors.New("caller left") // or broke its body off
	errOurs            = errors.New("not the upstream's doing")
	errPanicked        = errors.New("panic")
)

// circuit is what is known of one authority: scheme, host and port. It opens once
// half of at least 20 requests within 10 s failed, lets 5 probes through after 5 s,
// a little more or less so that bearerds do not come back all at once, and closes
// when all of them were answered.
type circuit struct {
	steps *gobreaker.TwoStepCircuitBreaker[struct{}]
	rest  time.Duration // that it stays open
}

func newCircuit() *circuit {
	c := &circuit{rest: breakerOpen*4/5 + rand.N(breakerOpen*2/5)}
	c.steps = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  breakerProbes,
		Interval:     breakerWindow,
		BucketPeriod: breakerBucket,
		Timeout:      c.rest,
		IsExcluded:   func(err error) bool { return errors.Is(err, errCallerLeft) || errors.Is(err, errOurs) },
		ReadyToTrip: func(c gobreaker.Counts) bool {
			counted := c.TotalSuccesses + c.TotalFailures
			return counted >= breakerMinimum && c.TotalFailures*2 >= counted
		},
	})
	return c
}

// breaker is a RoundTripper that leaves an upstream alone while its circuit is open.
// A failure is no answer, or 502, 503 or 504 without Retry-After. Callers hanging up,
// broken bodies of theirs, and what bearerd itself refuses do not count. The circuit
// is told at response headers, so that a long answer does not hold a probe open.
type breaker struct {
	next    http.RoundTripper
	circuit *circuit // nil: the upstream is asked whatever it answers
}

// state is closed, half-open or open; "" where there is no circuit.
func (b *breaker) state() string {
	if b.circuit == nil {
		return ""
	}
	return b.circuit.steps.State().String()
}

func (b *breaker) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req)
	if b.circuit == nil {
		return b.next.RoundTrip(req)
	}
	done, err := b.circuit.steps.Allow()
	x.Breaker = b.state()
	if err != nil {
		closeBody(req)
		return nil, &Error{Code: "breaker_open", RetryAfter: b.circuit.rest,
			Detail: "upstream " + x.Upstream + " keeps failing and is left alone for some seconds"}
	}
	outcome := errPanicked
	defer func() { done(outcome) }()
	resp, err := b.next.RoundTrip(req)
	outcome = outcomeOf(req, resp, err)
	return resp, err
}

// outcomeOf is what an attempt means for the circuit.
func outcomeOf(req *http.Request, resp *http.Response, err error) error {
	if err == nil {
		if resp.StatusCode >= 502 && resp.StatusCode <= 504 && resp.Header.Get("Retry-After") == "" {
			return errUpstreamFailing
		}
		return nil
	}
	var own *Error
	x := exchangeOf(req)
	switch {
	case errors.Is(req.Context().Err(), context.Canceled), x.broken.Load(), x.fault.Load() != nil:
		return errCallerLeft
	case errors.As(err, &own), errors.Is(err, errAddressRefused):
		return errOurs
	}
	return err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
