package identity

import (
	"context"
	"fmt"
	"time"

	"bearerd/policy"
)

// fetchTimeout bounds whatever is asked of others on behalf of a token.
const fetchTimeout = 10 * time.Second

// flight is one question to others that any number of callers wait for.
type flight[T any] struct {
	done  chan struct{} // closed once the fields below are set
	value T
	err   error
}

// launch asks in the background, so that a caller that hangs up takes the answer
// from nobody else. The goroutine ends with ask, whose context is done after
// fetchTimeout; only a file system that hangs keeps it longer. landed is told of the answer before
// those who wait are.
func launch[T any](ctx context.Context, ask func(context.Context) (T, error), landed func(T, error)) *flight[T] {
	f := &flight[T]{done: make(chan struct{})}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		defer close(f.done)
		defer func() {
			if recover() != nil { // in a goroutine of its own it would end the process
				var none T
				f.value, f.err = none, cannotTell("checking it broke off within bearerd")
			}
			landed(f.value, f.err)
		}()
		f.value, f.err = ask(ctx)
	}()
	return f
}

// wait returns the answer, or an error once ctx is done or the answer is long
// overdue.
func (f *flight[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-time.After(fetchTimeout + time.Second):
		var none T
		return none, cannotTell("what it takes to ask about it cannot be read")
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w: waiting for the answer: %w", policy.ErrCannotTell, context.Cause(ctx))
	}
}
