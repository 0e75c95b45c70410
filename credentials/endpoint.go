package credentials

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	grantTimeout   = 10 * time.Second
	maxAnswerBytes = 64 << 10
	maxLifetime    = 7 * 24 * time.Hour
	unstatedLife   = 5 * time.Minute // expires_in is only RECOMMENDED (RFC 6749 §5.1)
	maxRetryAfter  = 10 * time.Minute
)

// Endpoint is a token endpoint as one client sees it.
type Endpoint struct {
	URL        string
	Issuer     string // names the URL itself, where that is ""
	Auth       ClientAuth
	Parameters map[string]Texts // sent beside grant_type and scope, such as audience and resource (RFC 8707)
	UserAgent  string
	Transport  http.RoundTripper // used directly, so that no redirect is followed
	Timeout    time.Duration     // of a request; 0: 10 s
	// MutualTLS asks at the issuer's alias for clients with certificates.
	MutualTLS bool
	// InsecureHTTP believes an issuer that names a URL of http://.
	InsecureHTTP bool

	found discovered
}

// Error is a failed token request. It never holds a body, a token or a secret.
type Error struct {
	Endpoint   string // URL without query
	Status     int    // HTTP status; 0 if no response came
	Class      Class
	Code       string        // Globus Auth's errors[].code, or RFC 6749 §5.2's error; "" when no code that is known came
	Reason     string        // what happened, in words of our own
	RetryAfter time.Duration // from the header, at most 10 min; 0 if absent
}

func (e *Error) Error() string {
	text := "token endpoint " + e.Endpoint + ": " + e.Reason + " (" + string(e.Class)
	if e.Status != 0 && e.Status != http.StatusOK {
		text += ", " + strings.TrimSpace(strconv.Itoa(e.Status)+" "+e.Code)
	}
	return text + ")"
}

// Grant makes one client credentials request (RFC 6749 §4.4.2), scopes joined by
// spaces into one field, and returns every token of the answer: the top-level
// one first, then Globus Auth's other_tokens. A client with several secrets that
// is refused by one tries the next, each once. Its error is an *Error, also when
// ctx ends. It takes at most Timeout and reads at most 64 KiB.
func (e *Endpoint) Grant(ctx context.Context, scopes []string) ([]Token, error) {
	return e.grant(ctx, scopes, func() {})
}

// grant is Grant, and tells of each request after the first.
func (e *Endpoint) grant(ctx context.Context, scopes []string, again func()) ([]Token, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	at, err := e.locate(ctx)
	if err != nil {
		return nil, err
	}
	proofs := []proof{{e.Auth, func() {}}}
	if several, ok := e.Auth.(*secrets); ok {
		if proofs, err = several.proofs(); err != nil {
			return nil, e.fail(0, "", ClassSecret, "the client's secret: "+err.Error())
		}
	}
	var tokens []Token
	for i, one := range proofs {
		if i > 0 {
			again()
		}
		tokens, err = e.ask(ctx, at, one, scopes)
		if classOf(err) != ClassClient {
			break
		}
	}
	if err != nil {
		e.doubt(classOf(err))
	}
	return tokens, err
}

func (e *Endpoint) timeout() time.Duration {
	if e.Timeout == 0 {
		return grantTimeout
	}
	return e.Timeout
}

