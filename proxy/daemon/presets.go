package daemon

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
)

// A preset spans an upstream, its credential, and what policy must know of it.
type preset struct {
	url            string // "" where each has its own
	resourceServer string
	scope          string
	idKey          string // the upstream's key whose UUID replaces ID in resourceServer and scope
	files          bool
	loginRedirect  bool        // it refuses a token with a redirect to the login page
	dataAccess     bool        // its scope can have consent to collections inside; data_access says to which
	flows          bool        // its requests to one flow want that flow's token
	operations     []operation // narrowest first
	idempotent     []string    // its requests have an id of the caller's, and the same one again does nothing new
	never          []string
	shim           bool // answers token requests itself, unless token_shim: false
}

type operation struct {
	name   string
	access []access
}

// access is methods, separated by spaces, and paths.
type access struct {
	methods string
	paths   []string
}

var readAll = access{"GET", []string{"/**"}}

func readOnly() []operation { return []operation{{"read", []access{readAll}}} }

const transferScope = "urn:globus:auth:scope:transfer.api.globus.org:all"

// presets are Globus's services, as its SDK knows them: base URLs, resource
// servers (not always to be seen in the scope), default scopes.
var presets = map[string]preset{
	"auth": {
		url: "https://auth.globus.org", resourceServer: "auth.globus.org", scope: "openid profile email", shim: true,
		operations: readOnly(),
		// What hands out or takes away credentials: the token endpoint and all
		// below it (introspect, revoke, validate, dependent tokens), consent by a
		// person, and clients' secrets.
		never: []string{"/v2/oauth2/token", "/v2/oauth2/authorize", "/v2/api/clients/*/credentials", "/p"},
	},
	"transfer": {
		url: "https://transfer.api.globus.org", resourceServer: "transfer.api.globus.org",
		scope: transferScope, dataAccess: true, idempotent: []string{"/v0.10/transfer", "/v0.10/delete"}, // submission_id
		operations: []operation{
			{"submit", []access{{"POST", []string{"/v0.10/transfer"}}, {"GET", []string{"/v0.10/submission_id"}}}},
			{"delete", []access{{"POST", []string{"/v0.10/delete"}}, {"GET", []string{"/v0.10/submission_id"}}}},
			{"cancel", []access{{"POST", []string{"/v0.10/task/*/cancel"}}}},
			{"acl", []access{
				{"POST", []string{"/v0.10/endpoint/*/access", "/v0.10/endpoint/*/role"}},
				{"PUT DELETE", []string{"/v0.10/endpoint/*/access/*", "/v0.10/endpoint/*/role/*"}},
			}},
			{"manage", []access{
				{"POST", []string{"/v0.10/operation/endpoint/*/mkdir", "/v0.10/operation/endpoint/*/rename", "/v0.10/endpoint", "/v0.10/bookmark"}},
				{"PUT DELETE", []string{"/v0.10/endpoint/*", "/v0.10/bookmark/*"}},
				{"PUT", []string{"/v0.10/task/*"}},
			}},
			{"read", []access{readAll}},
		},
	},
	"groups": {
		url: "https://groups.api.globus.org", resourceServer: "groups.api.globus.org",
		scope:      "urn:globus:auth:scope:groups.api.globus.org:view_my_groups_and_memberships",
		operations: readOnly(),
	},
	"search": {
		url: "https://search.api.globus.org", resourceServer: "search.api.globus.org",
		scope: "urn:globus:auth:scope:search.api.globus.org:search",
		operations: []operation{{"read", []access{readAll, {"POST", []string{
			"/v1/index/*/search", "/v1/index/*/scroll",
		}}}}},
	},
	"flows": {
		url: "https://flows.automate.globus.org", resourceServer: "flows.globus.org",
		scope: "https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/all", flows: true,
		operations: []operation{
			{"run", []access{{"POST", []string{"/flows/*/run", "/flows/*/validate_run", "/runs/*/resume", "/runs/*/cancel"}}}},
			{"read", []access{readAll}},
		},
	},
	"timers": {
		url: "https://timer.automate.globus.org", resourceServer: "524230d7-ea86-4a52-8312-86065a9e0417",
		scope: "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer", dataAccess: true,
		operations: []operation{
			{"create", []access{{"POST", []string{"/jobs/", "/v2/timer"}}}},
			{"read", []access{readAll}},
		},
	},
	"compute": {
		url: "https://compute.api.globus.org", resourceServer: "funcx_service",
		scope:      "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all",
		operations: []operation{{"read", []access{readAll, {"POST", []string{"/v2/batch_status"}}}}},
	},
	"nexus": {
		url: "https://nexus.api.globusonline.org", resourceServer: "nexus.api.globus.org",
		scope:      "urn:globus:auth:scope:nexus.api.globus.org:groups",
		operations: readOnly(),
	},
	"gcs": {
		idKey: "endpoint", resourceServer: "ID", scope: "urn:globus:auth:scope:ID:manage_collections",
		operations: readOnly(),
	},
	"collection": {
		idKey: "collection", resourceServer: "ID", scope: "https://auth.globus.org/scopes/ID/https", files: true, loginRedirect: true,
		operations: []operation{{"write", []access{{"PUT", []string{"/**"}}}}, {"read", []access{readAll}}},
	},
}

