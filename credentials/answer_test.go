package credentials

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

// grant gives the endpoint's answer to one request that gets body.
func grant(t *testing.T, body string) ([]Token, error) {
	t.Helper()
	return endpoint(answers(http.StatusOK, nil, body)).Grant(t.Context(), nil)
}

// wantOwnWords checks that err is an *Error that holds nothing of a body but
// words bearerd uses itself.
func wantOwnWords(t *testing.T, err error, body string) {
	t.Helper()
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Fatalf("error is a %T, want an *Error", err)
	}
	own := strings.NewReplacer(tokenURL, "", transferServer, "", "token_type", "", "expires_in", "", "resource_server", "", "scope", "", "bearer", "", "access", "")
	text := own.Replace(err.Error())
	for _, word := range strings.FieldsFunc(body, func(r rune) bool { return strings.ContainsRune(` "<>{}[],:`+"\r\n", r) }) {
		if len(word) > 4 && strings.Contains(text, word) {
			t.Errorf("the error quotes the body: %q", word)
		}
	}
}

func TestEndpoint_ReturnsTopLevelAndOtherTokensByResourceServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, err := endpoint(newGlobus()).Grant(t.Context(), []string{"openid", "profile", emulator.TransferScope})
		if err != nil || len(tokens) != 2 {
			t.Fatalf("Grant() = %d tokens, %v; want two", len(tokens), err)
		}
		for i, want := range []struct{ server, scopes string }{
			{authServer, "openid profile"}, {transferServer, emulator.TransferScope},
		} {
			got := tokens[i]
			if got.ResourceServer != want.server || strings.Join(got.Scopes, " ") != want.scopes {
				t.Errorf("token %d is for %s with scopes %q, want %s with %q", i, got.ResourceServer, got.Scopes, want.server, want.scopes)
			}
			if life := time.Until(got.ExpiresAt); life != days(2) {
				t.Errorf("token %d lives for %v, want 48h", i, life)
			}
		}
		if tokens[0].Same(tokens[1]) || tokens[0].Fingerprint() == tokens[1].Fingerprint() {
			t.Error("both tokens are the same")
		}
	})
}

func TestClientCredentials_FindsItsTokenAmongOtherTokens(t *testing.T) {
	g := newGlobus()
	c := transferCredential(g)
	c.key.Scopes = []string{"openid", emulator.TransferScope} // Auth's comes first
	if got := mustToken(t, c).ResourceServer; got != transferServer {
		t.Errorf("token is for %s, want %s", got, transferServer)
	}
}

func TestClientCredentials_NeverUsesATokenOfAnotherResourceServer(t *testing.T) {
	for _, tt := range []struct {
		name, want, got string // resource servers
		reason          string
	}{
		{"another's", transferServer, `"groups.api.globus.org"`, "no token for resource server " + transferServer},
		{"one that only looks alike", transferServer, `"Transfer.api.globus.org"`, "no token for resource server"},
		{"none is named", transferServer, "", "no token for resource server"},
		{"one is named and none is configured", "", `"transfer.api.globus.org"`, "write it as resource_server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := transferCredential(answers(http.StatusOK, nil, tokenIn(map[string]string{"resource_server": tt.got})))
			c.key.ResourceServer = tt.want
			tok, err := c.Token(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.reason) || tok.Fingerprint() != "" {
				t.Errorf("Token() = %v, %v; want no token and an error with %q", tok, err, tt.reason)
			}
		})
	}
}

func TestClientCredentials_TakesTheOnlyTokenOfAServerThatNamesNone(t *testing.T) {
	c := transferCredential(answers(http.StatusOK, nil, tokenIn(map[string]string{"resource_server": "", "other_tokens": ""})))
	c.key.ResourceServer = ""
	mustToken(t, c)
}

func TestEndpoint_RefusesTwoTokensForOneResourceServer(t *testing.T) {
	other := func(server string) string {
		return "[" + tokenIn(map[string]string{"access_token": `"AgOther"`, "resource_server": server}) + "]"
	}
	for name, body := range map[string]string{
		"two of a name": tokenIn(map[string]string{"other_tokens": other(`"transfer.api.globus.org"`)}),
		"two nameless":  tokenIn(map[string]string{"resource_server": "", "other_tokens": other(`""`)}),
	} {
		if _, err := grant(t, body); err == nil || !strings.Contains(err.Error(), "two tokens for the same resource server") {
			t.Errorf("%s: error %v, want a refusal of two tokens", name, err)
		}
	}
}

