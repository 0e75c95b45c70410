package credentials

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// discoveryKept is how long a discovered token endpoint is believed. It is asked
// for again then, and before a request that follows one that got no token answer
// there: it may have moved. Where the issuer fails, the endpoint is kept.
const discoveryKept = time.Hour

// refreshTimeout bounds asking again for an endpoint that is known.
const refreshTimeout = 2 * time.Second

// discovered is what an issuer's document says (RFC 8414, OpenID Connect Discovery).
type discovered struct {
	mu  sync.Mutex // guards the fields below
	url string
	at  time.Time
}

// locate returns the token endpoint's URL: the one configured, or the one that
// the issuer names. An issuer that is down delays, as an endpoint that is down does.
func (e *Endpoint) locate(ctx context.Context) (string, error) {
	if e.Issuer == "" {
		return e.URL, nil
	}
	e.found.mu.Lock()
	known, fresh := e.found.url, time.Since(e.found.at) < discoveryKept
	e.found.mu.Unlock()
	if known != "" && fresh {
		return known, nil
	}
	if known != "" { // what is known is probably right: an issuer that is slow must not cost the token
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
	}
	at, err := e.discover(ctx)
	if err != nil && known == "" {
		return "", err
	}
	e.found.mu.Lock()
	defer e.found.mu.Unlock()
	if err == nil {
		e.found.url = at
	}
	e.found.at = time.Now()
	return e.found.url, nil
}

// doubt has the issuer asked again for an endpoint that failed in such a way.
func (e *Endpoint) doubt(class Class) {
	switch class {
	case ClassNetwork, ClassServer, ClassMalformed, ClassRequest:
		e.found.mu.Lock()
		defer e.found.mu.Unlock()
		e.found.at = time.Time{}
	}
}

// discover asks for the document at both places where it may be.
func (e *Endpoint) discover(ctx context.Context) (string, error) {
	issuer, err := url.Parse(e.Issuer)
	if err != nil {
		return "", e.fail(0, "", ClassRequest, "the issuer's URL cannot be used")
	}
	origin, path := issuer.Scheme+"://"+issuer.Host, strings.TrimSuffix(issuer.EscapedPath(), "/")
	var failed error
	for _, at := range []string{
		origin + "/.well-known/oauth-authorization-server" + path, // RFC 8414 §3.1
		origin + path + "/.well-known/openid-configuration",
	} {
		found, err := e.fetchDocument(ctx, at)
		if err == nil {
			return found, nil
		}
		failed = err
		if class := classOf(err); class == ClassNetwork || class == ClassRateLimited {
			break // nor will the other answer
		}
	}
	return "", failed
}

func (e *Endpoint) fetchDocument(ctx context.Context, at string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", e.fail(0, "", ClassRequest, "the issuer's URL cannot be used")
	}
	req.Header = http.Header{"Accept": {"application/json"}, "User-Agent": {e.UserAgent}}
	resp, err := e.Transport.RoundTrip(req)
	if err != nil {
		return "", e.fail(0, "", ClassNetwork, "asking the issuer for its token endpoint: "+describe(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return "", e.fail(resp.StatusCode, "", ClassNetwork, "the issuer's answer broke off: "+describe(err))
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || err != nil || media != "application/json" || len(body) > maxAnswerBytes {
		class := ClassServer
		if resp.StatusCode == http.StatusTooManyRequests {
			class = ClassRateLimited
		}
		failed := e.fail(resp.StatusCode, "", class, "the issuer did not answer with its metadata; check issuer, or write token_url instead")
		failed.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
		return "", failed
	}
	var document struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
		Aliases       struct {
			TokenEndpoint string `json:"token_endpoint"`
		} `json:"mtls_endpoint_aliases"` // RFC 8705 §5
	}
	if json.Unmarshal(body, &document) != nil || document.Issuer != e.Issuer {
		return "", e.fail(resp.StatusCode, "", ClassMalformed, "the metadata is another issuer's (RFC 8414 §3.3); write issuer exactly as the issuer itself does")
	}
	found := document.TokenEndpoint
	if e.MutualTLS && document.Aliases.TokenEndpoint != "" {
		found = document.Aliases.TokenEndpoint
	}
	u, err := url.Parse(found)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || (u.Scheme != "https" && (u.Scheme != "http" || !e.InsecureHTTP)) {
		return "", e.fail(resp.StatusCode, "", ClassMalformed, "the metadata names no token endpoint that can be asked")
	}
	return found, nil
}