// clientPresets are token endpoints and how they want clients to prove themselves.
var clientPresets = map[string]credentials.ClientConfig{
	"globus":        {TokenURL: "https://auth.globus.org/v2/oauth2/token", Auth: "globus_basic"},
	previewOfGlobus: {TokenURL: "https://auth.preview.globus.org/v2/oauth2/token", Auth: "globus_basic"},
}

// previewOfGlobus is Globus's environment for what is not released yet. Its
// services have the same resource servers and scopes, on hosts of their own.
const previewOfGlobus = "globus_preview"

// previewURL is where a service is found in the preview, as globus_sdk has it.
func previewURL(production string) string {
	host := strings.TrimPrefix(production, "https://")
	if service, ok := strings.CutSuffix(host, ".automate.globus.org"); ok {
		return "https://preview." + service + ".automate.globus.org"
	}
	name, _, _ := strings.Cut(host, ".globus")
	return "https://" + name + ".preview.globus.org"
}

// isPreview reports whether an upstream's credential is got from the preview.
func (c *Config) isPreview(upstream string) bool {
	credential := c.Proxy.Upstreams[upstream].Credential
	if credential == "" {
		credential = upstream
	}
	client := c.Credentials.Tokens[credential].Client
	if client == "" && len(c.Credentials.Clients) == 1 {
		client = sortedKeys(c.Credentials.Clients)[0]
	}
	return c.Credentials.Clients[client].Preset == previewOfGlobus
}

// expandPresets fills what the file left out of clients, upstreams and tokens,
// and returns what policy must know of each upstream.
func (c *Config) expandPresets(m *mistakes) map[string]policy.Upstream {
	for _, name := range sortedKeys(c.Credentials.Clients) {
		client := c.Credentials.Clients[name]
		if client.Preset == "" {
			continue
		}
		filled, known := clientPresets[client.Preset]
		if !known {
			path := []any{"credentials", "clients", name}
			m.Unknown(append(path, "preset"), "preset", client.Preset, sortedKeys(clientPresets))
			m.hush(append(path, "token_url"))
		}
		fill(&client.TokenURL, filled.TokenURL)
		fill(&client.Auth, filled.Auth)
		c.Credentials.Clients[name] = client
	}
	upstreams := map[string]policy.Upstream{}
	for _, name := range sortedKeys(c.Proxy.Upstreams) {
		upstreams[name] = c.expandUpstream(name, m)
	}
	for name, known := range upstreams {
		known.Never, known.Base = c.never(name)
		known.Files = c.Proxy.Upstreams[name].Path == "files"
		upstreams[name] = known
	}
	return upstreams
}

// never returns what is never forwarded to an upstream, and its base path. The
// list belongs to the place a request goes to, not to the name it is reached by:
// an upstream by hand at the same origin has the same credentials to lose.
func (c *Config) never(name string) ([]policy.Pattern, string) {
	here := proxy.Origin(c.Proxy.Upstreams[name].URL)
	var texts []string
	for _, presetName := range sortedKeys(presets) {
		p := presets[presetName]
		same := p.url != "" && (proxy.Origin(p.url) == here || proxy.Origin(previewURL(p.url)) == here)
		for _, other := range c.Proxy.Upstreams {
			same = same || other.Preset == presetName && proxy.Origin(other.URL) == here
		}
		if same {
			texts = append(texts, p.never...)
		}
	}
	base := ""
	if u, err := url.Parse(c.Proxy.Upstreams[name].URL); err == nil {
		base = strings.TrimSuffix(u.EscapedPath(), "/")
	}
	return patterns(texts), base
}

