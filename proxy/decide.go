package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
)

// noBody is the body of a request that has none. Nobody writes to it.
var noBody = &policy.Body{Whole: true}

// decide asks policy whether the caller may, and takes the credential the
// decision names. It reads as much of the body as a rule that decides wants to
// see, and no body for others. It fills Decision, Rule and Credential.
func (t *table) decide(w http.ResponseWriter, r *http.Request, x *Exchange) error {
	if err := x.line.refuseInbound(r, x); err != nil {
		return err
	}
	asked := &x.asked
	*asked = policy.Request{Caller: x.Caller, Upstream: x.Upstream, Method: x.Method, Path: x.Path, Query: strings.TrimPrefix(x.Query, "?")}
	if r.ContentLength == 0 {
		asked.Body = noBody
	}
	decision := t.deps.Policy.Decide(*asked)
	for decision.Body > 0 {
		if r.ContentLength > int64(x.line.limits.Body) {
			return x.refuseLength()
		}
		if err := spool(w, r, x, decision.Body); errors.Is(err, errBudget) {
			return overloaded("too many bodies are being read for rules that look at them; send the request again")
		} else if err != nil {
			return err
		}
		asked.Body = &policy.Body{
			ContentType: r.Header["Content-Type"], ContentEncoding: r.Header["Content-Encoding"],
			Bytes: x.body.head, Whole: x.body.whole,
		}
		decision = t.deps.Policy.Decide(*asked)
	}
	x.Rule = decision.Rule
	if !decision.Allowed {
		x.Decision = "deny"
		return t.denied(r, *asked, decision, x)
	}
	x.Decision = "allow"
	name := decision.Credential
	if name == "" {
		name = x.line.credentialFor(x.Method, x.Path)
	}
	bound, ok := t.bounds[name]
	if !ok {
		return &Error{Code: "internal", Rule: decision.Rule, Detail: "the rule names a credential that does not exist; this is a bug"}
	}
	if name == credentials.NoCredential {
		bound.base, bound.origin = x.line.base, originOf(x.line.base) // it is nothing, and may go anywhere
	}
	x.bound, x.Credential = bound, name
	if err := t.limit(r, x, decision); err != nil {
		return err
	}
	return t.audit(x)
}

func overloaded(detail string) error {
	return &Error{Code: "overloaded", RetryAfter: time.Second, Detail: detail}
}

// limit waits for what the rule allows the caller at a time.
func (t *table) limit(r *http.Request, x *Exchange, decision policy.Decision) error {
	if decision.Limits == nil || t.deps.Limiter == nil {
		return nil
	}
	release, err := t.deps.Limiter.Acquire(r.Context(), decision.Rule, decision.Limits, x.Caller)
	var limited *policy.LimitError
	if errors.As(err, &limited) {
		return &Error{Code: "rate_limited", Rule: decision.Rule, Key: "policy.rules.limits", RetryAfter: limited.RetryAfter,
			Detail: "caller " + x.Caller + " is at the limits of rule " + decision.Rule + "; send the request again later"}
	}
	x.release = release
	return err
}

// audit notes what is allowed before it is done, and where nothing may happen that
// is not noted, keeps it from happening.
func (t *table) audit(x *Exchange) error {
	if t.deps.Audit == nil {
		return nil
	}
	if err := t.deps.Audit(x); err != nil {
		x.Decision = "deny"
		return &Error{Code: "denied", Rule: x.Rule, Key: "policy.audit", Err: errors.New("writing the audit log"),
			Detail: "the audit log cannot be written, and policy.audit says required: true; see to its file"}
	}
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

func (t *table) denied(r *http.Request, asked policy.Request, decision policy.Decision, x *Exchange) error {
	what := fmt.Sprintf("caller %s may not %s %s of upstream %s", asked.Caller, asked.Method, asked.Path, asked.Upstream)
	explain := "; to see why: bearerd explain " + asked.Method + " " + shellQuote(t.explainable(r, x)) + " --as " + asked.Caller
	switch {
	case decision.Never:
		return &Error{Code: "denied", Detail: what + ": this path hands out or takes away credentials and is never forwarded, whatever the rules say"}
	case decision.Rule != "":
		return &Error{Code: "denied", Rule: decision.Rule, Key: "policy.rules", Detail: what + ": rule " + decision.Rule + " denies it" + explain}
	}
	for _, step := range t.deps.Policy.Explain(asked) {
		if step.Nearly { // a rule without its conditions is nothing to offer
			return &Error{Code: "denied", Key: "policy.rules", Detail: what + ": rule " + step.Rule + " would allow it, but " + step.Why + explain}
		}
	}
	return &Error{Code: "denied", Key: "policy.rules",
		Detail: what + ": no rule allows it; to allow it, add under policy.rules: " + t.deps.Policy.Suggest(asked) + explain}
}

// explainable is what to give to bearerd explain for a request: the URL it was sent
// to, or by the upstream's prefix, or where no listener has prefixes with the host, and
// without its query, which is nobody else's business.
func (t *table) explainable(r *http.Request, x *Exchange) string {
	url := x.line.prefix + x.Path
	if x.sentTo != "" {
		url = x.sentTo + x.Target
	} else if !slices.ContainsFunc(t.listeners, func(l ListenerConfig) bool { return l.Upstream == "" }) {
		url = "http://" + r.Host + x.Target
	}
	if x.Query != "" {
		url += "?..."
	}
	return url
}

// shellQuote writes a path as one word of a shell's command line.
func shellQuote(text string) string {
	if strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789/-._%+:@,=") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
