package emulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
)

// Failure is what is answered instead of the truth.
type Failure struct {
	Status      int         // 0 cuts the connection: the handler panics with http.ErrAbortHandler
	Header      http.Header // beside Content-Type; its Content-Length wins, so a body can end early
	Body        string
	ContentType string // default application/json
}

func (f Failure) answer() answer {
	h := f.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("Content-Type", "application/json")
	if f.ContentType != "" {
		h.Set("Content-Type", f.ContentType)
	}
	return answer{f.Status, h, []byte(f.Body)}
}

// Aborted cuts the connection before a byte of an answer.
func Aborted() Failure { return Failure{} }

// Unavailable is a 503 in Auth's error shape, without Retry-After.
func Unavailable() Failure {
	ans := authError(http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "Try again later")
	return Failure{Status: ans.status, Body: string(ans.body)}
}

// RateLimited is a 429 in Transfer's error shape. A retryAfter of "" sends no
// Retry-After; anything else is sent as it is, sense or nonsense.
func RateLimited(retryAfter string) Failure {
	f := Failure{
		Status: http.StatusTooManyRequests,
		Body:   `{"code":"ClientError.TooManyRequests","message":"Too many requests","request_id":"limited00","resource":"/"}`,
	}
	if retryAfter != "" {
		f.Header = http.Header{"Retry-After": {retryAfter}}
	}
	return f
}

// ConsentRequired is Transfer's 403 for want of consent to scopes, any text: what
// the Emulator itself answers for a mapped collection, and what it never would.
func ConsentRequired(scopes ...string) Failure {
	return transferDemand(consentCode, consentMessage, consentDemand("/", scopes...))
}

// SessionRequired is a 403 that only a person could do something about: one of
// the identities must have logged in of late.
func SessionRequired(identities ...string) Failure {
	const message = "Session reauthentication required"
	return transferDemand("PermissionDenied", message, object{"authorization_parameters": object{
		"session_required_identities": identities, "session_message": message,
	}})
}

// InsufficientScope is a 401 that says that the token is good, and not for this
// (RFC 6750 §3.1).
func InsufficientScope(scope string) Failure {
	return Failure{
		Status: http.StatusUnauthorized,
		Header: http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer realm="globus", error="insufficient_scope", scope=%q`, scope)}},
		Body:   `{"code":"ClientError.AuthenticationFailed","message":"Insufficient scope","request_id":"narrow000","resource":"/"}`,
	}
}

// transferDemand is a 403 in Transfer's error shape.
func transferDemand(code, message string, more object) Failure {
	doc := object{"code": code, "message": message, "request_id": "demand000", "resource": "/"}
	maps.Copy(doc, more)
	ans := jsonAnswer(http.StatusForbidden, doc)
	return Failure{Status: ans.status, Header: http.Header{"X-Transfer-Api-Error": {code}}, Body: string(ans.body)}
}

// HTML is a load balancer's 502: a page for people where JSON is due.
func HTML() Failure {
	return Failure{
		Status:      http.StatusBadGateway,
		ContentType: "text/html",
		Body:        "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n",
	}
}

// Malformed is a 200 of the token endpoint with one thing wrong with it:
//
//	"not json"  "html"  "empty"  "truncated"  "array"
//	"no access_token"  "empty access_token"  "token with newline"  "token with space"
//	"no expires_in"  "expires_in zero"  "expires_in negative"  "expires_in string"  "expires_in huge"
//	"no token_type"  "token_type mac"  "token_type lower case"
//	"no resource_server"  "other resource server"  "no scope"  "no other_tokens"
//
// But for that it is a Transfer token of two days; the token in it is never a
// live one. Malformed panics on any other name.
func Malformed(which string) Failure {
	const value = "AgEMUthisTokenIsMadeUpAndWasNeverIssuedToAnyoneAtAll0"
	doc := map[string]any{
		"access_token": value, "scope": TransferScope, "expires_in": 172800,
		"token_type": "Bearer", "resource_server": transferServer, "other_tokens": []any{},
	}
	f := Failure{Status: http.StatusOK, Header: http.Header{"Cache-Control": {"no-store"}}}
	switch which {
	case "not json":
		f.Body = "access_token=" + value
		return f
	case "html":
		f.Body, f.ContentType = "<html><body>Log in to this network</body></html>\n", "text/html"
		return f
	case "empty":
		return f
	case "empty access_token":
		doc["access_token"] = ""
	case "token with newline":
		doc["access_token"] = value + "\r\nX-Smuggled: 1"
	case "token with space":
		doc["access_token"] = value + " " + value
	case "expires_in zero":
		doc["expires_in"] = 0
	case "expires_in negative":
		doc["expires_in"] = -1
	case "expires_in string":
		doc["expires_in"] = "172800"
	case "expires_in huge":
		doc["expires_in"] = 1e18
	case "token_type mac":
		doc["token_type"] = "mac"
	case "token_type lower case":
		doc["token_type"] = "bearer"
	case "other resource server":
		doc["resource_server"] = "groups.api.globus.org"
	case "truncated", "array":
	default:
		name, found := strings.CutPrefix(which, "no ")
		if _, known := doc[name]; !found || !known {
			panic(fmt.Sprintf("emulator: Malformed does not know %q", which))
		}
		delete(doc, name)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("emulator: encoding a malformed answer: %v", err))
	}
	f.Body = string(body)
	switch which {
	case "truncated":
		f.Body = f.Body[:len(f.Body)/2]
	case "array":
		f.Body = "[" + f.Body + "]"
	}
	return f
}

// faults are failures waiting for their requests, first come first served.
type faults struct {
	mu    sync.Mutex // guards queue
	queue []fault
}

type fault struct {
	left int // requests still to fail, at least 1
	f    Failure
}

func (q *faults) add(n int, f Failure) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n <= 0 {
		q.queue = nil
		return
	}
	q.queue = append(q.queue, fault{n, f})
}

func (q *faults) next() (Failure, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return Failure{}, false
	}
	f := q.queue[0].f
	if q.queue[0].left--; q.queue[0].left == 0 {
		q.queue = q.queue[1:]
	}
	return f, true
}
