package proxy

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"bearerd/credentials"
)

// Shim is what the token shim must know of credentials; a credentials.Set does.
type Shim interface {
	// ClientIDs returns the ids of the clients bearerd acts as, that of a
	// credential first.
	ClientIDs(credential string) []string
	// ResourceServer returns which one a scope is for; "" if that cannot be told.
	ResourceServer(scope string) string
	// Scopes returns those asked for at a resource server; nil if none are.
	Scopes(resourceServer string) []string
	// Lifetime returns how long a token held for it is good for; false if none is held.
	Lifetime(resourceServer string) (time.Duration, bool)
	// Seal returns a code of text that only bearerd can make; "" if it cannot.
	Seal(text string) string
}

// usualLifetime is how long Globus's tokens live, and so what a placeholder says
// where there is no token yet to say it.
const usualLifetime = 48 * time.Hour

// The paths that the shim answers, of Globus Auth.
const (
	tokenPath      = "/v2/oauth2/token"
	introspectPath = tokenPath + "/introspect"
	validatePath   = tokenPath + "/validate"
	revokePath     = tokenPath + "/revoke"

	// maxTokenRequest is how long a token request may be.
	maxTokenRequest = 64 << 10
)

func (t *table) seal(text string) string { return t.deps.Shim.Seal(text) }

// shim answers tools that ask Globus Auth for tokens of their own (RFC 6749
// §4.4): with placeholders, since bearerd sets the token that counts. What it
// does not know for its own it leaves alone, and no rule can allow that. It comes
// before the rules, and serves who has any.
func (t *table) shim(w http.ResponseWriter, r *http.Request, x *Exchange) (answered bool, err error) {
	u := x.line
	path := strings.TrimSuffix(u.base.EscapedPath(), "/") + x.Path
	if !u.hasShim || r.Method != http.MethodPost || !slices.Contains([]string{tokenPath, introspectPath, validatePath, revokePath}, path) {
		return false, nil
	}
	if !t.deps.Policy.MayAnything(x.Caller) {
		x.Decision = "deny"
		return false, &Error{Code: "denied", Key: "policy.rules", oauth: "access_denied",
			Detail: "caller " + x.Caller + " is allowed nothing by any rule, and so is given no token"}
	}
	if err := spool(w, r, x, maxTokenRequest); errors.Is(err, errBudget) {
		return false, overloaded("too many bodies are being read; send the request again")
	} else if err != nil {
		return false, err
	}
	sent := x.body.head
	if !x.body.whole {
		sent = nil // longer than any token request
	}
	form, err := readForm(r, sent)
	if err != nil && path != tokenPath {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var answer any
	if path == tokenPath {
		if form.Get("grant_type") != "client_credentials" {
			return false, nil // other grants hand out other people's tokens
		}
		answer, err = t.grant(r, form, x)
	} else {
		p, ours := parsePlaceholder(form.Get("token"))
		if !ours {
			return false, nil
		}
		answer = t.about(p, path, x)
	}
	if err != nil {
		return false, err
	}
	x.Decision = "allow"
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store") // RFC 6749 §5.1
	h.Set("X-Request-ID", x.ID)
	w.WriteHeader(http.StatusOK)
	_ = json.NewEncoder(w).Encode(answer) // a caller that has gone is no fault of the upstream's
	return true, nil
}

// readForm reads the parameters of a spooled body, each of which may come once
// (RFC 6749 §3.2).
func readForm(r *http.Request, body []byte) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || len(body) == 0 {
		return nil, invalidRequest("invalid_request", "a token request is a form (application/x-www-form-urlencoded) of at most 64 KiB")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidRequest("invalid_request", "the form has an escape or a separator that is none")
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, invalidRequest("invalid_request", "the form has a parameter twice")
		}
	}
	return form, nil
}

func invalidRequest(code, detail string) error {
	return &Error{Code: "token_request_invalid", oauth: code, Detail: detail}
}

