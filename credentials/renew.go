package credentials

import (
	"errors"
	"time"
)

const (
	firstBackoff     = time.Second
	longestBackoff   = time.Minute
	permanentBackoff = 30 * time.Second
	// forcedInterval bounds renewals that upstreams' refusals cause, so that one
	// endpoint that refuses every token cannot turn bearerd against Auth.
	forcedInterval = 10 * time.Second
)

// backoff is how long to leave the endpoint alone after the failures-th failed
// request in a row: 1 s doubling to 1 min, or 30 s when the endpoint said that
// the client or scope is wrong; longer if it asked for that.
func backoff(failures int, err error) time.Duration {
	wait := min(firstBackoff<<min(failures-1, 6), longestBackoff)
	var refused *Error
	if errors.As(err, &refused) {
		if !refused.Temporary() {
			wait = permanentBackoff
		}
		wait = max(wait, refused.RetryAfter)
	}
	return wait
}