func (c *Config) expandUpstream(name string, m *mistakes) policy.Upstream {
	u, path := c.Proxy.Upstreams[name], []any{"proxy", "upstreams", name}
	p, known := presets[u.Preset]
	if u.Preset != "" && !known {
		m.Unknown(append(path, "preset"), "preset", u.Preset, sortedKeys(presets))
		m.hush(path, append(path, "url"))
		for i, rule := range c.Policy.Rules {
			m.hush([]any{"policy", "rules", i, "upstreams", slices.Index(rule.Upstreams, name)})
		}
	}
	id := p.id(u, path, m)
	if u.TokenShim != nil && !p.shim && (known || u.Preset == "") {
		m.Add(append(path, "token_shim"), "means nothing but with preset auth; leave it out")
	}
	if u.Consent != "" && !p.dataAccess && (known || u.Preset == "") {
		m.Add(append(path, "consent"), "means something only with presets transfer and timers; leave it out")
	}
	if known || u.Preset == "" {
		p.checkCollections(u, path, m)
	}
	if !known {
		return policy.Upstream{}
	}
	if p.dataAccess { // others could have consent granted to collections that are not theirs
		fill(&u.Consent, "auto")
	}
	u.LoginRedirect = p.loginRedirect
	if len(u.Idempotent) == 0 {
		u.Idempotent = p.idempotent
	}
	if p.url != "" && c.isPreview(name) {
		fill(&u.URL, previewURL(p.url))
	}
	fill(&u.URL, p.url)
	if u.TokenShim == nil && p.shim {
		u.TokenShim = &p.shim
	}
	if p.files {
		fill(&u.Path, "files")
	}
	if u.Credential == "" || u.Credential == name {
		c.expandToken(name, p, id)
	}
	c.expandDataAccess(name, u, p, path, m)
	if p.flows {
		u.Routes = c.expandFlows(name, u)
	}
	c.Proxy.Upstreams[name] = u
	return p.policy()
}

// checkCollections notes what data_access and flows name in vain.
func (p preset) checkCollections(u proxy.UpstreamConfig, path []any, m *mistakes) {
	for _, list := range []struct {
		key, where string
		ids        []string
		allowed    bool
	}{
		{"data_access", "with presets transfer and timers", u.DataAccess, p.dataAccess},
		{"flows", "with preset flows", u.Flows, p.flows},
	} {
		if len(list.ids) > 0 && !list.allowed {
			m.Add(append(path, list.key), "means something only %s; leave it out", list.where)
			continue
		}
		for i, id := range list.ids {
			same := func(other string) bool { return strings.EqualFold(id, other) }
			switch at := append(path, list.key, i); {
			case !uuid.MatchString(id):
				m.Add(at, "%q is not a UUID; write the %s's, as Globus shows it", id, map[string]string{"data_access": "collection", "flows": "flow"}[list.key])
			case slices.ContainsFunc(list.ids[:i], same):
				m.Add(at, "%q is there already; write each once", id)
			}
		}
	}
}

// expandDataAccess asks for the preset's scope with consent to collections
// inside, or without it where the endpoint knows no such consent.
func (c *Config) expandDataAccess(name string, u proxy.UpstreamConfig, p preset, path []any, m *mistakes) {
	token, key := c.Credentials.Tokens[name], append(path, "data_access")
	switch {
	case len(u.DataAccess) == 0 || !p.dataAccess:
	case u.Credential != "" && u.Credential != name:
		m.Add(key, "credential %s is not the preset's; write the collections' data_access into its scopes, and leave this out", u.Credential)
	case token.Token != "" || token.Username != "":
		m.Add(key, "credentials.tokens.%s is not asked for by scopes; leave this out", name)
	case !slices.Equal(token.Scopes, []string{p.scope}):
		m.Add(key, "credentials.tokens.%s.scopes says what is asked for; write the collections' data_access there, or leave the scopes out", name)
	default:
		var wanted []string
		for _, id := range u.DataAccess {
			if uuid.MatchString(id) {
				one := "*https://auth.globus.org/scopes/" + strings.ToLower(id) + "/data_access"
				wanted, token.Extras = append(wanted, one), append(token.Extras, p.withAccess(one))
			}
		}
		token.Fallback, token.Scopes = token.Scopes, []string{p.withAccess(wanted...)}
		c.Credentials.Tokens[name] = token
	}
}

