package credentials

import (
	"slices"
	"strings"
)

// maxScopes is how many a token request may name: more than Globus has services.
const maxScopes = 256

// RootScopes splits a scope parameter (RFC 6749 §3.3) into its scopes, each once
// and without the dependent scopes that Globus writes in brackets behind one:
// what Globus Auth names in its answer. It reports false for what is no list of
// scopes, for an empty one, and for one of more than 256.
func RootScopes(parameter string) ([]string, bool) {
	var roots []string
	depth, start := 0, 0
	for i, r := range parameter + " " {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		case ' ':
			if depth != 0 {
				continue
			}
			scope := parameter[start:i]
			start = i + 1
			if scope == "" {
				continue
			}
			root, _, _ := strings.Cut(scope, "[")
			if !validScope(scope) || root == "" {
				return nil, false
			}
			if !slices.Contains(roots, root) {
				roots = append(roots, root)
			}
			if len(roots) > maxScopes {
				return nil, false
			}
		}
	}
	return roots, depth == 0 && len(roots) > 0
}

// ResourceServer returns which resource server a scope is for: one that the
// configuration or KnownScopes names for it or for its siblings, else the one
// that its own text names. It returns "" for a scope of which none can be told.
func (s *Set) ResourceServer(scope string) string {
	family := scopeFamily(scope)
	for _, same := range []func(string) bool{
		func(known string) bool { return known == scope },
		func(known string) bool { return family != "" && scopeFamily(known) == family },
	} {
		for _, name := range names(s.config.Tokens) {
			token := s.config.Tokens[name]
			if token.ResourceServer != "" && slices.ContainsFunc(token.Scopes, func(known string) bool {
				root, _, _ := strings.Cut(known, "[")
				return same(root)
			}) {
				return token.ResourceServer
			}
		}
		for _, known := range names(s.deps.KnownScopes) {
			if same(known) {
				return s.deps.KnownScopes[known]
			}
		}
	}
	return family
}

// scopeFamily returns what Globus's scopes of one resource server have in common:
// urn:globus:auth:scope:FAMILY:NAME, https://auth.globus.org/scopes/FAMILY/NAME.
// It is the resource server's name or UUID, but for services that are called
// otherwise (Flows, Compute). "" for scopes of another form.
func scopeFamily(scope string) string {
	for prefix, end := range map[string]string{"urn:globus:auth:scope:": ":", "https://auth.globus.org/scopes/": "/"} {
		if rest, ok := strings.CutPrefix(scope, prefix); ok {
			family, name, _ := strings.Cut(rest, end)
			if family == "" || name == "" {
				return ""
			}
			return family
		}
	}
	return ""
}
