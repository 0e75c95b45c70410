package emulator

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (e *Emulator) authRoutes() []route {
	return []route{
		{"POST", tokenPath, e.grant},
		{"POST", "/v2/oauth2/token/introspect", e.introspect},
		{"GET", "/v2/oauth2/userinfo", e.userinfo},
		{"GET", "/v2/api/identities", e.identities},
		{"GET", "/.well-known/openid-configuration", e.openidConfiguration},
		{"GET", "/jwk.json", e.keys},
	}
}

// authError is Auth's error shape. Its status is a string, and code comes
// twice: once for Globus, once in lower case for OAuth.
func authError(status int, code, detail string) answer {
	title := http.StatusText(status)
	return uncached(jsonAnswer(status, map[string]any{
		"errors": []map[string]string{{
			"status": strconv.Itoa(status), "id": randomUUID(), "code": code, "title": title, "detail": detail,
		}},
		"error":             strings.ToLower(code),
		"error_description": title,
	}))
}

// oauthError is the bare error shape of RFC 6749 §5.2.
func oauthError(code, description string) answer {
	doc := map[string]string{"error": code}
	if description != "" {
		doc["error_description"] = description
	}
	return uncached(jsonAnswer(http.StatusBadRequest, doc))
}

func refuseAuth(_ *call, status int, detail string) answer {
	return authError(status, strings.ToUpper(strings.ReplaceAll(http.StatusText(status), " ", "_")), detail)
}

// uncached forbids keeping the answer, as RFC 6749 §5.1 demands of tokens.
func uncached(ans answer) answer {
	ans.header.Set("Cache-Control", "no-store")
	return ans
}

// isClient reports whether the caller proved to be the client: HTTP Basic with
// id and secret as they are, not form-encoded first as RFC 6749 §2.3.1 has it.
func (e *Emulator) isClient(c *call) bool {
	id, secret, ok := c.BasicAuth()
	idOK := subtle.ConstantTimeCompare([]byte(id), []byte(e.clientID))
	secretOK := subtle.ConstantTimeCompare([]byte(secret), []byte(*e.secret.Load()))
	return ok && len(c.Header.Values("Authorization")) == 1 && idOK&secretOK == 1
}

func basicFailed() answer {
	return authError(http.StatusUnauthorized, "UNAUTHORIZED", "Basic auth failed")
}

// bearer returns the one bearer token of the request; "" if it has none or
// several.
func (c *call) bearer() string {
	values := c.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, value, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return value
}

// refuse returns the refusal of a request without a live Auth token, or with one
// that has none of the scopes; nil if there is nothing to refuse.
func (e *Emulator) refuse(c *call, scopes ...string) *answer {
	tok, ok := e.tokens.lookup(c.bearer())
	if !ok || tok.resourceServer != authServer {
		ans := authError(http.StatusUnauthorized, "UNAUTHORIZED", "Call must be authenticated")
		return &ans
	}
	if !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(tok.scopes, s) }) {
		ans := authError(http.StatusForbidden, "FORBIDDEN", "Call needs scope "+strings.Join(scopes, " or "))
		return &ans
	}
	return nil
}
