package emulator

import (
	"crypto/sha512"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

const (
	issuer           = "https://auth.globus.org"
	identityProvider = "3dcf7f8a-0b5e-4a4d-9d3a-8a2a7a3f6c11" // who vouches for identities at clients.auth.globus.org
)

// username is what a service account is called where people have theirs.
func (e *Emulator) username() string { return e.clientID + "@clients.auth.globus.org" }

// identityClaims describe the service account as OpenID Connect has it.
func (e *Emulator) identityClaims() map[string]any {
	return map[string]any{
		"sub":                            e.clientID,
		"preferred_username":             e.username(),
		"name":                           "bearerd demo",
		"email":                          nil,
		"organization":                   nil,
		"identity_provider":              identityProvider,
		"identity_provider_display_name": "Globus Client",
		"last_authentication":            nil,
	}
}

func (e *Emulator) userinfo(c *call) answer {
	if refusal := e.refuse(c, "openid"); refusal != nil {
		return *refusal
	}
	return jsonAnswer(http.StatusOK, e.identityClaims())
}

// identities looks identities up by ids or usernames. The client is the only
// one there is; others are left out, as Auth leaves out those it does not know.
func (e *Emulator) identities(c *call) answer {
	scopes := append(strings.Fields(AuthScopes), urnScope+"auth.globus.org:view_identities")
	if refusal := e.refuse(c, scopes...); refusal != nil {
		return *refusal
	}
	query := c.URL.Query()
	ids, names := query.Get("ids"), query.Get("usernames")
	if (ids == "") == (names == "") {
		return authError(http.StatusBadRequest, "BAD_REQUEST", "Either ids or usernames must be given")
	}
	found := []map[string]any{}
	if slices.Contains(strings.Split(ids, ","), e.clientID) || slices.Contains(strings.Split(names, ","), e.username()) {
		found = append(found, map[string]any{
			"id": e.clientID, "username": e.username(), "name": "bearerd demo", "email": nil, "organization": nil,
			"status": "used", "identity_type": "client", "identity_provider": identityProvider,
		})
	}
	return jsonAnswer(http.StatusOK, map[string]any{"identities": found})
}

// introspect tells the client about a token (RFC 7662).
func (e *Emulator) introspect(c *call) answer {
	if !e.isClient(c) {
		return basicFailed()
	}
	form, err := c.form()
	if err != nil {
		return oauthError("invalid_request", err.Error())
	}
	tok, ok := e.tokens.lookup(form.Get("token"))
	if !ok {
		return uncached(jsonAnswer(http.StatusOK, map[string]bool{"active": false}))
	}
	return uncached(jsonAnswer(http.StatusOK, map[string]any{
		"active": true, "token_type": "Bearer", "scope": strings.Join(tok.scopes, " "),
		"client_id": e.clientID, "sub": e.clientID, "username": e.username(),
		"name": "bearerd demo", "email": nil, "iss": issuer, "aud": []string{tok.resourceServer, e.clientID},
		"iat": tok.issued.Unix(), "nbf": tok.issued.Unix(), "exp": tok.expires.Unix(),
	}))
}

func (e *Emulator) openidConfiguration(*call) answer {
	return jsonAnswer(http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"authorization_endpoint":                issuer + "/v2/oauth2/authorize",
		"token_endpoint":                        issuer + tokenPath,
		"introspection_endpoint":                issuer + tokenPath + "/introspect",
		"revocation_endpoint":                   issuer + tokenPath + "/revoke",
		"userinfo_endpoint":                     issuer + "/v2/oauth2/userinfo",
		"jwks_uri":                              issuer + "/jwk.json",
		"scopes_supported":                      strings.Fields(AuthScopes),
		"response_types_supported":              []string{"code"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
		"id_token_signing_alg_values_supported": []string{"RS512"},
		"subject_types_supported":               []string{"public"},
	})
}

// keys is a key set of one key, whose private half nobody has.
func (e *Emulator) keys(*call) answer {
	var modulus []byte
	for _, part := range []string{"a", "b", "c", "d"} { // 4 of 64 bytes
		sum := sha512.Sum512([]byte(part))
		modulus = append(modulus, sum[:]...)
	}
	modulus[0] |= 0x80
	modulus[len(modulus)-1] |= 1
	return jsonAnswer(http.StatusOK, map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "alg": "RS512", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(modulus),
	}}})
}
