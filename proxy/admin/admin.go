// Package admin is the second listener, for who runs bearerd: whether it lives and
// is ready, its metrics, and how its credentials stand. It changes nothing, and
// nothing it says is secret.
package admin

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"bearerd/credentials"
)

// Deps are live values of the daemon's. All but Profiles must be set.
type Deps struct {
	Status    func() []credentials.Status
	Draining  func() bool
	Upstreams func() map[string][]string // the credentials of each
	Metrics   http.Handler
	Version   string
	Profiles  bool // are answered to operators
}

// Report is what /api/v1/status answers.
type Report struct {
	Version     string               `json:"version"`
	Ready       bool                 `json:"ready"`
	Draining    bool                 `json:"draining"`
	StartedAt   time.Time            `json:"started_at"`
	Credentials []credentials.Status `json:"credentials"`
}

type admin struct {
	deps     Deps
	started  time.Time
	obtained atomic.Bool // every required credential was, once
}

// New returns the handlers of admin.address and of admin.probe_address.
func New(deps Deps) (operators, probes http.Handler) {
	a := &admin{deps: deps, started: time.Now()}
	few := http.NewServeMux()
	few.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	few.HandleFunc("GET /readyz", a.readyz(false))
	few.Handle("GET /metrics", deps.Metrics)
	all := http.NewServeMux()
	all.Handle("/", few)
	all.HandleFunc("GET /readyz", a.readyz(true))
	all.HandleFunc("GET /api/v1/status", a.status)
	there := "bearerd " + deps.Version + "\n/livez\n/readyz  ?verbose  ?upstream=NAME\n/metrics\n/api/v1/status\n"
	if deps.Profiles {
		all.HandleFunc("GET /debug/pprof/{name}", profile)
		there += "/debug/pprof/profile  ?seconds=30  or heap, allocs, goroutine, trace\n"
	}
	all.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, there) })
	return hardened(guarded(all)), hardened(few)
}

// hardened sets what every answer has.
func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// guarded refuses what a web page in a browser of this machine could send: a
// foreign Host (DNS rebinding), and everything that says which page it is from.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isOwnHost(r):
			text(w, http.StatusMisdirectedRequest, "bearerd: this Host is not the admin listener's; use localhost or the address itself\n")
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			text(w, http.StatusForbidden, "bearerd: web pages have no business here\n")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func isOwnHost(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// ready reports whether every required credential was obtained once, and bearerd
// is not draining. Once it was ready it stays so whatever tokens do: a token
// endpoint that is down must not take every replica out of service.
func (a *admin) ready() bool {
	if !a.obtained.Load() && !slices.ContainsFunc(a.deps.Status(), isAwaited) {
		a.obtained.Store(true)
	}
	return a.obtained.Load() && !a.deps.Draining()
}

func isAwaited(s credentials.Status) bool { return s.Required && !s.Obtained }

// readyz says whether requests should be sent here; with ?upstream=NAME, whether
// that upstream's credentials have a token now. Why not is for operators: other
// machines are told which credential, and how it stands.
func (a *admin) readyz(operators bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { a.answerReady(w, r, operators) }
}

func (a *admin) answerReady(w http.ResponseWriter, r *http.Request, operators bool) {
	query := r.URL.Query()
	statuses, ready := a.deps.Status(), a.ready()
	if query.Has("upstream") {
		wanted, known := a.deps.Upstreams()[query.Get("upstream")]
		if !known {
			text(w, http.StatusNotFound, "bearerd: no such upstream\n")
			return
		}
		statuses = slices.DeleteFunc(statuses, func(s credentials.Status) bool { return !slices.Contains(wanted, s.Credential) })
		ready = !a.deps.Draining() && !slices.ContainsFunc(statuses, func(s credentials.Status) bool { return !hasToken(s) })
	}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	if operators && strings.Contains(r.Header.Get("Accept"), "json") {
		writeJSON(w, status, a.report(ready, statuses))
		return
	}
	var b strings.Builder
	if query.Has("verbose") || !ready {
		for _, s := range statuses {
			b.WriteString(line(s, operators))
		}
	}
	if a.deps.Draining() {
		b.WriteString("[-]draining\n")
	}
	b.WriteString(map[bool]string{true: "ok\n", false: "not ready\n"}[ready])
	text(w, status, b.String())
}

func hasToken(s credentials.Status) bool {
	return s.State == credentials.StateFresh || s.State == credentials.StateStale || s.State == credentials.StateFixed
}

// line is a credential as Kubernetes writes checks, with the last failure in words
// or only its class.
func line(s credentials.Status, inWords bool) string {
	mark, why := "+", "ok"
	if !hasToken(s) {
		mark, why = "-", string(s.State)
	}
	switch {
	case s.Reason != "" && inWords:
		why += ": " + s.Reason
	case s.Class != "":
		why += ": " + string(s.Class)
	}
	return fmt.Sprintf("[%s]credential/%s %s\n", mark, s.Credential, why)
}

func (a *admin) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.report(a.ready(), a.deps.Status()))
}

func (a *admin) report(ready bool, statuses []credentials.Status) Report {
	return Report{a.deps.Version, ready, a.deps.Draining(), a.started.UTC().Truncate(time.Second), statuses}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v) // who asked has gone
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // who asked has gone
}
