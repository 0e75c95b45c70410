package credentials

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

// issuerAt answers the paths of documents with them, and is otherwise rt.
type issuerAt struct {
	documents map[string]string
	asked     []string
	next      http.RoundTripper
}

func (i *issuerAt) RoundTrip(req *http.Request) (*http.Response, error) {
	at := req.URL.String()
	i.asked = append(i.asked, at)
	if document, ok := i.documents[at]; ok {
		return answers(http.StatusOK, nil, document)(req)
	}
	if req.Method == http.MethodGet {
		return answers(http.StatusNotFound, http.Header{"Content-Type": {"text/html"}}, "<html>")(req)
	}
	return i.next.RoundTrip(req)
}

func metadata(issuer, endpoint string) string {
	return fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q,"mtls_endpoint_aliases":{"token_endpoint":"https://mtls.example.org/t"}}`, issuer, endpoint)
}

func TestEndpoint_IsFoundByItsIssuer(t *testing.T) {
	const issuer = "https://auth.globus.org/tenant"
	for _, tt := range []struct {
		name, at, document string
		change             func(*Endpoint)
		want               string // the endpoint, or a part of the error
		class              Class  // of the error
	}{
		{"by RFC 8414", "https://auth.globus.org/.well-known/oauth-authorization-server/tenant", metadata(issuer, tokenURL), nil, tokenURL, ""},
		{"by OpenID Connect", issuer + "/.well-known/openid-configuration", metadata(issuer, tokenURL), nil, tokenURL, ""},
		{"for a client with a certificate", issuer + "/.well-known/openid-configuration", metadata(issuer, tokenURL), func(e *Endpoint) { e.MutualTLS = true }, "https://mtls.example.org/t", ""},
		{"nowhere", "https://elsewhere.example.org", "", nil, "did not answer with its metadata", ClassServer},
		{"another issuer's", issuer + "/.well-known/openid-configuration", metadata(issuer+"/", tokenURL), nil, "is another issuer's", ClassMalformed},
		{"no issuer's", issuer + "/.well-known/openid-configuration", `{"token_endpoint":"` + tokenURL + `"}`, nil, "is another issuer's", ClassMalformed},
		{"in the clear", issuer + "/.well-known/openid-configuration", metadata(issuer, "http://auth.globus.org/t"), nil, "names no token endpoint", ClassMalformed},
		{"in the clear, allowed", issuer + "/.well-known/openid-configuration", metadata(issuer, "http://auth.globus.org/t"), func(e *Endpoint) { e.InsecureHTTP = true }, "http://auth.globus.org/t", ""},
		{"a file", issuer + "/.well-known/openid-configuration", metadata(issuer, "file:///etc/passwd"), nil, "names no token endpoint", ClassMalformed},
		{"with a password", issuer + "/.well-known/openid-configuration", metadata(issuer, "https://u:p@auth.globus.org/"), nil, "names no token endpoint", ClassMalformed},
		{"too long", issuer + "/.well-known/openid-configuration", strings.Repeat(" ", maxAnswerBytes) + metadata(issuer, tokenURL), nil, "did not answer with its metadata", ClassServer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt := &issuerAt{documents: map[string]string{tt.at: tt.document}, next: answers(http.StatusOK, nil, tokenIn(nil))}
			e := endpoint(rt)
			e.URL, e.Issuer = "", issuer
			if tt.change != nil {
				tt.change(e)
			}
			_, err := e.Grant(t.Context(), []string{emulator.TransferScope})
			last := rt.asked[len(rt.asked)-1]
			switch {
			case tt.class == "" && (err != nil || last != tt.want):
				t.Errorf("asked %s, %v; want %s", last, err, tt.want)
			case tt.class != "" && (err == nil || classOf(err) != tt.class || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Grant() = %v, want %q of class %s", err, tt.want, tt.class)
			}
		})
	}
}

func TestEndpoint_AnIssuerThatIsDownDelaysAndIsAskedHourlyAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const issuer = "https://auth.globus.org"
		g := newGlobus()
		document := issuer + "/.well-known/openid-configuration"
		down := &issuerAt{documents: map[string]string{}, next: g}
		c := transferCredential(down)
		c.endpoint.URL, c.endpoint.Issuer = "", issuer
		if _, err := c.Token(t.Context()); err == nil || classOf(err).Permanent() {
			t.Fatalf("Token() = %v, want a transient failure", err)
		}
		down.documents[document] = metadata(issuer, tokenURL)
		time.Sleep(longestBackoff)
		mustToken(t, c)
		delete(down.documents, document) // down again: what was found stays in force
		for range 5 {
			time.Sleep(days(2))
			mustToken(t, c)
		}
		found := slices.DeleteFunc(slices.Clone(down.asked), func(at string) bool { return at != document })
		if len(found) != 2+5 {
			t.Errorf("the document was asked for %d times, want twice and with each of 5 later tokens", len(found))
		}
	})
}

func TestEndpoint_OneThatHasMovedIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const issuer, before = "https://auth.globus.org", "https://auth.globus.org/before"
		document := issuer + "/.well-known/openid-configuration"
		moved := false
		at := &issuerAt{documents: map[string]string{document: metadata(issuer, before)}, next: transport(func(req *http.Request) (*http.Response, error) {
			if moved == (req.URL.String() == before) {
				return answers(http.StatusNotFound, http.Header{"Content-Type": {"text/html"}}, "<html>")(req)
			}
			return answers(http.StatusOK, nil, tokenIn(map[string]string{"access_token": fmt.Sprintf("%q", path.Base(req.URL.Path))}))(req)
		})}
		c := transferCredential(at)
		c.endpoint.URL, c.endpoint.Issuer = "", issuer
		first := mustToken(t, c)
		moved, at.documents[document] = true, metadata(issuer, tokenURL)
		c.Rejected(first)
		if _, err := c.Token(t.Context()); err == nil {
			t.Fatal("a token came from where the endpoint was")
		}
		time.Sleep(2 * forcedInterval)
		if c.Rejected(first); mustToken(t, c).Same(first) {
			t.Error("the endpoint was not looked for where it is now")
		}
	})
}
