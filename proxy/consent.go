package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"bearerd/credentials"
)

const (
	// maxDemand is how much of a 403's body is read to see what it demands.
	maxDemand = 64 << 10
	// maxConsentScope is how long a scope to consent to may be; Globus's have 300 bytes.
	maxConsentScope = 1 << 10

	transferScope = "urn:globus:auth:scope:transfer.api.globus.org:all"
	globusScopes  = "https://auth.globus.org/scopes/"
)

// What the log says of demands that stay as they are.
const (
	warnSession    = "the upstream demands a session of a person, which a service account cannot have"
	warnNoConsent  = "the upstream demands consent that could not be granted"
	warnConsenting = "the upstream demands consent that was granted before"
)

// consent is the RoundTripper that grants what a ConsentRequired asks for. A
// service account consents by being granted the scope: the token that comes with
// it is discarded, the one in use is then good for the collection, and the request
// is sent once more if its body can be. Only the data_access of exactly one
// collection, under a scope that the credential has anyway, is granted: all it
// opens is that collection, to the extent that its owner lets this account in.
// Presets other than Transfer's and Timers' have none: who runs a collection or a
// flow could have consent granted to what is not theirs.
type consent struct{ next http.RoundTripper }

func (c consent) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req)
	sent := time.Now()
	resp, err := c.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusForbidden || !x.line.consents {
		return resp, err
	}
	scope, collection := x.demanded(resp)
	consenter, able := x.bound.authorizer.(credentials.Consenter)
	if scope == "" || !able {
		return resp, nil
	}
	asked := time.Now()
	err = consenter.Consent(req.Context(), scope, map[string]string{
		"request_id": x.ID, "caller": x.Caller, "upstream": x.Upstream, "rule": x.Rule, "collection": collection,
	})
	x.TokenWait += time.Since(asked)
	var before *credentials.ConsentedError
	switch {
	case err == nil:
		x.Consent = collection
	case req.Context().Err() != nil:
		return resp, nil // nobody waits for it
	case !errors.As(err, &before):
		x.Warning, x.Err = warnNoConsent, fmt.Errorf("granting consent: %w", err)
		return resp, nil
	case !sent.Before(before.At):
		x.Warning = warnConsenting
		return resp, nil
	}
	if !x.canRepeat() {
		return resp, nil // what comes next will find the consent
	}
	discard(resp)
	return c.next.RoundTrip(req)
}

// demand is what of a 403 is looked at.
type demand struct {
	Code           string                     `json:"code"`
	RequiredScopes []string                   `json:"required_scopes"`
	Parameters     map[string]json.RawMessage `json:"authorization_parameters"`
}

// demanded returns the scope that a 403 wants consent to, and whose data_access
// that is; "" for any other 403, whatever it says.
func (x *Exchange) demanded(resp *http.Response) (scope, collection string) {
	var d demand
	if !peekJSON(resp, maxDemand, &d) {
		return "", ""
	}
	if d.wantsSession() {
		x.Warning = warnSession
		return "", ""
	}
	scopes, ok := d.scopes()
	if d.Code != "ConsentRequired" || !ok || len(scopes) != 1 {
		return "", ""
	}
	return dataAccess(scopes[0], x.bound.asked)
}

// wantsSession reports whether a person would have to log in (again).
func (d demand) wantsSession() bool {
	for name, value := range d.Parameters {
		if strings.HasPrefix(name, "session_required_") && !slices.Contains([]string{"null", "false", "[]", `""`}, string(value)) {
			return true
		}
	}
	return false
}

// scopes returns those that are required, and false if the two places for them disagree.
func (d demand) scopes() ([]string, bool) {
	raw, there := d.Parameters["required_scopes"]
	if !there || string(raw) == "null" {
		return d.RequiredScopes, true
	}
	var other []string
	if json.Unmarshal(raw, &other) != nil {
		return nil, false
	}
	return other, d.RequiredScopes == nil || slices.Equal(other, d.RequiredScopes)
}

// dataAccess returns the scope to be granted for text, and the collection whose
// data_access it is: one right below a scope that was asked for, or below
// Transfer's below that, as Timers has it. "" for anything else.
func dataAccess(text string, asked []string) (scope, collection string) {
	links, ok := scopeChain(text)
	if !ok || !slices.ContainsFunc(asked, func(one string) bool {
		root, _, _ := strings.Cut(one, "[")
		return root == links[0]
	}) {
		return "", ""
	}
	if len(links) == 3 && links[0] != transferScope && links[1] == transferScope {
		links = links[1:]
	}
	if len(links) != 2 {
		return "", ""
	}
	id, isURL := strings.CutPrefix(links[1], globusScopes)
	id, isAccess := strings.CutSuffix(id, "/data_access")
	if !isURL || !isAccess || !uuid.MatchString(id) {
		return "", ""
	}
	collection = strings.ToLower(id)
	return strings.Replace(text, id, collection, 1), collection
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// scopeChain reads a scope of which each has at most one dependent one in its
// brackets, optional or not: a[*b[c]] is a, b, c.
func scopeChain(text string) ([]string, bool) {
	if len(text) > maxConsentScope {
		return nil, false
	}
	var links []string
	for {
		name, inner, nested := strings.Cut(text, "[")
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`]*"\`, r) }) {
			return nil, false
		}
		links = append(links, name)
		if !nested {
			return links, true
		}
		inner, closed := strings.CutSuffix(inner, "]")
		if !closed {
			return nil, false
		}
		text = strings.TrimPrefix(inner, "*")
	}
}
