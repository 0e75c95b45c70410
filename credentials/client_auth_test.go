package credentials

import (
	"bytes"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"bearerd/test/emulator"
)

// A secret as Globus makes them, with all three characters that base64 and forms disagree on.
const oddSecret = "bearerd/demo+this/opens+the/emulator+only/0="

// sent makes one token request and returns its bytes as HTTP/1.1 puts them on the wire.
func sent(t *testing.T, e *Endpoint, scopes ...string) string {
	t.Helper()
	var wire bytes.Buffer
	e.Transport = transport(func(req *http.Request) (*http.Response, error) {
		if err := req.Write(&wire); err != nil {
			t.Errorf("writing the request: %v", err)
		}
		return answers(http.StatusOK, nil, tokenIn(nil))(req)
	})
	if _, err := e.Grant(t.Context(), scopes); err != nil {
		t.Fatalf("Grant() = %v", err)
	}
	return wire.String()
}

// provenBy is the ClientAuth of a client with a secret.
func provenBy(t *testing.T, kind, id, secret string) ClientAuth {
	t.Helper()
	t.Setenv(secretVariable, secret)
	return newClientAuth(ClientConfig{Auth: kind, id: id, ClientSecret: References{"env:" + secretVariable}})
}

func TestEndpoint_RequestIsTheGlobusSDKsByteForByte(t *testing.T) {
	scope := emulator.TransferScope + "[*https://auth.globus.org/scopes/c0/data_access *https://auth.globus.org/scopes/c1/data_access]"
	got := sent(t, &Endpoint{
		URL:       tokenURL,
		Auth:      provenBy(t, "globus_basic", "0b6a9f6e", oddSecret),
		UserAgent: "bearerd/1",
	}, "openid", scope)
	const body = "grant_type=client_credentials&scope=openid+urn%3Aglobus%3Aauth%3Ascope%3Atransfer.api.globus.org%3Aall" +
		"%5B%2Ahttps%3A%2F%2Fauth.globus.org%2Fscopes%2Fc0%2Fdata_access+%2Ahttps%3A%2F%2Fauth.globus.org%2Fscopes%2Fc1%2Fdata_access%5D"
	want := []string{
		"POST /v2/oauth2/token HTTP/1.1",
		"Host: auth.globus.org",
		"User-Agent: bearerd/1",
		"Content-Length: 229",
		"Accept: application/json",
		"Authorization: Basic MGI2YTlmNmU6YmVhcmVyZC9kZW1vK3RoaXMvb3BlbnMrdGhlL2VtdWxhdG9yK29ubHkvMD0=",
		"Content-Type: application/x-www-form-urlencoded",
		"",
		body,
	}
	lines := strings.Split(got, "\r\n")
	if len(lines) != len(want) {
		t.Fatalf("the request has %d lines, want %d", len(lines), len(want))
	}
	for i, line := range lines {
		if line == want[i] {
			continue
		}
		if strings.HasPrefix(want[i], "Authorization") {
			t.Errorf("line %d is not the Authorization that was wanted", i+1)
			continue
		}
		t.Errorf("line %d is %q, want %q", i+1, line, want[i])
	}
}

func TestEndpoint_GlobusAcceptsTheRequestItself(t *testing.T) {
	g := newGlobus()
	tokens, err := endpoint(g).Grant(t.Context(), []string{emulator.TransferScope})
	if err != nil || len(tokens) != 1 {
		t.Fatalf("Grant() = %d tokens, %v; want one", len(tokens), err)
	}
	if got := g.Records()[0].Authorizations; got != 1 {
		t.Errorf("%d Authorization headers, want 1", got)
	}
}

func TestClientAuth_KindsDifferOnlyWhereTheProofIs(t *testing.T) {
	const id = "client one"
	for _, tt := range []struct {
		kind       string
		wantBasic  string // the pair inside Authorization
		wantFields []string
	}{
		{"globus_basic", id + ":" + oddSecret, []string{"grant_type", "scope"}},
		{"client_secret_basic", "client+one:bearerd%2Fdemo%2Bthis%2Fopens%2Bthe%2Femulator%2Bonly%2F0%3D", []string{"grant_type", "scope"}},
		{"client_secret_post", "", []string{"client_id", "client_secret", "grant_type", "scope"}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			head, body, _ := strings.Cut(sent(t, &Endpoint{URL: tokenURL, Auth: provenBy(t, tt.kind, id, oddSecret)}, "a"), "\r\n\r\n")
			_, basic, has := strings.Cut(head, "Authorization: Basic ")
			basic, _, _ = strings.Cut(basic, "\r\n")
			pair, err := base64.StdEncoding.DecodeString(basic)
			if err != nil || string(pair) != tt.wantBasic || has != (tt.wantBasic != "") {
				t.Error("the Authorization header is not the one that was wanted")
			}
			fields, err := url.ParseQuery(body)
			if got := slices.Sorted(maps.Keys(fields)); err != nil || !slices.Equal(got, tt.wantFields) {
				t.Errorf("form fields %v, want %v", got, tt.wantFields)
			}
			if tt.wantBasic == "" && (fields.Get("client_id") != id || fields.Get("client_secret") != oddSecret) {
				t.Error("the form does not hold the client's id and secret as they are")
			}
		})
	}
}

func TestEndpoint_SendsParametersAndNoEmptyScope(t *testing.T) {
	e := &Endpoint{URL: tokenURL, Auth: provenBy(t, "globus_basic", "id", "s"), Parameters: map[string]Texts{"audience": {"https://api.example.org/?a=b&c"}, "empty": {""}, "resource": {"a", "b"}}}
	_, body, _ := strings.Cut(sent(t, e), "\r\n\r\n")
	if want := "audience=https%3A%2F%2Fapi.example.org%2F%3Fa%3Db%26c&empty=&grant_type=client_credentials&resource=a&resource=b"; body != want {
		t.Errorf("form %q, want %q", body, want)
	}
}

func TestAuthorizer_LeavesExactlyItsOwnAuthorization(t *testing.T) {
	fixed, err := AccessToken(NewSecret("AgFixed"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		authorizer Authorizer
		want       []string
	}{
		{"a fixed token", fixed, []string{"Bearer AgFixed"}},
		{"user and password", Basic("Aladdin", NewSecret("open sesame")), []string{"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}},
		{"none", None(), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, _ := http.NewRequest("GET", "https://example.org/", nil)
			req.Header["Authorization"] = []string{"Bearer callers", "Basic eDp5"}
			tok, err := tt.authorizer.Authorize(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := req.Header["Authorization"]; !slices.Equal(got, tt.want) {
				t.Errorf("%d Authorization values, not the %d that were wanted", len(got), len(tt.want))
			}
			if (tok.Fingerprint() == "") != (tt.want == nil) {
				t.Errorf("fingerprint %q, want one exactly if there is a credential", tok.Fingerprint())
			}
			if tt.authorizer.Rejected(tok) {
				t.Error("Rejected() = true, want false: no other token can be had")
			}
		})
	}
}

func TestAccessToken_RefusesWhatCannotBeSent(t *testing.T) {
	for name, value := range map[string]string{"empty": "", "newline": canary + "\n", "space": "a " + canary} {
		_, err := AccessToken(NewSecret(value))
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantNothingOf(t, name, err.Error(), canary)
	}
}
