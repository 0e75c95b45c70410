package proxy

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	maxWaiting   = 256             // requests that wait for a place, of each upstream
	placeTimeout = 5 * time.Second // that one waits
)

// places are how many requests may be under way to one upstream at once. Some more
// wait for their turn, in order, for a moment; the others are told to come back.
type places struct {
	taken   chan struct{} // one in it for each
	waiting atomic.Int64
}

func newPlaces(most int) *places { return &places{taken: make(chan struct{}, most)} }

// take waits for a place. Its error is an Error, or that ctx was done before. Who
// gets one gives it back with leave, once.
func (p *places) take(ctx context.Context) error {
	select {
	case p.taken <- struct{}{}:
		return nil
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return crowded()
	}
	timer := time.NewTimer(placeTimeout)
	defer timer.Stop()
	select {
	case p.taken <- struct{}{}:
		return nil
	case <-timer.C:
		return crowded()
	case <-ctx.Done():
		return fmt.Errorf("waiting for a place: %w", context.Cause(ctx))
	}
}

// leave gives a place back.
func (p *places) leave() { <-p.taken }

func crowded() error {
	return &Error{Code: "overloaded", Key: "proxy.upstreams.limits.concurrency", RetryAfter: time.Second,
		Detail: "as many requests are under way to this upstream as its limits.concurrency allows, and as many wait as may, or one has waited as long; send the request again later"}
}
