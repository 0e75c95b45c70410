package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"bearerd/credentials"
	"bearerd/policy"
)

// decide asks policy whether the caller may, and takes the credential the
// decision names. It fills Decision, Rule and Credential.
func (t *table) decide(r *http.Request, x *Exchange) error {
	if err := x.line.refuseInbound(r, x); err != nil {
		return err
	}
	asked := policy.Request{Caller: x.Caller, Upstream: x.Upstream, Method: x.Method, Path: x.Path}
	decision := t.deps.Policy.Decide(asked)
	if !decision.Allowed {
		x.Decision = "deny"
		return t.denied(asked, decision)
	}
	x.Decision, x.Rule = "allow", decision.Rule
	name := decision.Credential
	if name == "" {
		name = x.line.credentialFor(x.Method, x.Path)
	}
	bound, ok := t.bounds[name]
	if !ok {
		return &Error{Code: "internal", Rule: decision.Rule, Detail: "the rule names a credential that does not exist; this is a bug"}
	}
	if name == credentials.NoCredential {
		bound.origin = originOf(x.line.base) // it is nothing, and may go anywhere
	}
	x.bound, x.Credential = bound, name
	return nil
}

// credentialFor returns the credential of the requests to a raw path below the
// upstream, where the decision names none.
func (u *Upstream) credentialFor(method, path string) string {
	for _, route := range u.routes {
		if route.matches(method, path) {
			return route.Credential
		}
	}
	return u.credential
}

func (c CredentialRoute) matches(method, path string) bool {
	want, got := strings.Split(c.Path, "/"), strings.Split(path, "/")
	if c.Method != method || len(want) != len(got) {
		return false
	}
	for i := range want {
		segment, err := url.PathUnescape(got[i])
		if err != nil || want[i] != "*" && !strings.EqualFold(want[i], segment) || want[i] == "*" && segment == "" {
			return false
		}
	}
	return true
}

func (t *table) denied(asked policy.Request, decision policy.Decision) error {
	what := fmt.Sprintf("caller %s may not %s %s of upstream %s", asked.Caller, asked.Method, asked.Path, asked.Upstream)
	if decision.Never {
		return &Error{Code: "denied", Detail: what + ": this path hands out or takes away credentials and is never forwarded, whatever the rules say"}
	}
	return &Error{Code: "denied", Key: "policy.rules",
		Detail: what + ": no rule allows it; to allow it, add under policy.rules: " + t.deps.Policy.Suggest(asked)}
}
