package policy

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// IdentityConfig says how the tokens that callers show are checked.
type IdentityConfig struct {
	Kubernetes *KubernetesConfig    `yaml:"kubernetes"`
	JWT        map[string]JWTConfig `yaml:"jwt"` // by a name for the issuer, which callers use
}

// KubernetesConfig says where the tokens of ServiceAccounts are checked
// (TokenReview). All but Audience default to what the pod that bearerd runs in has.
type KubernetesConfig struct {
	Audience string `yaml:"audience"` // whom the tokens must be for; required: others' tokens would do without
	URL      string `yaml:"url"`      // of the API server
	CA       string `yaml:"ca"`       // file:PATH, whom to believe that it is the API server
	Token    string `yaml:"token"`    // file:PATH, bearerd's own token there
}

// JWTConfig is an issuer whose tokens identify callers (OpenID Connect).
type JWTConfig struct {
	Issuer   string `yaml:"issuer"`   // its URL, as the tokens have it in iss
	Audience string `yaml:"audience"` // whom the tokens must be for; required
	// Algorithms may sign; default all asymmetric ones. One with a shared secret,
	// or none, is never accepted.
	Algorithms []string `yaml:"algorithms"`
	CA         string   `yaml:"ca"`   // file:PATH, whom to believe beside the system's
	JWKS       string   `yaml:"jwks"` // URL of its keys; default: what the issuer's discovery document says
	// InsecureHTTP allows http:// URLs, Private allows private, loopback and
	// link-local addresses. Default false.
	InsecureHTTP bool `yaml:"insecure_http"`
	Private      bool `yaml:"private"`
}

// algorithms are those whose verification needs no secret (RFC 7518, RFC 8037).
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (i IdentityConfig) check(m Mistakes) {
	if k := i.Kubernetes; k != nil {
		path := []any{"identity", "kubernetes"}
		checkAudience(append(path, "audience"), k.Audience, m)
		if k.URL != "" {
			checkURL(append(path, "url"), k.URL, false, "https://kubernetes.default.svc", m)
		}
		checkFile(append(path, "ca"), k.CA, m)
		checkFile(append(path, "token"), k.Token, m)
	}
	names := slices.Sorted(maps.Keys(i.JWT))
	for n, name := range names {
		path, j := []any{"identity", "jwt", name}, i.JWT[name]
		if !ValidName(name) {
			checkName(path, name, false, m)
		}
		checkURL(append(path, "issuer"), j.Issuer, j.InsecureHTTP, "https://gitlab.example.org", m)
		if j.JWKS != "" {
			checkURL(append(path, "jwks"), j.JWKS, j.InsecureHTTP, "https://gitlab.example.org/keys", m)
		}
		checkAudience(append(path, "audience"), j.Audience, m)
		checkFile(append(path, "ca"), j.CA, m)
		for a, algorithm := range j.Algorithms {
			if strings.HasPrefix(algorithm, "HS") || algorithm == "none" {
				m.Add(append(path, "algorithms", a), "%s would let whoever can check a token make one; write one of %s", algorithm, strings.Join(algorithms, ", "))
			} else if !slices.Contains(algorithms, algorithm) {
				m.Unknown(append(path, "algorithms", a), "asymmetric algorithm", algorithm, algorithms)
			}
		}
		for _, other := range names[:n] {
			if o := i.JWT[other]; o.Issuer == j.Issuer && o.Audience == j.Audience && j.Issuer != "" && j.Audience != "" {
				m.Add(path, "nothing tells its tokens from those of %s; keep one, and tell callers apart by claims", other)
			}
		}
	}
}

func checkAudience(path []any, audience string, m Mistakes) {
	if audience == "" {
		m.Add(path, "missing; write whom the tokens are made for, such as bearerd: without it a token made for anybody else would do")
	}
}

func checkURL(path []any, text string, insecure bool, example string, m Mistakes) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		m.Add(path, "missing; write a URL such as %s", example)
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		m.Add(path, "no URL of https with a host alone and a path; write one such as %s", example)
	case u.Scheme == "http" && !insecure:
		m.Add(path, "not https, so that anybody on the way can say who callers are; write one such as %s", example)
	}
}

func checkFile(path []any, reference string, m Mistakes) {
	if name, isFile := strings.CutPrefix(reference, "file:"); reference != "" && (!isFile || name == "") {
		m.Add(path, "not a file; write file:PATH")
	}
}
