package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	breakerWindow  = 10 * time.Second
	breakerBucket  = time.Second
	breakerOpen    = 5 * time.Second
	breakerProbes  = 5
	breakerMinimum = 20 // requests in the window before it may open
)

var (
	errUpstreamFailing = errors.New("upstream answered that it is failing")
	errCallerLeft      = errors.New("caller left") // or broke its body off
	errPanicked        = errors.New("panic")
)

// breaker is a RoundTripper that leaves an upstream alone for 5 s once half of
// at least 20 requests within 10 s failed: no answer, or 502, 503 or 504 without
// Retry-After. Callers hanging up, and broken bodies of theirs, do not count. It is told at response headers,
// so that a long answer does not hold a probe open.
type breaker struct {
	next    http.RoundTripper
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
}

func newBreaker(next http.RoundTripper) *breaker {
	return &breaker{next, gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  breakerProbes,
		Interval:     breakerWindow,
		BucketPeriod: breakerBucket,
		Timeout:      breakerOpen,
		IsExcluded:   func(err error) bool { return errors.Is(err, errCallerLeft) },
		ReadyToTrip: func(c gobreaker.Counts) bool {
			counted := c.TotalSuccesses + c.TotalFailures
			return counted >= breakerMinimum && c.TotalFailures*2 >= counted
		},
	})}
}

func (b *breaker) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req)
	done, err := b.circuit.Allow()
	x.Breaker = b.circuit.State().String()
	if err != nil {
		closeBody(req)
		return nil, &Error{Code: "breaker_open", RetryAfter: breakerOpen,
			Detail: "upstream " + x.Upstream + " keeps failing and is left alone for some seconds"}
	}
	outcome := errPanicked
	defer func() { done(outcome) }()
	resp, err := b.next.RoundTrip(req)
	outcome = outcomeOf(req, resp, err)
	return resp, err
}

// outcomeOf is what an attempt means for the breaker.
func outcomeOf(req *http.Request, resp *http.Response, err error) error {
	switch {
	case err != nil && (errors.Is(req.Context().Err(), context.Canceled) || exchangeOf(req).broken.Load()):
		return errCallerLeft
	case err != nil:
		return err
	case resp.StatusCode >= 502 && resp.StatusCode <= 504 && resp.Header.Get("Retry-After") == "":
		return errUpstreamFailing
	}
	return nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
