package proxy

import (
	"context"
	"net/http"
	"slices"
	"time"

	"bearerd/policy"
)

// unsentPauses are how long is waited before a request that never left is tried
// again.
var unsentPauses = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond}

// repeat is the RoundTripper that sends a request again where that does nothing twice:
// one that never left, whatever it is, and once one whose connection broke before an
// answer, if it only reads, is known to be idempotent, or of whose body nothing left:
// nobody executes half a request. Answers are never a reason:
// callers know best whether a 503 or a 429 is to be tried again. That is RFC 9110
// §9.2.2, but for PUT and DELETE, of which services differ. Beneath it the wire
// tries again by itself what met the end of a connection that was kept for it, before
// anything of it left.
type repeat struct{ next http.RoundTripper }

func (r repeat) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req)
	pauses, broke := unsentPauses, false
	for {
		x.Attempts++
		sent := time.Now()
		resp, err := r.next.RoundTrip(req)
		x.UpstreamTime += time.Since(sent)
		if err == nil || req.Context().Err() != nil {
			return resp, err
		}
		switch kind := faultOf(err); {
		case kind == faultUnsent && len(pauses) > 0 && mayPass(err):
			if !pause(req.Context(), pauses[0]) {
				return nil, err
			}
			pauses = pauses[1:]
		case kind == faultBroken && !broke && !x.mayBeDone():
			broke = true
		default:
			return nil, err
		}
		again, able := x.again(req)
		if !able {
			return nil, err
		}
		req = again
	}
}

// again returns a copy of a request with its body from the beginning, or false if
// that is gone, or is what broke.
func (x *Exchange) again(req *http.Request) (*http.Request, bool) {
	if x.broken.Load() || !x.canRepeat() {
		return nil, false
	}
	out := new(http.Request)
	*out = *req
	if req.GetBody == nil {
		return out, true
	}
	var err error
	out.Body, err = req.GetBody()
	return out, err == nil
}

// pause waits, and reports false if the request ends meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isIdempotent reports whether a request that was executed may be executed again:
// its method only reads, the caller says so, or the configuration does.
func (x *Exchange) isIdempotent() bool {
	switch x.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	if key := x.in.Header["Idempotency-Key"]; len(key) > 0 && key[0] != "" {
		return true
	}
	return slices.ContainsFunc(x.line.idempotent, func(p policy.Pattern) bool { return p.Match(x.Path) })
}