// ask makes one request with one proof.
func (e *Endpoint) ask(ctx context.Context, at string, auth proof, scopes []string) ([]Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	for name, values := range e.Parameters {
		form[name] = values
	}
	header := http.Header{
		"Accept":       {"application/json"},
		"Content-Type": {"application/x-www-form-urlencoded"},
		"User-Agent":   {e.UserAgent},
	}
	if err := auth.Prove(ctx, at, header, form); err != nil {
		return nil, e.fail(0, "", ClassSecret, "proving the client: "+err.Error())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, e.fail(0, "", ClassRequest, "the URL cannot be used")
	}
	req.Header = header
	asked := time.Now()
	resp, err := e.Transport.RoundTrip(req)
	if err != nil {
		return nil, e.fail(0, "", ClassNetwork, describe(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, e.fail(resp.StatusCode, "", ClassNetwork, "the answer broke off: "+describe(err))
	}
	if len(body) > maxAnswerBytes {
		return nil, e.fail(resp.StatusCode, "", ClassMalformed, "the answer is longer than 64 KiB")
	}
	if resp.StatusCode != http.StatusOK {
		return nil, e.refusal(resp, body)
	}
	tokens, err := parseAnswer(resp.Header.Get("Content-Type"), body, asked)
	if err != nil {
		return nil, e.fail(resp.StatusCode, "", ClassMalformed, err.Error())
	}
	auth.taken()
	for i := range tokens {
		tokens[i].Scopes = slices.DeleteFunc(tokens[i].Scopes, func(scope string) bool { return !isAsked(scopes, scope) })
	}
	return tokens, nil
}

// isAsked reports whether scope is one of those asked for, without the
// dependencies in brackets that answers leave out. Any other text of an answer
// is dropped: it is printed, and could be the token or the secret.
func isAsked(asked []string, scope string) bool {
	return slices.ContainsFunc(asked, func(one string) bool {
		root, _, _ := strings.Cut(one, "[")
		return scope == one || scope == root
	})
}

func (e *Endpoint) fail(status int, code string, class Class, reason string) *Error {
	where := e.URL
	if e.Issuer != "" {
		where = "of " + e.Issuer
	}
	where, _, _ = strings.Cut(where, "?")
	return &Error{Endpoint: where, Status: status, Class: class, Code: code, Reason: reason}
}

// refusal makes an error of an answer other than 200: RFC 6749 §5.2's, Globus
// Auth's errors[], or a page of something in between.
func (e *Endpoint) refusal(resp *http.Response, body []byte) *Error {
	var parsed struct {
		Error  any `json:"error"`
		Errors []struct {
			Code any `json:"code"`
		} `json:"errors"`
	}
	code, isPage := "", bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
	if json.Unmarshal(body, &parsed) == nil {
		code = errorCode(parsed.Error)
		if len(parsed.Errors) > 0 && errorCode(parsed.Errors[0].Code) != "" {
			code = errorCode(parsed.Errors[0].Code)
		}
	}
	class, reason := ClassServer, "refused the request, in no words of a token endpoint; another service may stand in between"
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests || code == "slow_down":
		class, reason = ClassRateLimited, "cannot answer now"
	case status >= 500 || code == "temporarily_unavailable" || code == "server_error":
		class, reason = ClassServer, "cannot answer now"
	case status == http.StatusUnauthorized && !isPage || code == "invalid_client" || code == "unauthorized_client":
		class, reason = ClassClient, "refused the client; check client_id and client_secret"
	case code == "UNKNOWN_SCOPE_ERROR" || code == "invalid_scope" || code == "invalid_target":
		class, reason = ClassScope, "does not know a scope that was asked for; check the scopes"
	case status >= 300 && status < 400:
		class, reason = ClassRequest, "answered with a redirect, which is not followed; check token_url"
	case code != "":
		class, reason = ClassRequest, "refused the request"
	}
	err := e.fail(resp.StatusCode, code, class, reason)
	err.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	return err
}

// errorCodes are those of RFC 6749 §4.1.2.1 and §5.2, RFC 8707, RFC 8628 and Globus Auth.
var errorCodes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"access_denied", "server_error", "temporarily_unavailable", "invalid_target", "slow_down", "unauthorized", "forbidden",
	"UNAUTHORIZED", "FORBIDDEN", "UNKNOWN_SCOPE_ERROR", "BAD_REQUEST", "INVALID_REQUEST", "SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR",
}

// errorCode returns v if it is a known code. Any other text is dropped: what an
// endpoint makes up could be the secret it was sent.
func errorCode(v any) string {
	code, _ := v.(string)
	if !slices.Contains(errorCodes, code) {
		return ""
	}
	return code
}

// parseRetryAfter reads seconds or an HTTP date (RFC 9110 §10.2.3), clamped to
// 0..10 min; 0 for anything else.
func parseRetryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// describe says in fixed words why no answer came. Transport errors are not
// passed on: they quote what a broken or hostile endpoint sent.
func describe(err error) string {
	var (
		dns     *net.DNSError
		op      *net.OpError
		badCert *tls.CertificateVerificationError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, ErrAddressRefused):
		return "its host name leads to this machine or a private network; write private: true beside it if it is meant"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &dns):
		return "host " + dns.Name + " was not found"
	case errors.As(err, &badCert):
		return "its TLS certificate is not trusted"
	case errors.As(err, &op) && op.Op == "dial":
		return "cannot be reached; check the network and token_url"
	case errors.Is(err, context.Canceled):
		return "the request was given up"
	}
	return "the connection broke before an answer came"
}

// Secret returns the reference of the secret that the endpoint took last; "" if it
// took none yet, or wants none.
func (e *Endpoint) Secret() string {
	if several, ok := e.Auth.(*secrets); ok {
		return several.working()
	}
	return ""
}
