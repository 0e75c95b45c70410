package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// ask sends one request through a breaker and says what became of it: answered,
// failed, refused or panicked.
func ask(ctx context.Context, b *breaker) (came string) {
	defer func() {
		if recover() != nil {
			came = "panicked"
		}
	}()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://up.example/", nil)
	resp, err := b.RoundTrip(carrying(req, &Exchange{}))
	var own *Error
	switch {
	case errors.As(err, &own) && own.Code == "breaker_open":
		return "refused"
	case err != nil:
		return "failed"
	}
	_ = resp.Body.Close()
	return "answered"
}

// tripped is a breaker that is open, and what its upstream is from then on.
func tripped(t *testing.T, next http.RoundTripper) *breaker {
	b := &breaker{answering(502), newCircuit()}
	for range breakerMinimum {
		ask(t.Context(), b)
	}
	if b.state() != "open" {
		t.Fatalf("after %d times 502 the breaker is %s", breakerMinimum, b.state())
	}
	b.next = next
	return b
}

func TestBreaker_CallersThatLeaveKeepItClosed(t *testing.T) {
	left := errors.New("context canceled")
	b := &breaker{&tripper{do: func(*http.Request) (*http.Response, error) { return nil, left }}, newCircuit()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 6 {
		ask(ctx, b)
	}
	t.Logf("after 6 callers that left in a row: %s", b.state())
	for range 10 * breakerMinimum {
		ask(ctx, b)
	}
	if b.state() != "closed" {
		t.Errorf("after callers that left the breaker is %s, want closed", b.state())
	}
}

func TestBreaker_AnswersAfterPanics(t *testing.T) {
	panics := &tripper{do: func(*http.Request) (*http.Response, error) { panic("transport") }}
	b := &breaker{panics, newCircuit()}
	for range 6 {
		if came := ask(t.Context(), b); came != "panicked" {
			t.Fatalf("a panic in a round trip: %s", came)
		}
	}
	if got := b.circuit.steps.Counts(); got.TotalFailures != 6 || got.Requests != 6 {
		t.Errorf("the circuit heard of %d outcomes of %d requests, want 6 of 6", got.TotalFailures, got.Requests)
	}
	b.next = answering(200)
	came := ask(t.Context(), b)
	t.Logf("after 6 panics in a row: %s, %s", b.state(), came)
	if came != "answered" {
		t.Errorf("after 6 panics: %s, want answered", came)
	}
}

func TestBreaker_WhatIsOursIsNotTheUpstreams(t *testing.T) {
	for _, err := range []error{
		&Error{Code: "overloaded"}, fmt.Errorf("sending: %w", &Error{Code: "internal"}), &unsentError{errAddressRefused},
	} {
		next := &tripper{do: func(*http.Request) (*http.Response, error) { return nil, err }}
		b := &breaker{next, newCircuit()}
		for range 3 * breakerMinimum {
			ask(t.Context(), b)
		}
		if b.state() != "closed" || next.asked != 3*breakerMinimum {
			t.Errorf("%v: %s after %d requests, want closed", err, b.state(), next.asked)
		}
	}
}

func TestBreaker_ProbesAfterAboutFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shortest, longest := time.Hour, time.Duration(0)
		for range 200 {
			b := tripped(t, answering(200))
			shortest, longest = min(shortest, b.circuit.rest), max(longest, b.circuit.rest)
			if came := ask(t.Context(), b); came != "refused" {
				t.Fatalf("open: %s, want refused", came)
			}
		}
		if shortest < 4*time.Second || longest > 6*time.Second || longest-shortest < time.Second {
			t.Errorf("open for %v to %v, want 5s give or take a fifth", shortest, longest)
		}
		b := tripped(t, answering(200))
		time.Sleep(b.circuit.rest)
		if came := ask(t.Context(), b); came != "refused" {
			t.Errorf("until the end of its rest: %s, want refused", came)
		}
		time.Sleep(time.Nanosecond)
		for i := range breakerProbes {
			if b.state() != "half-open" {
				t.Errorf("after %d probes: %s, want half-open", i, b.state())
			}
			ask(t.Context(), b)
		}
		if b.state() != "closed" {
			t.Errorf("after %d good probes: %s, want closed", breakerProbes, b.state())
		}
	})
}

func TestBreaker_SeveralProbesAtOnceAndOneFailureOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := make(chan int)
		next := roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: <-status, Header: http.Header{}, Body: http.NoBody}, nil
		})
		b := tripped(t, next)
		time.Sleep(b.circuit.rest + 1)
		came := make(chan string)
		for range breakerProbes + 3 {
			go func() { came <- ask(t.Context(), b) }() // ends when its answer came
		}
		for range 3 {
			if got := <-came; got != "refused" {
				t.Errorf("a probe too many: %s, want refused", got)
			}
		}
		for range breakerProbes - 1 {
			status <- 200
			<-came
		}
		status <- 502
		<-came
		if b.state() != "open" {
			t.Errorf("after a bad probe: %s, want open", b.state())
		}
	})
}

// What says nothing about the upstream does not use its probes up.
func TestBreaker_CallersThatLeaveDoNotWedgeProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := tripped(t, &tripper{do: func(*http.Request) (*http.Response, error) { return nil, context.Canceled }})
		time.Sleep(b.circuit.rest + 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 4 * breakerProbes {
			if came := ask(ctx, b); came != "failed" {
				t.Fatalf("a probe whose caller left: %s", came)
			}
		}
		b.next = answering(200)
		for range breakerProbes {
			if came := ask(t.Context(), b); came != "answered" {
				t.Fatalf("a probe after those: %s, want answered", came)
			}
		}
		if b.state() != "closed" {
			t.Errorf("%s, want closed", b.state())
		}
	})
}

// A probe counts when its headers came: the body may take as long as it likes.
func TestBreaker_StreamingProbesDoNotHoldItOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := tripped(t, answering(200))
		time.Sleep(b.circuit.rest + 1)
		for range breakerProbes {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://up.example/", nil)
			resp, err := b.RoundTrip(carrying(req, &Exchange{}))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }() // not yet
		}
		if b.state() != "closed" {
			t.Errorf("with %d answers under way: %s, want closed", breakerProbes, b.state())
		}
	})
}

func TestBreaker_NotEnabledIsNeverOpen(t *testing.T) {
	next := answering(502)
	b := &breaker{next: next}
	for range 3 * breakerMinimum {
		ask(t.Context(), b)
	}
	if next.asked != 3*breakerMinimum || b.state() != "" {
		t.Errorf("asked %d times of %d, state %q", next.asked, 3*breakerMinimum, b.state())
	}
}

// roundTripper is tripper for several at once.
type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }
