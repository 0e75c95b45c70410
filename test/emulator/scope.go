package emulator

import (
	"errors"
	"fmt"
	"strings"
)

// A scope is one of a request's, with the dependent scopes in its brackets:
// name[dependent *optional[deeper]].
type scope struct {
	name      string
	dependent []scope
}

const maxScopeDepth = 8 // brackets in brackets

// parseScopes reads the scope field of a token request. Spaces inside brackets
// part dependent scopes, not root scopes.
func parseScopes(s string) ([]scope, error) {
	p := scopeParser{rest: s}
	list, err := p.list(0)
	switch {
	case err != nil:
		return nil, err
	case p.rest != "":
		return nil, errors.New("closing bracket without an opening one")
	case len(list) == 0:
		return nil, errors.New("no scope is asked for")
	}
	return list, nil
}

type scopeParser struct{ rest string }

// list reads scopes up to the end or to the bracket that closes them.
func (p *scopeParser) list(depth int) (list []scope, err error) {
	if depth > maxScopeDepth {
		return nil, fmt.Errorf("brackets are more than %d deep", maxScopeDepth)
	}
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.rest == "" || p.rest[0] == ']' {
			return list, nil
		}
		s, err := p.one(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
}

func (p *scopeParser) one(depth int) (s scope, err error) {
	if depth > 0 {
		p.rest = strings.TrimPrefix(p.rest, "*")
	}
	end := strings.IndexAny(p.rest+" ", "[]* ")
	if end == 0 {
		return scope{}, errors.New("a scope has no name")
	}
	s.name, p.rest = p.rest[:end], p.rest[end:]
	if inner, ok := strings.CutPrefix(p.rest, "["); ok {
		p.rest = inner
		if s.dependent, err = p.list(depth + 1); err != nil {
			return scope{}, err
		}
		if p.rest, ok = strings.CutPrefix(p.rest, "]"); !ok {
			return scope{}, errors.New("opening bracket without a closing one")
		}
	}
	if p.rest != "" && !strings.ContainsRune(" ]", rune(p.rest[0])) {
		return scope{}, fmt.Errorf("%q cannot follow a scope", p.rest[:1])
	}
	return s, nil
}

const (
	urnScope = "urn:globus:auth:scope:"
	urlScope = "https://auth.globus.org/scopes/"

	flowsID      = "eec9b274-0c81-4334-bdc2-54e90e689b9a"
	timersServer = "524230d7-ea86-4a52-8312-86065a9e0417"
	timersScope  = urlScope + timersServer + "/timer"
)

// dataAccess is the scope that a mapped collection has of its own.
func dataAccess(collection string) string { return urlScope + collection + "/data_access" }

// collectionOf returns whose data_access a scope is.
func collectionOf(name string) (id string, ok bool) {
	rest, isURL := strings.CutPrefix(name, urlScope)
	id, isAccess := strings.CutSuffix(rest, "/data_access")
	return id, isURL && isAccess
}

// knownScopes maps each fixed scope of Globus to its resource server, which
// cannot always be read out of the scope.
func knownScopes() map[string]string {
	known := make(map[string]string)
	for _, t := range []struct{ resourceServer, prefix, names string }{
		{authServer, "", AuthScopes},
		{authServer, urnScope + "auth.globus.org:", "manage_projects view_authentications view_clients " +
			"view_clients_and_scopes view_consents view_identities view_identity_set"},
		{transferServer, urnScope + "transfer.api.globus.org:", "all gcp_install"},
		{"groups.api.globus.org", urnScope + "groups.api.globus.org:", "all view_my_groups_and_memberships"},
		{"search.api.globus.org", urnScope + "search.api.globus.org:", "all ingest search globus_connect_server"},
		{"nexus.api.globus.org", urnScope + "nexus.api.globus.org:", "groups"},
		{flowsServer, urlScope + flowsID + "/", "all manage_flows view_flows " +
			"run run_status run_manage"},
		{timersServer, urlScope + timersServer + "/", "timer"},
		{"funcx_service", urlScope + "facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/", "all"},
	} {
		for name := range strings.FieldsSeq(t.names) {
			known[t.prefix+name] = t.resourceServer
		}
	}
	return known
}

// resourceServer returns whose scope name is: from the table of known ones, or
// by form for those that every collection, endpoint and flow has of its own.
// Only mapped collections have data_access.
func (e *Emulator) resourceServer(name string) (string, bool) {
	if rs, ok := e.scopes[name]; ok {
		return rs, true
	}
	var id, kind string
	if rest, ok := strings.CutPrefix(name, urlScope); ok {
		id, kind, _ = strings.Cut(rest, "/")
	} else if rest, ok := strings.CutPrefix(name, urnScope); ok {
		id, kind, _ = strings.Cut(rest, ":")
		kind = "urn " + kind
	}
	switch kind {
	case "https", "urn manage_collections", "flow_" + strings.ReplaceAll(id, "-", "_") + "_user":
		return id, isUUID(id)
	case "data_access":
		col, _ := e.collection(id)
		return id, col.mapped()
	}
	return "", false
}

// unknown returns the names in list, at any depth, that no one has.
func (e *Emulator) unknown(list []scope) (names []string) {
	for _, s := range list {
		if _, ok := e.resourceServer(s.name); !ok {
			names = append(names, s.name)
		}
		names = append(names, e.unknown(s.dependent)...)
	}
	return names
}

func isUUID(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) != 5 {
		return false
	}
	for i, size := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != size || strings.Trim(parts[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return true
}
