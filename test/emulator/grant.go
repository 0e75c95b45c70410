package emulator

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tokenDocument is one token on the wire.
type tokenDocument struct {
	AccessToken    string `json:"access_token"`
	Scope          string `json:"scope"`
	ExpiresIn      int64  `json:"expires_in"` // seconds
	TokenType      string `json:"token_type"`
	ResourceServer string `json:"resource_server"`
	IDToken        string `json:"id_token,omitempty"`
}

// grantDocument is the token endpoint's 200: one token on top, those of further
// resource servers below it.
type grantDocument struct {
	tokenDocument
	OtherTokens []tokenDocument `json:"other_tokens"` // never null
}

// grant is the token endpoint: the client credentials grant of RFC 6749 §4.4.
func (e *Emulator) grant(c *call) answer {
	if !e.isClient(c) {
		return basicFailed()
	}
	form, err := c.form()
	if err != nil {
		return oauthError("invalid_request", err.Error())
	}
	if form.Get("grant_type") != "client_credentials" {
		return oauthError("unsupported_grant_type", "")
	}
	roots, err := parseScopes(form.Get("scope"))
	if err != nil {
		return oauthError("invalid_scope", err.Error())
	}
	if unknown := e.unknown(roots); unknown != nil {
		return authError(http.StatusBadRequest, "UNKNOWN_SCOPE_ERROR",
			fmt.Sprintf("client_id=%s requested unknown scopes: ['%s']", e.clientID, strings.Join(unknown, "', '")))
	}
	e.consents.add(roots)
	docs := e.issue(roots)
	for _, doc := range docs {
		c.issued = append(c.issued, "Bearer "+Fingerprint(doc.AccessToken))
	}
	return uncached(jsonAnswer(http.StatusOK, grantDocument{docs[0], docs[1:]}))
}

// issue makes one token for each resource server, in the order they were first
// asked for, with all of its root scopes.
func (e *Emulator) issue(roots []scope) []tokenDocument {
	var servers []string
	scopes := make(map[string][]string)
	for _, root := range roots {
		rs, _ := e.resourceServer(root.name)
		if scopes[rs] == nil {
			servers = append(servers, rs)
		}
		if !slices.Contains(scopes[rs], root.name) {
			scopes[rs] = append(scopes[rs], root.name)
		}
	}
	life := time.Duration(e.lifetime.Load())
	docs := make([]tokenDocument, len(servers))
	for i, rs := range servers {
		docs[i] = tokenDocument{
			AccessToken:    e.tokens.issue(rs, scopes[rs], life),
			Scope:          strings.Join(scopes[rs], " "),
			ExpiresIn:      int64(life / time.Second),
			TokenType:      "Bearer",
			ResourceServer: rs,
		}
		if rs == authServer && slices.Contains(scopes[rs], "openid") {
			docs[i].IDToken = e.idToken(life)
		}
	}
	return docs
}

// idToken has the form and the claims of an ID token; its signature is noise.
func (e *Emulator) idToken(life time.Duration) string {
	claims := e.identityClaims()
	now := time.Now()
	claims["iss"] = issuer
	claims["aud"] = e.clientID
	claims["iat"] = now.Unix()
	claims["exp"] = now.Add(life).Unix()
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(fmt.Sprintf("emulator: encoding an id token: %v", err))
	}
	signature := make([]byte, 256)
	_, _ = rand.Read(signature) // never fails
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS512","typ":"JWT"}`)) + "." + encode(payload) + "." + encode(signature)
}
