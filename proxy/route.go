package proxy

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// router finds upstreams. Only this file knows whose it is.
type router struct{ *mux.Router }

// found is what it found.
type found struct{ mux.RouteMatch }

// noVariables are what routes have in their patterns; mux would make them anew each time.
var noVariables = map[string]string{}

// newRouter makes the router of host routes and prefixes; listeners of one
// upstream do without. It is asked for matches only and serves nothing, so that
// it never redirects. The longest prefix is first.
func newRouter(upstreams map[string]*Upstream) router {
	routes := mux.NewRouter()
	for _, name := range names(upstreams) {
		if u := upstreams[name]; u.host != "" {
			routes.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
				return hostName(r.Host) == u.host
			}).Handler(u)
		}
	}
	longestFirst := names(upstreams)
	slices.SortStableFunc(longestFirst, func(a, b string) int {
		return cmp.Compare(len(upstreams[b].prefix), len(upstreams[a].prefix))
	})
	for _, name := range longestFirst {
		u := upstreams[name]
		routes.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
			return isBelow(exchangeOf(r).Target, u.prefix)
		}).Handler(u)
	}
	return router{routes}
}

// isBelow reports whether a raw path is a prefix or goes on from it by a segment:
// /transferX is not below /transfer. It is asked of the path that is forwarded; mux's
// own paths are made anew of it, and matched by regular expressions.
func isBelow(path, prefix string) bool {
	rest, found := strings.CutPrefix(path, prefix)
	return found && (rest == "" || rest[0] == '/')
}

// route finds the upstream: the one at whose URL the request is sent, else the
// listener's own, else the one whose host the request names, else the one whose
// prefix the path starts with. It fills Upstream and Path.
func (t *table) route(l *Listener, r *http.Request, x *Exchange) (err error) {
	u := t.upstreams[t.listeners[l.index].Upstream]
	switch {
	case x.sentTo != "":
		if u, x.prefix, err = t.routeSite(l, x); err != nil {
			return err
		}
	case u == nil:
		x.found.Vars = noVariables
		if !t.router.Match(r, &x.found.RouteMatch) {
			return &Error{Code: "no_upstream", Key: "proxy.upstreams",
				Detail: "no upstream has this prefix; there are " + strings.Join(t.prefixes(), ", ")}
		}
		u = x.found.Handler.(*Upstream)
		if u.host == "" || hostName(r.Host) != u.host {
			x.prefix = u.prefix
		}
	}
	x.line, x.Upstream = u, u.name
	x.Path = strings.TrimPrefix(x.Target, x.prefix)
	if x.Path == "" {
		x.Path = "/"
	}
	if u.files {
		return nil
	}
	if why := checkStrict(x.Path); why != "" {
		return ambiguous("the path " + why)
	}
	return nil
}

func (t *table) prefixes() []string {
	var prefixes []string
	for _, name := range names(t.upstreams) {
		prefixes = append(prefixes, t.upstreams[name].prefix)
	}
	return prefixes
}
