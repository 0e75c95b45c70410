package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"bearerd/policy"
)

// Explanation is the line a request would travel, as far as it would get.
type Explanation struct {
	ID       string
	Upstream string // "" if it does not get so far; so with the others
	Caller   string
	Path     string // decided on and forwarded, below the upstream's prefix
	Target   string // METHOD and URL that the upstream would be asked for, without query
	Rules    []policy.Step
	Answered bool   // by bearerd itself: a preflight, or the token shim
	Allowed  bool   // it would be forwarded
	Rule     string // that decided
	// Credential is what it would be forwarded with, and Scopes what that is asked
	// for with; nil if it is not by grant.
	Credential string
	Scopes     []string
	Refusal    *Error // why it would not be forwarded
	Status     int    // of that answer

	step string // the last it took
}

// Explain takes r, as the server reads it from a connection, down the line of the
// listener of that index, up to where it would be forwarded, and tells what became
// of it. Local is the connection's own address, which Host may name. As names the
// caller instead of what r shows; "": who r comes from, and that is the user who runs
// this process. Nothing is forwarded, told to Observers or counted. Deps.Limiter and
// Deps.Audit must be nil.
func (p *Proxy) Explain(listener int, r *http.Request, local net.Addr, as string) Explanation {
	l, t := &Listener{p, listener}, p.table.Load()
	x, r := begin(r, p.budget)
	r = r.WithContext(context.WithValue(ownConnection(r.Context()), http.LocalAddrContextKey, local))
	x.as = as
	defer x.body.release()
	out, err := t.admit(l, noAnswer{http.Header{}}, r, x)
	e := Explanation{ID: x.ID, Upstream: x.Upstream, Caller: x.Caller, Path: x.Path, Rule: x.Rule, Credential: x.Credential, Scopes: x.bound.asked, step: x.step}
	e.Answered, e.Allowed = err == nil && out == nil, out != nil
	if x.line != nil {
		u := x.line.target(x.Path, "")
		e.Target = x.Method + " " + u.Scheme + "://" + u.Host + u.RawPath
		if x.Decision != "" {
			e.Rules = t.deps.Policy.Explain(x.asked)
		}
	}
	if e.Answered && x.preflight {
		e.step = stepGuard
	}
	if err != nil && !errors.As(err, &e.Refusal) {
		e.Refusal = &Error{Code: "internal", Detail: "bearerd failed on this request", Err: err}
	}
	if e.Refusal != nil {
		e.Status = e.Refusal.statusCode()
	}
	return e
}

// noAnswer is a ResponseWriter for nobody.
type noAnswer struct{ header http.Header }

func (n noAnswer) Header() http.Header       { return n.header }
func (noAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (noAnswer) WriteHeader(int)             {}

// Text is the explanation for a person, a line for each step.
func (e Explanation) Text() string {
	var b strings.Builder
	line := func(step, text string) {
		b.WriteString(step + strings.Repeat(" ", max(11-len(step), 1)) + text + "\n")
	}
	passed := func(step, text string) bool { // and whether the line goes on
		if e.Refusal != nil && e.step == step {
			line(step, "refused with "+strconv.Itoa(e.Status)+" "+e.Refusal.Code+": "+e.Refusal.Error())
			return false
		}
		line(step, text)
		return e.step != step
	}
	if !passed(stepGuard, "passed") || !passed(stepIdentify, "caller "+e.Caller) || !passed(stepRoute, "upstream "+e.Upstream+", path "+e.Path) {
		return b.String()
	}
	if e.step == stepShim {
		passed(stepShim, "answered by bearerd itself, with a placeholder; nothing is forwarded")
		return b.String()
	}
	for _, step := range e.Rules {
		verdict := " does not match: "
		if step.Matched {
			verdict = " matches: "
		}
		if step.Rule == "" {
			line("rules", step.Why)
			continue
		}
		line("rule", step.Rule+verdict+step.Why)
	}
	if passed(stepDecide, "allowed by rule "+e.Rule) {
		line("credential", e.Credential)
		if len(e.Scopes) > 0 {
			line("scopes", strings.Join(e.Scopes, " "))
		}
		line("forward", e.Target)
	}
	return b.String()
}
