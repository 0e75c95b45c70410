package emulator

import (
	"net/http"
	"net/url"
	"strings"
)

// An api is one of the hosts: its routes and the shape of its refusals.
type api struct {
	name   string // as in Record.Service
	routes []route
	serve  func(*call) answer // in place of routes, where every path is one
	refuse func(c *call, status int, detail string) answer
}

// A route is what is done for one method on one path. In the pattern, {} stands
// for any one segment that is not empty. Nothing is cleaned and nothing is
// redirected, as http.ServeMux would.
type route struct {
	method, pattern string
	handle          func(*call) answer
}

// route finds the route for c, with HEAD taken as GET, and answers 404 or 405
// when there is none.
func (a *api) route(c *call) answer {
	if a.serve != nil {
		return a.serve(c)
	}
	method := c.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	segments, err := decodedSegments(c.URL)
	if err != nil {
		return a.refuse(c, http.StatusBadRequest, "The path is badly encoded")
	}
	var allow []string
	for _, rt := range a.routes {
		vars, ok := rt.match(segments)
		if !ok {
			continue
		}
		if rt.method != method {
			allow = append(allow, rt.method)
			continue
		}
		c.vars = vars
		return rt.handle(c)
	}
	if allow == nil {
		return a.refuse(c, http.StatusNotFound, "No such resource")
	}
	ans := a.refuse(c, http.StatusMethodNotAllowed, "The resource does not know this method")
	ans.header.Set("Allow", strings.Join(allow, ", "))
	return ans
}

func (rt route) match(segments []string) (vars []string, ok bool) {
	i := 0
	for want := range strings.SplitSeq(rt.pattern, "/") {
		switch {
		case i == len(segments):
			return nil, false
		case want == "{}" && segments[i] != "":
			vars = append(vars, segments[i])
		case want != segments[i]:
			return nil, false
		}
		i++
	}
	return vars, i == len(segments)
}

// decodedSegments splits the path as it arrived and only then decodes, so that
// an encoded slash stays inside its segment.
func decodedSegments(u *url.URL) ([]string, error) {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, err
		}
		segments[i] = decoded
	}
	return segments, nil
}