// withAccess is the preset's scope with consent to collections inside.
func (p preset) withAccess(dependents ...string) string {
	asked := transferScope + "[" + strings.Join(dependents, " ") + "]"
	if p.scope != transferScope { // it uses Transfer on the client's behalf
		asked = p.scope + "[" + asked + "]"
	}
	return asked
}

// expandFlows defines a credential for each flow, and returns which requests want
// it: those that name the flow, and those that resume a run where there is one
// flow only, since their path does not name it. With several flows a rule has to
// name the credential for resuming.
func (c *Config) expandFlows(name string, u proxy.UpstreamConfig) []proxy.CredentialRoute {
	var routes []proxy.CredentialRoute
	for _, id := range u.Flows {
		if !uuid.MatchString(id) {
			continue // noted by checkCollections
		}
		id = strings.ToLower(id)
		credential := name + "." + id
		flow := preset{resourceServer: id, scope: "https://auth.globus.org/scopes/" + id + "/flow_" + strings.ReplaceAll(id, "-", "_") + "_user"}
		if token := c.Credentials.Tokens[credential]; token.Client == "" && token.Token == "" && token.Username == "" && c.Credentials.Tokens[name].Client != "" {
			token.Client = c.Credentials.Tokens[name].Client
			c.Credentials.Tokens[credential] = token
		}
		c.expandToken(credential, flow, "")
		for _, last := range []string{"run", "validate_run"} {
			routes = append(routes, proxy.CredentialRoute{Method: "POST", Path: "/flows/" + id + "/" + last, Credential: credential})
		}
		if len(u.Flows) == 1 {
			routes = append(routes, proxy.CredentialRoute{Method: "POST", Path: "/runs/*/resume", Credential: credential})
		}
	}
	return routes
}

// presetScopes returns the resource server of every preset's scope.
func presetScopes() map[string]string {
	scopes := map[string]string{}
	for _, p := range presets {
		for _, scope := range strings.Fields(p.scope) {
			if p.idKey == "" {
				scopes[scope] = p.resourceServer
			}
		}
	}
	return scopes
}

// expandToken defines the preset's credential under the upstream's name, or
// fills in what the file says of it.
func (c *Config) expandToken(name string, p preset, id string) {
	token := c.Credentials.Tokens[name]
	if token.Token != "" || token.Username != "" {
		return // another kind of credential, by hand
	}
	fill(&token.ResourceServer, strings.ReplaceAll(p.resourceServer, "ID", id))
	if len(token.Scopes) == 0 {
		token.Scopes = strings.Fields(strings.ReplaceAll(p.scope, "ID", id))
	}
	if c.Credentials.Tokens == nil {
		c.Credentials.Tokens = map[string]credentials.TokenConfig{}
	}
	c.Credentials.Tokens[name] = token
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// id returns the UUID that the preset is about, and notes one that is missing,
// wrong or of no use.
func (p preset) id(u proxy.UpstreamConfig, path []any, m *mistakes) string {
	ids := map[string]string{"collection": u.Collection, "endpoint": u.Endpoint}
	for _, key := range sortedKeys(ids) {
		switch {
		case key == p.idKey && !uuid.MatchString(ids[key]):
			m.Add(append(path, key), "%q is not a UUID; write the %s's, as Globus shows it", ids[key], key)
		case key != p.idKey && ids[key] != "":
			m.Add(append(path, key), "means nothing to this preset; leave it out")
		}
	}
	return strings.ToLower(ids[p.idKey])
}

// policy returns what policy must know. A pattern of ours that does not parse is
// a bug, which a test over all presets finds; it would allow nothing.
func (p preset) policy() policy.Upstream {
	var known policy.Upstream
	for _, op := range p.operations {
		made := policy.Operation{Name: op.name}
		for _, a := range op.access {
			made.Access = append(made.Access, policy.Access{Methods: strings.Fields(a.methods), Paths: patterns(a.paths)})
		}
		known.Operations = append(known.Operations, made)
	}
	return known
}

func patterns(texts []string) []policy.Pattern {
	made := make([]policy.Pattern, 0, len(texts))
	for _, text := range texts {
		if pattern, err := policy.ParsePattern(text); err == nil {
			made = append(made, pattern)
		}
	}
	return slices.Clip(made)
}

func fill(value *string, with string) {
	if *value == "" {
		*value = with
	}
}
