package credentials

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bearerd/test/emulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	transferServer = "transfer.api.globus.org"
	authServer     = "auth.globus.org"
	tokenURL       = "https://auth.globus.org/v2/oauth2/token"
	tokenPath      = "/v2/oauth2/token"
	// canary is a token or secret in tests of what is printed.
	canary = "Canary0+should/never-be_seen.anywhere~1="
)

// transport is a fake of the way to a token endpoint.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// globus is an emulator as a RoundTripper without a network; a pointer to it can
// be compared, as NewSet does.
type globus struct{ *emulator.Emulator }

func newGlobus() *globus { return &globus{emulator.New(emulator.Config{})} }

func (g *globus) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = io.ErrUnexpectedEOF // a Failure that cuts the connection
		}
	}()
	w := httptest.NewRecorder()
	g.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// requests is how many token requests arrived.
func (g *globus) requests() int { return g.Count("auth", tokenPath) }

// fails makes every token request fail until heals.
func (g *globus) fails(f emulator.Failure) { g.FailTokens(1<<30, f) }
func (g *globus) heals()                   { g.FailTokens(0, emulator.Failure{}) }

// endpoint is one at which the demo client proves itself.
func endpoint(rt http.RoundTripper) *Endpoint {
	return &Endpoint{
		URL:       tokenURL,
		Auth:      basicAuth{emulator.DemoClientID, NewSecret(emulator.DemoClientSecret)},
		UserAgent: "bearerd/test",
		Transport: rt,
	}
}

// transferCredential is a Transfer credential with the default margin.
func transferCredential(rt http.RoundTripper) *ClientCredentials {
	return newClientCredentials("transfer", endpoint(rt), Key{
		Endpoint: tokenURL, ClientID: emulator.DemoClientID, ResourceServer: transferServer, Scopes: []string{emulator.TransferScope},
	}, DefaultMargin)
}

// answers is a transport that always answers the same.
func answers(status int, header http.Header, body string) transport {
	return func(req *http.Request) (*http.Response, error) {
		h := header.Clone()
		if h == nil {
			h = http.Header{}
		}
		if h.Get("Content-Type") == "" {
			h.Set("Content-Type", "application/json")
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
}

// mustToken returns c's token and fails the test without one.
func mustToken(t *testing.T, c *ClientCredentials) Token {
	t.Helper()
	tok, err := c.Token(t.Context())
	if err != nil {
		t.Fatalf("Token() = %v, want a token", err)
	}
	return tok
}

// wantRequests checks how many token requests arrived.
func wantRequests(t *testing.T, g *globus, want int) {
	t.Helper()
	if got := g.requests(); got != want {
		t.Fatalf("%d token requests, want %d", got, want)
	}
}

// form is one way a value may show itself in a text.
type form struct{ name, text string }

// formsOf are the ways in which value is looked for.
func formsOf(value string) []form {
	raw := []byte(value)
	return []form{
		{"as it is", value},
		{"in base64", base64.StdEncoding.EncodeToString(raw)},
		{"in base64 for URLs", base64.RawURLEncoding.EncodeToString(raw)},
		{"in hex", hex.EncodeToString(raw)},
		{"in upper case hex", strings.ToUpper(hex.EncodeToString(raw))},
		{"form-encoded", url.QueryEscape(value)},
		{"as numbers", strings.Trim(fmt.Sprint(raw), "[]")},
	}
}

// wantNothingOf checks that text holds value in no form, and does not print either.
func wantNothingOf(t *testing.T, what, text, value string) {
	t.Helper()
	for _, f := range formsOf(value) {
		if strings.Contains(text, f.text) {
			t.Errorf("%s holds a value that nobody may see, %s", what, f.name)
		}
	}
}

// noted is a Mistakes that keeps lines such as "tokens.a.scopes[0]: what is wrong".
type noted struct{ lines []string }

func (n *noted) Add(path []any, format string, args ...any) {
	n.lines = append(n.lines, dotted(path)+": "+fmt.Sprintf(format, args...))
}

func (n *noted) Unknown(path []any, kind, name string, known []string) {
	n.Add(path, "no %s %q among %s", kind, name, strings.Join(known, ", "))
}

// sorted is every line, in an order that does not depend on maps.
func (n *noted) sorted() []string { return slices.Sorted(slices.Values(n.lines)) }

func dotted(path []any) string {
	var b strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

// tokenIn is a good Transfer answer with these fields, as JSON, over its own; an
// empty one is left out.
func tokenIn(fields map[string]string) string {
	doc := map[string]string{
		"access_token": `"AgMadeUp"`, "token_type": `"Bearer"`, "expires_in": "172800",
		"scope": `"` + emulator.TransferScope + `"`, "resource_server": `"` + transferServer + `"`, "other_tokens": "[]",
	}
	for name, value := range fields {
		doc[name] = value
	}
	var parts []string
	for _, name := range names(doc) {
		if doc[name] != "" {
			parts = append(parts, `"`+name+`":`+doc[name])
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// days is n days.
func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// printed is v in every form in which something is printed.
func printed(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + fmt.Sprintf("%v %+v %#v", v, v, v)
}