// tokenAnswer is one token as Globus Auth writes it.
type tokenAnswer struct {
	AccessToken    string `json:"access_token"`
	Scope          string `json:"scope"`
	ExpiresIn      int64  `json:"expires_in"` // s
	TokenType      string `json:"token_type"`
	ResourceServer string `json:"resource_server"`
}

// grant answers a token request with a placeholder for each resource server that
// its scopes are for, in the order they were asked for.
func (t *table) grant(r *http.Request, form url.Values, x *Exchange) (any, error) {
	scopes, ok := credentials.RootScopes(form.Get("scope"))
	if !ok {
		return nil, invalidRequest("invalid_scope", "scope is missing or no list of scopes; name those of the services to use")
	}
	var tokens []tokenAnswer
	for _, scope := range scopes {
		server := t.deps.Shim.ResourceServer(scope)
		if server == "" {
			return nil, invalidRequest("invalid_scope", "no resource server is known for one of the scopes; leave it out, or name it under credentials.tokens")
		}
		at := slices.IndexFunc(tokens, func(other tokenAnswer) bool { return other.ResourceServer == server })
		if at >= 0 {
			tokens[at].Scope += " " + scope
			continue
		}
		made, err := t.placeholderFor(server, x)
		if err != nil {
			return nil, err
		}
		lifetime, held := t.deps.Shim.Lifetime(server)
		if !held {
			lifetime = usualLifetime
		}
		tokens = append(tokens, tokenAnswer{made, scope, int64(lifetime / time.Second), "Bearer", server})
	}
	x.Warning = foreignClient(r, form, t.deps.Shim.ClientIDs(x.line.credential))
	return struct {
		tokenAnswer
		OtherTokens []tokenAnswer `json:"other_tokens"` // never null: the SDK insists on it
	}{tokens[0], slices.Clip(tokens[1:])}, nil
}

func (t *table) placeholderFor(server string, x *Exchange) (string, error) {
	p := placeholder{resourceServer: server}
	if x.key != nil {
		p.caller = x.Caller
		if p.seal = p.sealFor(*x.key, t.seal); p.seal == "" {
			return "", &Error{Code: "internal", Err: errors.New("no client has a secret"),
				Detail: "no client has a secret to seal a placeholder with; give the tool its key with each request instead"}
		}
	}
	return p.String(), nil
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// foreignClient warns of a tool that thinks it is another client than bearerd's:
// what it does next it does as somebody else.
func foreignClient(r *http.Request, form url.Values, ours []string) string {
	id, _, ok := r.BasicAuth()
	if !ok {
		id = form.Get("client_id")
	}
	if id == "" || len(ours) == 0 || slices.ContainsFunc(ours, func(our string) bool { return strings.EqualFold(our, id) }) {
		return ""
	}
	if !uuidForm.MatchString(id) {
		id = "of another form than Globus's" // it may be anything, also a secret
	}
	return "a tool asked for a token as client " + id + "; it will act as client " + strings.Join(ours, " or ") + ", which is bearerd's"
}

// about answers what a tool asks about a placeholder: whether it is good (RFC
// 7662), and to revoke it (RFC 7009), which changes nothing: it is constant.
func (t *table) about(p placeholder, path string, x *Exchange) any {
	active := p.caller == "" || p.key(t.deps.Policy, t.seal) != nil
	if path != introspectPath || !active {
		return map[string]bool{"active": active && path != revokePath}
	}
	ids := t.deps.Shim.ClientIDs(x.line.credential)
	lifetime, held := t.deps.Shim.Lifetime(p.resourceServer)
	if !held {
		lifetime = usualLifetime
	}
	answer := map[string]any{
		"active": true, "token_type": "Bearer", "scope": strings.Join(t.deps.Shim.Scopes(p.resourceServer), " "),
		"aud": []string{p.resourceServer}, "iss": "https://auth.globus.org", "exp": time.Now().Add(lifetime).Unix(),
	}
	if len(ids) > 0 {
		answer["client_id"], answer["sub"], answer["username"] = ids[0], ids[0], ids[0]+"@clients.auth.globus.org"
	}
	return answer
}