func TestEndpoint_OneBadTokenSpoilsTheAnswer(t *testing.T) {
	bad := "[" + tokenIn(map[string]string{"token_type": `"mac"`, "resource_server": `"a"`}) + "]"
	if _, err := grant(t, tokenIn(map[string]string{"other_tokens": bad})); err == nil {
		t.Error("an answer with an unusable token in other_tokens was taken")
	}
}

func TestClientCredentials_MalformedAnswers(t *testing.T) {
	for which, want := range map[string]string{ // "" if the token is good
		"not json": "JSON", "html": "without JSON", "empty": "no token response", "truncated": "no token response", "array": "no token response",
		"no access_token": "token is empty", "empty access_token": "token is empty",
		"token with newline": "characters", "token with space": "characters",
		"no expires_in": "", "expires_in zero": "less than a second", "expires_in negative": "less than a second",
		"expires_in string": "", "expires_in huge": "",
		"no token_type": "token_type", "token_type mac": "token_type", "token_type lower case": "",
		"no resource_server": "no token for resource server", "other resource server": "no token for resource server",
		"no scope": "", "no other_tokens": "",
	} {
		t.Run(which, func(t *testing.T) {
			g := newGlobus()
			g.fails(emulator.Malformed(which))
			_, err := transferCredential(g).Token(t.Context())
			if want == "" {
				if err != nil {
					t.Errorf("Token() = %v, want a token", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("error %v, want one with %q", err, want)
			}
			wantOwnWords(t, err, emulator.Malformed(which).Body)
			class := ClassMalformed
			if strings.HasSuffix(which, "resource_server") || strings.HasSuffix(which, "resource server") {
				class = ClassScope // it was asked for the wrong one, or cannot give it
			}
			if refused, _ := errors.AsType[*Error](err); refused.Class != class || refused.Status != http.StatusOK {
				t.Errorf("class %s with status %d, want %s of a 200", refused.Class, refused.Status, class)
			}
		})
	}
}

func TestEndpoint_TokenLivesAsLongAsExpiresInSays(t *testing.T) {
	const refused = 0
	for _, tt := range []struct {
		expiresIn string // JSON; "" if absent
		want      time.Duration
	}{
		{"172800", days(2)},
		{`"3600"`, time.Hour},
		{"3600.9", time.Hour},
		{"3.6e3", time.Hour},
		{"9", 9 * time.Second},
		{"1", time.Second},
		{"", 5 * time.Minute},
		{"null", 5 * time.Minute},
		{"604800", days(7)},
		{"604801", days(7)},
		{"1e18", days(7)},
		{"1e30", days(7)},
		{"99999999999999999999999999", days(7)},
		{"0", refused}, {"0.5", refused}, {"-1", refused}, {"-3600", refused}, {`"-1"`, refused}, {"-1e30", refused},
		{`""`, refused}, {`"Inf"`, refused}, {`"infinity"`, refused}, {`"0x10"`, refused}, {`"1_000"`, refused}, {`"+3600"`, refused}, {`"3600 "`, refused},
		{"true", refused}, {`"soon"`, refused}, {`"NaN"`, refused}, {"1e999", refused}, {`"3600s"`, refused}, {`" 3600"`, refused},
		{"[3600]", refused}, {`{"s":3600}`, refused},
	} {
		t.Run(tt.expiresIn, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens, err := grant(t, tokenIn(map[string]string{"expires_in": tt.expiresIn}))
				if tt.want == refused {
					if err == nil || !strings.Contains(err.Error(), "expires_in") {
						t.Errorf("error %v, want one about expires_in", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Until(tokens[0].ExpiresAt); got != tt.want {
					t.Errorf("the token lives for %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestEndpoint_LifeCountsFromBeforeTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(7 * time.Second)
		asked := time.Now()
		tokens, err := endpoint(g).Grant(t.Context(), []string{emulator.TransferScope})
		if err != nil {
			t.Fatal(err)
		}
		if got := tokens[0].ExpiresAt.Sub(asked); got != days(2) {
			t.Errorf("the token ends %v after the request was made, want 48h", got)
		}
	})
}

func TestEndpoint_TokenSyntax(t *testing.T) {
	long := strings.Repeat("a", maxTokenBytes)
	for _, tt := range []struct {
		name, token string // as JSON
		good        bool
	}{
		{"all characters of RFC 6750", `"AZaz09-._~+/=="`, true},
		{"a JWT", `"eyJh.eyJz.c2ln"`, true},
		{"8 KiB", `"` + long + `"`, true},
		{"8 KiB and one", `"` + long + `a"`, false},
		{"empty", `""`, false},
		{"null", "null", false},
		{"only padding", `"=="`, false},
		{"padding inside", `"a=b"`, false},
		{"CR LF and a header", `"a\r\nX-Injected: 1"`, false},
		{"line feed at the end", `"a\n"`, false},
		{"space", `"a b"`, false},
		{"NUL", `"a\u0000"`, false},
		{"DEL", `"a\u007f"`, false},
		{"not ASCII", `"tökén"`, false},
		{"comma", `"a,b"`, false},
		{"quote", `"a\"b"`, false},
		{"number", "12345", false},
		{"object", `{"a":"b"}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokens, err := grant(t, tokenIn(map[string]string{"access_token": tt.token}))
			if (err == nil) != tt.good {
				t.Fatalf("error %v, want a usable token: %v", err, tt.good)
			}
			if err == nil && `"`+tokens[0].Reveal()+`"` != tt.token {
				t.Error("the token is not the one that came")
			}
		})
	}
}

func TestEndpoint_TokenTypeIsBearerAndIsNeverWrittenAsItCame(t *testing.T) {
	for _, tt := range []struct {
		tokenType string // JSON
		good      bool
	}{
		{`"Bearer"`, true}, {`"bearer"`, true}, {`"BEARER"`, true},
		{"", false}, {"null", false}, {`""`, false}, {`"mac"`, false}, {`"DPoP"`, false}, {`"Basic"`, false},
		{`"Bearer "`, false}, {`"Bearer\r\nX: y"`, false}, {"1", false},
	} {
		t.Run(tt.tokenType, func(t *testing.T) {
			c := transferCredential(answers(http.StatusOK, nil, tokenIn(map[string]string{"token_type": tt.tokenType})))
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+transferServer+"/", nil)
			_, err := c.Authorize(req)
			if (err == nil) != tt.good {
				t.Fatalf("Authorize() = %v, want success: %v", err, tt.good)
			}
			got, good := req.Header["Authorization"], []string{"Bearer AgMadeUp"}
			if tt.good && !slices.Equal(got, good) || !tt.good && got != nil {
				t.Errorf("%d Authorization values, not what was wanted", len(got))
			}
		})
	}
}

func TestEndpoint_TakesOnlyJSONOf200(t *testing.T) {
	deep := strings.Repeat("[", 60_000)
	for _, tt := range []struct {
		name        string
		status      int
		contentType string
		body        string
		good        bool
	}{
		{"with a charset", 200, "application/json; charset=UTF-8", tokenIn(nil), true},
		{"in another case", 200, "Application/JSON", tokenIn(nil), true},
		{"as plain text", 200, "text/plain", tokenIn(nil), false},
		{"as a problem", 200, "application/problem+json", tokenIn(nil), false},
		{"as a form", 200, "application/x-www-form-urlencoded", "access_token=a&token_type=bearer", false},
		{"of a broken type", 200, ";", tokenIn(nil), false},
		{"201", 201, "application/json", tokenIn(nil), false},
		{"203", 203, "application/json", tokenIn(nil), false},
		{"206", 206, "application/json", tokenIn(nil), false},
		{"nested too deep", 200, "application/json", deep, false},
		{"with more behind it", 200, "application/json", tokenIn(nil) + tokenIn(nil), false},
		{"an error", 200, "application/json", `{"error":"invalid_client"}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := endpoint(answers(tt.status, http.Header{"Content-Type": {tt.contentType}}, tt.body)).Grant(t.Context(), nil)
			if (err == nil) != tt.good {
				t.Errorf("Grant() = %v, want success: %v", err, tt.good)
			}
		})
	}
}
