package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bearerd/credentials"
)

const (
	errorHeader      = "Bearerd-Error"
	statusCallerLeft = 499 // in logs only: nobody is there to be answered

	// retryNow asks for Retry-After: 0; RetryAfter 0 asks for none.
	retryNow = time.Nanosecond
)

// Error is an answer of bearerd's own. Its texts are bearerd's words and names
// from the configuration, never what an upstream or a token endpoint sent.
type Error struct {
	Code       string        // one of statuses
	Detail     string        // what was found and what to do
	Rule       string        // that decided
	Key        string        // of the configuration, that changes it
	RetryAfter time.Duration // 0: none
	Err        error         // why, for the log

	header http.Header // more to send
	status int         // in place of the code's usual one; 0: that
	oauth  string      // the error of RFC 6749 §5.2, where an OAuth client asks: it is answered in JSON
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// statuses are the codes and their HTTP statuses. A caller that tests the code
// can tell a fault of bearerd's own from the upstream's answers, which never
// carry the header. There is no 401 here but for callers that are unknown.
var statuses = map[string]int{
	"request_ambiguous":          http.StatusBadRequest,
	"request_too_long":           http.StatusRequestURITooLong,
	"method_refused":             http.StatusMethodNotAllowed,
	"host_refused":               http.StatusMisdirectedRequest,
	"browser_refused":            http.StatusForbidden,
	"caller_unknown":             http.StatusForbidden, // 401 where some caller has a key
	"identity_unavailable":       http.StatusServiceUnavailable,
	"no_upstream":                http.StatusNotFound,
	"denied":                     http.StatusForbidden,
	"body_unreadable":            http.StatusBadRequest,
	"body_too_large":             http.StatusRequestEntityTooLarge,
	"token_request_invalid":      http.StatusBadRequest,
	"token_unavailable":          http.StatusServiceUnavailable,
	"token_rejected":             http.StatusFailedDependency, // the Globus SDK does not retry it
	"token_refused_not_replayed": http.StatusServiceUnavailable,
	"rate_limited":               http.StatusTooManyRequests,
	"overloaded":                 http.StatusServiceUnavailable,
	"breaker_open":               http.StatusServiceUnavailable,
	"upstream_unreachable":       http.StatusBadGateway,
	"upstream_invalid":           http.StatusBadGateway,
	"outcome_unknown":            http.StatusBadGateway,
	"address_refused":            http.StatusBadGateway,
	"upstream_timeout":           http.StatusGatewayTimeout,
	"loop_refused":               http.StatusLoopDetected,
	"internal":                   http.StatusInternalServerError,
}

// writeError answers for bearerd: as application/problem+json (RFC 9457) to who
// accepts JSON, as one line to others. If an answer has begun it breaks off. To
// a caller that left it says nothing.
func writeError(w http.ResponseWriter, r *http.Request, cause error) {
	x := exchangeOf(r)
	e := asError(r, x, cause)
	if e == nil {
		x.Status, x.Err = statusCallerLeft, errCallerLeft
		panic(http.ErrAbortHandler)
	}
	x.Code, x.Err = e.Code, e
	if answer, ok := w.(*response); ok && answer.wrote {
		panic(http.ErrAbortHandler)
	}
	status := e.statusCode()
	h := w.Header()
	maps.Copy(h, e.header)
	h.Set(errorHeader, e.Code)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Request-ID", x.ID)
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.retrySeconds()))
	}
	body, contentType := e.line(x), "text/plain; charset=utf-8"
	if strings.Contains(x.in.Header.Get("Accept"), "json") || e.oauth != "" {
		body, contentType = e.problem(status, x), "application/problem+json"
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (e *Error) statusCode() int {
	return cmp.Or(e.status, statuses[e.Code], http.StatusInternalServerError)
}

func (e *Error) retrySeconds() int {
	if e.RetryAfter == retryNow {
		return 0
	}
	return int(math.Ceil(e.RetryAfter.Seconds()))
}

func (e *Error) line(x *Exchange) []byte {
	return fmt.Appendf(nil, "bearerd: %s: %s (request %s)\n", e.Code, e.Detail, x.ID)
}

func (e *Error) problem(status int, x *Exchange) []byte {
	problem := struct {
		Type       string `json:"type"`
		Title      string `json:"title"`
		Status     int    `json:"status"`
		Detail     string `json:"detail"`
		Instance   string `json:"instance"`
		Code       string `json:"code"`
		Message    string `json:"message"` // = detail: the Globus SDK and CLI print it
		RequestID  string `json:"request_id"`
		Rule       string `json:"rule,omitempty"`
		Key        string `json:"key,omitempty"`
		RetryAfter *int   `json:"retry_after,omitempty"`
		OAuth      string `json:"error,omitempty"`
	}{
		Type: "urn:bearerd:error:" + e.Code, Title: strings.ReplaceAll(e.Code, "_", " "), Status: status,
		Detail: e.Detail, Instance: "urn:bearerd:request:" + x.ID,
		Code: e.Code, Message: e.Detail, RequestID: x.ID, Rule: e.Rule, Key: e.Key, OAuth: e.oauth,
	}
	if e.RetryAfter > 0 {
		seconds := e.retrySeconds()
		problem.RetryAfter = &seconds
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(problem); err != nil {
		return e.line(x)
	}
	return []byte(b.String())
}

// errBrokeOff is for the log, where the upstream did not break its answer off: the
// caller stopped reading.
var errBrokeOff = errors.New("the answer broke off")

// asError finds the code for whatever went wrong between here and the upstream;
// nil if it is that the caller left.
func asError(r *http.Request, x *Exchange, cause error) *Error {
	var (
		own     *Error
		resting *credentials.RestingError
	)
	fault := x.fault.Load()
	x.closes = x.closes || fault != nil
	switch {
	case errors.As(cause, &own):
		return own
	case fault != nil:
		return fault
	case errors.Is(r.Context().Err(), context.Canceled):
		return nil
	case errors.As(cause, &resting):
		return tokenError(x, resting)
	case x.broken.Load():
		return &Error{Code: "body_unreadable", Detail: "the request's body broke off or its framing is wrong", Err: errReadingBody}
	}
	return wireError(x, cause)
}

// tokenError is for a credential that has no token: for now, or until somebody
// sees to the client or its scopes.
func tokenError(x *Exchange, resting *credentials.RestingError) *Error {
	e := &Error{Code: "token_unavailable", RetryAfter: resting.Wait, Detail: "no token for credential " + x.Credential + ": " + resting.Error()}
	var refused *credentials.Error
	if errors.As(resting.Err, &refused) && refused.Class.Permanent() {
		e.Code, e.RetryAfter, e.Key = "token_rejected", 0, "credentials"
	}
	return e
}

// wireError is for what the transport says. Its errors can quote the upstream's
// bytes, so only their kind is kept.
func wireError(x *Exchange, cause error) *Error {
	name := "upstream " + x.Upstream
	switch faultOf(cause) {
	case faultUnsent:
		if errors.Is(cause, errAddressRefused) {
			return &Error{Code: "address_refused", Key: "proxy.upstreams.private", Err: errors.New("connecting"),
				Detail: name + ": its host name leads to this machine or a private network; write private: true beside its url if it is meant"}
		}
		return &Error{Code: "upstream_unreachable", Detail: name + unsentDetail(cause), Err: errors.New("connecting")}
	case faultRefused:
		if x.isIdempotent() { // it may as well have been done
			break
		}
		return &Error{Code: "upstream_unreachable", Err: errors.New("sending the request"),
			Detail: name + " closed the connection before it took the request, whose body is too long to keep; send the request again"}
	case faultTimeout:
		return &Error{Code: "upstream_timeout", Detail: name + " did not answer in time" + x.caution(), Err: errors.New("waiting for the response")}
	case faultInvalid:
		return x.invalid("answered with something that is not HTTP, or with more headers than 256 KiB")
	}
	e := &Error{Code: "outcome_unknown", Detail: name + " broke the connection before it answered" + x.caution(), Err: errors.New("reading the response")}
	if !x.mayBeDone() {
		e.Code = "upstream_unreachable"
		e.Detail += "; send the request again"
	}
	return e
}

// mayBeDone reports whether the upstream, if it heard of the request, may have done
// something that it would do again.
func (x *Exchange) mayBeDone() bool { return !x.isIdempotent() && !x.body.isAhead() }

// caution is what to say then.
func (x *Exchange) caution() string {
	if !x.mayBeDone() {
		return ""
	}
	return "; look before sending the request again, it may have done what was asked"
}

// invalid is for an answer that is none.
func (x *Exchange) invalid(what string) *Error {
	return &Error{Code: "upstream_invalid", Detail: "upstream " + x.Upstream + " " + what + x.caution(), Err: errors.New("reading the response")}
}
