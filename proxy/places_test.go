package proxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlaces_SomeWaitAndTheOthersComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(3)
		for range 3 {
			if err := p.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		waiting := make(chan error, maxWaiting)
		for range maxWaiting {
			go func() { waiting <- p.take(t.Context()) }() // ends when it has its place, or not
		}
		synctest.Wait()
		start := time.Now()
		var own *Error
		if err := p.take(t.Context()); !errors.As(err, &own) || own.Code != "overloaded" || own.RetryAfter != time.Second || time.Since(start) != 0 {
			t.Errorf("with %d waiting: %v after %v, want overloaded at once", maxWaiting, err, time.Since(start))
		}
		time.Sleep(time.Second)
		p.leave()
		if err := <-waiting; err != nil || time.Since(start) != time.Second {
			t.Errorf("a place that is given back: %v after %v, want it taken at once", err, time.Since(start))
		}
		late := make(chan error)
		go func() { late <- p.take(t.Context()) }()
		refused := 0
		for range maxWaiting - 1 {
			if err := <-waiting; errors.As(err, &own) && own.Code == "overloaded" {
				refused++
			}
		}
		if refused != maxWaiting-1 || time.Since(start) != placeTimeout {
			t.Errorf("%d of %d that waited were refused after %v, want all after %v", refused, maxWaiting-1, time.Since(start), placeTimeout)
		}
		p.leave()
		if err := <-late; err != nil {
			t.Errorf("who came later: %v, want a place", err)
		}
		if n := p.waiting.Load(); n != 0 {
			t.Errorf("%d wait, want none", n)
		}
	})
}

func TestPlaces_WhoLeavesWaitsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(1)
		_ = p.take(t.Context())
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- p.take(ctx) }()
		synctest.Wait()
		cancel(errCallerLeft)
		if err := <-done; !errors.Is(err, errCallerLeft) || p.waiting.Load() != 0 {
			t.Errorf("%v with %d waiting, want that the caller left, and none", err, p.waiting.Load())
		}
		p.leave()
		if err := p.take(t.Context()); err != nil {
			t.Errorf("the place that nobody waited for any more: %v", err)
		}
	})
}

// More callers than places: never more at once than there are, and all get their turn.
func TestPlaces_NeverMoreAtOnce(t *testing.T) {
	p := newPlaces(4)
	inside, done := make(chan struct{}, 4), make(chan bool)
	for range 200 {
		go func() { // ends with the test, which waits for each
			err := p.take(t.Context())
			ok := err == nil
			if ok {
				select {
				case inside <- struct{}{}:
					<-inside
				default:
					ok = false
				}
				p.leave()
			}
			done <- ok
		}()
	}
	for range 200 {
		if !<-done {
			t.Error("a fifth was let in, or one had no turn")
		}
	}
}
