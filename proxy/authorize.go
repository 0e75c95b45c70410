package proxy

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"bearerd/policy"
)

// maxPeek is how much of a 400's body is read to see whether it is about the token.
const maxPeek = 8 << 10

// authorize is the RoundTripper that puts the decision's credential on a request,
// after checking that the request goes where the credential may go. A refused
// token is handed back, and the request sent once more if its body can be.
type authorize struct {
	next          http.RoundTripper
	loginRedirect bool // see UpstreamConfig
}

func (a authorize) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req)
	if x.bound.authorizer == nil || !x.bound.mayGo(req.URL) || (req.Host != "" && req.Host != req.URL.Host) {
		return nil, &Error{Code: "internal", Detail: "a request was about to leave with a credential for another host and was stopped; this is a bug"}
	}
	expects := x.body.stream != nil && x.body.stream.expects
	resp, refused, err := a.attempt(req, x, expects)
	if err == nil && expects && resp.StatusCode == http.StatusExpectationFailed && x.canRepeat() {
		discard(resp) // it only will not be asked (RFC 9110 §10.1.1)
		expects = false
		resp, refused, err = a.attempt(req, x, expects)
	}
	if !refused || err != nil {
		return resp, err
	}
	able := x.canRepeat()
	discard(resp)
	if !able {
		return nil, &Error{Code: "token_refused_not_replayed", RetryAfter: retryNow,
			Detail: "the upstream refused the token after the body, too long to keep, was on its way; send the request again"}
	}
	resp, _, err = a.attempt(req, x, expects)
	return resp, err
}

// attempt sends req once with the current token. The first takes req as it is, and any
// other a copy, since the transport may still read the one before. Refused means that
// the upstream refused the token and that another attempt may help. Expects has the
// body wait until the upstream wants it.
func (a authorize) attempt(req *http.Request, x *Exchange, expects bool) (resp *http.Response, refused bool, err error) {
	if x.used {
		before := req
		req = new(http.Request)
		*req = *before
		req.Header, req.Close = before.Header.Clone(), false
		delete(req.Header, "Expect")
	}
	x.used = true
	start := time.Now()
	tok, err := x.bound.authorizer.Authorize(req)
	now := time.Now()
	x.TokenWait += now.Sub(start)
	if err != nil {
		return nil, false, err
	}
	x.Fingerprint, x.TokenState = tok.Fingerprint(), tok.State(now)
	if req.GetBody != nil {
		if req.Body, err = req.GetBody(); err != nil {
			return nil, false, err
		}
	}
	if expects {
		req.Header.Set("Expect", "100-continue")
		req.Close = true // or the transport sends the body after an answer that did not want it, for the connection's sake
	}
	resp, err = a.next.RoundTrip(req)
	if err != nil {
		return nil, false, err
	}
	x.watch(resp)
	if name := echoed(resp.Header, req.Header.Get("Authorization")); name != "" {
		_ = resp.Body.Close()
		x.Warning = "the upstream put the credential it was sent into its answer, which was stopped: header " + name
		return nil, false, x.invalid("put the credential it was sent into its answer, which was stopped")
	}
	if !isRefusal(resp, a.loginRedirect) {
		return resp, false, nil
	}
	return resp, x.bound.authorizer.Rejected(tok), nil
}

// echoed returns the name of a header that has the credential in it, as it was sent
// or percent-encoded; "" if none has.
func echoed(h http.Header, authorization string) string {
	_, secret, _ := strings.Cut(authorization, " ")
	if secret == "" {
		return ""
	}
	for name, values := range h {
		for _, value := range values {
			if len(value) < len(secret) {
				continue
			}
			if strings.Contains(value, secret) || strings.Contains(policy.Unescape(value), secret) {
				return name
			}
		}
	}
	return ""
}

// isRefusal reports whether the upstream refused the token: 401, or Transfer's
// 400 ClientError.AuthenticationFailed, told by its header or its body, or with
// loginRedirect a redirect to Globus's login page. A 401 that says
// insufficient_scope (RFC 6750 §3.1) is none, and no 403 is: a new token would be
// worth no more. The body can be read afterwards as if it had not been.
func isRefusal(resp *http.Response, loginRedirect bool) bool {
	const code = "ClientError.AuthenticationFailed"
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return !insufficientScope.MatchString(strings.Join(resp.Header.Values("Www-Authenticate"), ", "))
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
		return loginRedirect && isLogin(resp.Header.Get("Location"))
	case http.StatusBadRequest:
	default:
		return false
	}
	if told := resp.Header.Get("X-Transfer-Api-Error"); told != "" {
		return told == code
	}
	var answer struct {
		Code string `json:"code"`
	}
	return peekJSON(resp, maxPeek, &answer) && answer.Code == code
}

// insufficientScope finds RFC 6750 §3.1's error code, quoted or not.
var insufficientScope = regexp.MustCompile(`(?i)\berror\s*=\s*"?insufficient_scope\b`)

// isLogin reports whether a Location is Globus Auth's login page, of production
// or of another environment (auth.preview.globus.org).
func isLogin(location string) bool {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "https" || u.Path != "/v2/oauth2/authorize" || u.User != nil {
		return false
	}
	name, ours := strings.CutSuffix(strings.ToLower(u.Host), ".globus.org")
	environment, others := strings.CutPrefix(name, "auth.")
	return ours && (name == "auth" || others && environment != "" && !strings.Contains(environment, "."))
}

// peekJSON reads an answer's JSON of up to most bytes, gzipped or not, into v. It
// reports false for what is none, and for what comes in drops, which nobody waits
// for. The body can be read afterwards as if it had not been.
func peekJSON(resp *http.Response, most int, v any) bool {
	if !strings.Contains(resp.Header.Get("Content-Type"), "json") {
		return false
	}
	head, err := readFor(resp.Body, most, peekTime)
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = endedReader{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), resp.Body}
	switch strings.ToLower(resp.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip", "x-gzip":
		zipped, err := gzip.NewReader(bytes.NewReader(head))
		if err != nil {
			return false
		}
		if head, err = io.ReadAll(io.LimitReader(zipped, int64(most))); err != nil {
			return false
		}
	default:
		return false
	}
	return json.Unmarshal(head, v) == nil
}

// endedReader is a body that came to its end, or broke off, while it was looked at.
type endedReader struct{ err error }

func (e endedReader) Read([]byte) (int, error) { return 0, e.err }

// discard lets go of a response, keeping its connection if little is left of it.
func discard(resp *http.Response) {
	hurry := time.AfterFunc(discardTime, func() { _ = resp.Body.Close() })
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	hurry.Stop()
	_ = resp.Body.Close()
}
