package credentials

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config is the credentials section of config.yaml.
type Config struct {
	Clients map[string]ClientConfig `yaml:"clients"`
	Tokens  map[string]TokenConfig  `yaml:"tokens"`
	// Margin is how long before its end a token counts as expired, to allow for
	// clock difference and time on the wire. Default 60s, as the Globus SDK's;
	// of a short-lived token, half its life is the most that counts.
	Margin time.Duration `yaml:"margin"`
	Store  StoreConfig   `yaml:"store"`
}

// StoreConfig says where tokens outlive the process: memory (default: nowhere),
// file:DIR, or {redis: URL, keys: [file:PATH, ...]}.
type StoreConfig struct {
	Dir   string     `yaml:"-"`     // of file:DIR
	Redis string     `yaml:"redis"` // a URL, or a Reference to one
	Keys  References `yaml:"keys"`  // what is stored there is sealed with the first, and opened with any

	text string // what was written, where that is no mapping
	url  Secret // Redis resolved: it may hold a password
	keys []Secret
}

// UnmarshalYAML reads each of the forms.
func (s *StoreConfig) UnmarshalYAML(read func(any) error) error {
	var text string
	if read(&text) == nil {
		s.text = text
		s.Dir, _ = strings.CutPrefix(text, "file:")
		if s.Dir == text {
			s.Dir = ""
		}
		return nil
	}
	var mapping struct {
		Redis string     `yaml:"redis"`
		Keys  References `yaml:"keys"`
	}
	err := read(&mapping)
	s.Redis, s.Keys = mapping.Redis, mapping.Keys
	return err
}

// URL returns what Redis says, after Resolve.
func (s StoreConfig) URL() Secret { return s.url }

// KeySecrets returns what Keys name, after Resolve.
func (s StoreConfig) KeySecrets() []Secret { return s.keys }

// Same reports whether both mean the same store, with the same keys.
func (s StoreConfig) Same(other StoreConfig) bool {
	return s.Dir == other.Dir && s.url.Equal(other.url) && slices.EqualFunc(s.keys, other.keys, Secret.Equal)
}

func (s *StoreConfig) resolve(m Mistakes) {
	path := []any{"store"}
	switch {
	case s.text != "" && s.text != "memory" && s.Dir == "":
		m.Add(path, "not a store; write memory, file:DIR, or {redis: URL, keys: [file:PATH]}")
	case s.Redis == "" && len(s.Keys) > 0:
		m.Add(path, "keys without redis; write {redis: URL, keys: [file:PATH]}")
	}
	if s.Redis == "" {
		return
	}
	s.url = NewSecret(s.Redis)
	if IsReference(s.Redis) {
		url, err := Reference(s.Redis).Read()
		if err != nil {
			m.Add(append(path, "redis"), "%v", err)
		}
		s.url = url
	} else if u, err := url.Parse(s.Redis); err == nil && u.User != nil {
		m.Add(append(path, "redis"), "holds a password, and secrets are not kept in this file; write env:NAME or file:PATH")
	}
	if len(s.Keys) == 0 {
		m.Add(append(path, "keys"), "missing; write one such as file:/etc/bearerd/store-key, made by: openssl rand -base64 32")
	}
	for i, ref := range s.Keys {
		key, err := ref.Read()
		if err != nil {
			m.Add(append(path, "keys", i), "%v", err)
		}
		s.keys = append(s.keys, key)
	}
}

// ClientConfig is one client: an application registered at a token endpoint.
type ClientConfig struct {
	Preset       string     `yaml:"preset"`    // fills token_url and auth
	TokenURL     string     `yaml:"token_url"` // or Issuer
	Issuer       string     `yaml:"issuer"`    // whose metadata (RFC 8414, OpenID Connect Discovery) names the token endpoint
	ClientID     string     `yaml:"client_id"` // inline or a Reference: not a secret
	ClientSecret References `yaml:"client_secret"`
	Auth         string     `yaml:"auth"` // default client_secret_basic
	// PrivateKey (PEM or a JWK), KeyID (kid; default the JWK's), Algorithm (RS256,
	// PS256 or ES256; default by the key) and Audience (default the token endpoint;
	// issuer stands for the issuer) are private_key_jwt's.
	PrivateKey Reference `yaml:"private_key"`
	KeyID      string    `yaml:"key_id"`
	Algorithm  string    `yaml:"algorithm"`
	Audience   string    `yaml:"audience"`
	// Assertion is federated's: a JWT that somebody else signed, read anew each time.
	Assertion  Reference        `yaml:"assertion"`
	Parameters map[string]Texts `yaml:"parameters"` // sent along, such as audience or resource; a list is sent one by one
	TLS        TLSConfig        `yaml:"tls"`
	ProxyURL   string           `yaml:"proxy_url"` // the way out to this endpoint: a URL or a Reference to one; default: proxy.proxy_url
	Timeout    time.Duration    `yaml:"timeout"`   // of a token request; default 10s
	// InsecureHTTP allows a token_url of http://, over which the client's secret
	// and tokens can be read by everybody on the way. Default false.
	InsecureHTTP bool `yaml:"insecure_http"`
	// Private allows a token_url or an issuer with an address of this machine or of
	// a private network. Default false.
	Private bool `yaml:"private"`

	id      string   // resolved
	secrets []Secret // of ClientSecret, as they were when resolved
	egress  Secret   // ProxyURL resolved: it may hold a password
}

// References is one Reference or a list of them.
type References []Reference

// UnmarshalYAML reads either form.
func (r *References) UnmarshalYAML(read func(any) error) error {
	return oneOrMore((*[]Reference)(r), read)
}

// Texts is one text or a list of them.
type Texts []string

// UnmarshalYAML reads either form.
func (t *Texts) UnmarshalYAML(read func(any) error) error { return oneOrMore((*[]string)(t), read) }

func oneOrMore[T any](list *[]T, read func(any) error) error {
	var one T
	if read(&one) == nil {
		*list = []T{one}
		return nil
	}
	return read(list)
}

// TokenConfig is one credential: by the client credentials grant (Client,
// ResourceServer, Scopes), or a fixed token, or HTTP Basic.
type TokenConfig struct {
	Client         string    `yaml:"client"` // default: the only client there is
	ResourceServer string    `yaml:"resource_server"`
	Scopes         []string  `yaml:"scopes"` // a list: Globus scopes have spaces inside brackets
	Token          Reference `yaml:"token"`
	Username       string    `yaml:"username"`
	Password       Reference `yaml:"password"`
	// Required: bearerd is not ready before it was obtained once. Default true.
	Required *bool `yaml:"required"`

	// Fallback is what to ask for where the token endpoint does not know one of
	// Scopes; nil: nothing else. Extras is what it leaves out, each a scope.
	Fallback []string `yaml:"-"`
	Extras   []string `yaml:"-"`

	secret Secret // Token or Password, resolved
}

func (t TokenConfig) required() bool { return t.Required == nil || *t.Required }

// NoCredential is the name of the credential that is none: see None.
const NoCredential = "none"

// DefaultMargin is Config.Margin where the file says nothing.
const DefaultMargin = 60 * time.Second

// Mistakes collects what is wrong with a configuration. Paths are keys and list
// indexes from the section down.
type Mistakes interface {
	// Add notes what was found and what to write instead.
	Add(path []any, format string, args ...any)
	// Unknown notes that there is no such name, and offers the known ones.
	Unknown(path []any, kind, name string, known []string)
}

// Resolve reads what c's references name, so that the result of a later NewSet
// depends on nothing outside c, and notes everything that is wrong with c.
func (c *Config) Resolve(m Mistakes) {
	if c.Margin < 0 {
		m.Add([]any{"margin"}, "%v is negative; write a duration such as 60s", c.Margin)
	}
	c.Store.resolve(m)
	for name, client := range c.Clients {
		client.resolve([]any{"clients", name}, m)
		c.Clients[name] = client
	}
	for name, token := range c.Tokens {
		path := []any{"tokens", name}
		if name == NoCredential {
			m.Add(path, "the name %s stands for no credential; choose another", name)
		}
		token.resolve(path, c.Clients, m)
		c.Tokens[name] = token
	}
}

// ClientIDs returns the ids of all clients, that of a credential's client first,
// after Resolve.
func (c Config) ClientIDs(credential string) []string {
	first := c.Tokens[credential].Client
	var ids []string
	for _, name := range names(c.Clients) {
		ids = append(ids, c.Clients[name].id)
		if name == first {
			ids[0], ids[len(ids)-1] = ids[len(ids)-1], ids[0]
		}
	}
	return ids
}

// SecretVariables returns the environment variables that c's secrets are kept in.
func (c Config) SecretVariables() []string {
	refs := append(References{Reference(c.Store.Redis)}, c.Store.Keys...)
	for _, client := range c.Clients {
		refs = append(append(refs, client.proofs()...), Reference(client.ProxyURL))
	}
	for _, token := range c.Tokens {
		refs = append(refs, token.Token, token.Password)
	}
	var variables []string
	for _, ref := range refs {
		if name, ok := strings.CutPrefix(string(ref), "env:"); ok {
			variables = append(variables, name)
		}
	}
	return variables
}

// proofs are the secrets that the client proves itself with; "" for those it has not.
func (c *ClientConfig) proofs() References {
	return slices.Concat(c.ClientSecret, References{c.PrivateKey, c.Assertion, c.TLS.Key})
}

func (c *ClientConfig) resolve(path []any, m Mistakes) {
	c.checkURL(path, m)
	if c.Auth == "" {
		c.Auth = "client_secret_basic"
	}
	if !slices.Contains(clientAuths, c.Auth) {
		m.Unknown(append(path, "auth"), "auth", c.Auth, clientAuths)
	}
	c.id = c.ClientID
	if IsReference(c.ClientID) {
		secret, err := Reference(c.ClientID).Read()
		if err != nil {
			m.Add(append(path, "client_id"), "%v", err)
		}
		c.id = secret.Reveal()
	} else if c.ClientID == "" {
		m.Add(append(path, "client_id"), "missing; write the client's id, or env:NAME")
	}
	if strings.ContainsFunc(c.id, func(r rune) bool { return r < ' ' || r > '~' }) {
		m.Add(append(path, "client_id"), "has characters that a client id cannot have (RFC 6749 appendix A.1); write the id alone")
	}
	if strings.Contains(c.id, ":") && c.Auth == "globus_basic" {
		m.Add(append(path, "client_id"), "has a colon, which HTTP Basic cannot carry; write the id alone")
	}
	c.resolveProof(path, m)
	c.TLS.Resolve(append(path, "tls"), m)
	c.resolveEgress(append(path, "proxy_url"), m)
	if c.Timeout < 0 || c.Timeout > time.Minute {
		m.Add(append(path, "timeout"), "%v is not between 0s and 1m; write a duration such as 10s", c.Timeout)
	}
	for name := range c.Parameters {
		switch name {
		case "grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type":
			m.Add(append(path, "parameters", name), "bearerd sets this one itself; leave it out")
		}
	}
}

// resolveProof notes what is missing for the client's auth, and what belongs to another.
func (c *ClientConfig) resolveProof(path []any, m Mistakes) {
	bySecret := strings.HasPrefix(c.Auth, "client_secret_") || c.Auth == "globus_basic"
	for _, key := range []struct {
		name, auth string
		set, needs bool
	}{
		{"client_secret", "client_secret_basic", len(c.ClientSecret) > 0, false},
		{"private_key", "private_key_jwt", c.PrivateKey != "", true},
		{"key_id", "private_key_jwt", c.KeyID != "", false},
		{"algorithm", "private_key_jwt", c.Algorithm != "", false},
		{"audience", "private_key_jwt", c.Audience != "", false},
		{"assertion", "federated", c.Assertion != "", true},
	} {
		mine := key.auth == c.Auth || key.name == "client_secret" && bySecret
		switch {
		case key.set && !mine && slices.Contains(clientAuths, c.Auth):
			m.Add(append(path, key.name), "means nothing to auth %s; leave it out, or write auth: %s", c.Auth, key.auth)
		case !key.set && mine && key.needs:
			m.Add(append(path, key.name), "missing, and auth %s needs it; write file:PATH", c.Auth)
		}
	}
	switch c.Auth {
	case "private_key_jwt":
		if c.PrivateKey != "" {
			c.resolveJWT(path, m)
		}
	case "tls_client_auth":
		if c.TLS.Certificate == "" {
			m.Add(append(path, "tls"), "certificate and key are missing, and auth tls_client_auth needs them; write tls: {certificate: file:PATH, key: file:PATH}")
		}
	case "federated":
		if _, err := c.Assertion.Read(); c.Assertion != "" && err != nil {
			m.Add(append(path, "assertion"), "%v", err)
		}
	default:
		c.readSecrets(append(path, "client_secret"), m)
	}
}

func (c *ClientConfig) readSecrets(path []any, m Mistakes) {
	if len(c.ClientSecret) == 0 {
		m.Add(path, "%v", Reference("").Check())
	}
	c.secrets = make([]Secret, len(c.ClientSecret))
	for i, ref := range c.ClientSecret {
		secret, err := ref.Read()
		if at := path; err != nil {
			if len(c.ClientSecret) > 1 {
				at = append(path, i)
			}
			m.Add(at, "%v", err)
		}
		c.secrets[i] = secret
	}
}

func (c *ClientConfig) resolveEgress(path []any, m Mistakes) {
	c.egress = NewSecret(c.ProxyURL)
	if IsReference(c.ProxyURL) {
		secret, err := Reference(c.ProxyURL).Read()
		if err != nil {
			m.Add(path, "%v", err)
			return
		}
		c.egress = secret
	}
	if c.egress.Reveal() == "" {
		return
	}
	u, err := url.Parse(c.egress.Reveal())
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5"):
		m.Add(path, "not the URL of a forward proxy; write one such as http://proxy.example.org:3128")
	case u.User != nil && !IsReference(c.ProxyURL):
		m.Add(path, "holds a password, and secrets are not kept in this file; write env:NAME or file:PATH")
	}
}

func (c *ClientConfig) checkURL(path []any, m Mistakes) {
	key, text, example := "token_url", c.TokenURL, "https://auth.example.org/oauth2/token"
	if c.Issuer != "" {
		if c.TokenURL != "" {
			m.Add(append(path, "issuer"), "there is a token_url too; write one of them")
			return
		}
		key, text, example = "issuer", c.Issuer, "https://auth.example.org"
	}
	path = append(path, key)
	u, err := url.Parse(text)
	switch {
	case text == "":
		m.Add(path, "missing; write the token endpoint's URL, or issuer: and its issuer's, or preset: globus")
	case err != nil || u.Host == "" || u.Opaque != "":
		m.Add(path, "not a URL; write one such as %s", example)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		m.Add(path, "has user information, a query or a fragment; write scheme, host and path, and the rest under parameters")
	case u.Scheme == "http" && !c.InsecureHTTP:
		m.Add(path, "%q would send the client secret in the clear; write https://, or insecure_http: true where nobody can listen", text)
	case u.Scheme != "https" && u.Scheme != "http":
		m.Add(path, "%q has scheme %q; write https://", text, u.Scheme)
	case !c.Private && IsPrivate(u.Hostname()):
		m.Add(path, "%q is on this machine or a private network; write private: true beside it if it is meant", text)
	}
}

func (t *TokenConfig) resolve(path []any, clients map[string]ClientConfig, m Mistakes) {
	read := func(key string, ref Reference) {
		secret, err := ref.Read()
		if err != nil {
			m.Add(append(path, key), "%v", err)
		}
		t.secret = secret
	}
	switch granted := t.Client != "" || t.ResourceServer != "" || len(t.Scopes) > 0; {
	case granted && (t.Token != "" || t.Username != "" || t.Password != ""), t.Token != "" && t.Username+string(t.Password) != "":
		m.Add(path, "several kinds of credential at once; write scopes for a token by grant, or token alone, or username and password")
	case t.Token != "":
		read("token", t.Token)
		if t.secret.Reveal() != "" {
			if err := checkTokenSyntax(t.secret.Reveal()); err != nil {
				m.Add(append(path, "token"), "what %s names cannot be sent: %v", t.Token, err)
			}
		}
	case t.Username != "" || t.Password != "":
		if t.Username == "" || strings.Contains(t.Username, ":") {
			m.Add(path, "password without a username that HTTP Basic can carry (no colon); write both")
		}
		read("password", t.Password)
	default:
		t.resolveGrant(path, clients, m)
	}
}

func (t *TokenConfig) resolveGrant(path []any, clients map[string]ClientConfig, m Mistakes) {
	if t.Client == "" && len(clients) == 1 {
		for name := range clients {
			t.Client = name
		}
	}
	client, known := clients[t.Client]
	switch {
	case t.Client == "" && len(clients) == 0:
		m.Add(path, "no client to ask with; define one under credentials.clients")
	case t.Client == "":
		m.Add(path, "there are several clients; write client: and one of %s", strings.Join(names(clients), ", "))
	case !known:
		m.Unknown(append(path, "client"), "client", t.Client, names(clients))
	case client.Auth == "globus_basic" && t.ResourceServer == "":
		m.Add(path, "resource_server is missing; write the one Globus Auth names in its answer, such as transfer.api.globus.org")
	case client.Auth == "globus_basic" && len(t.Scopes) == 0:
		m.Add(append(path, "scopes"), "empty; name at least one scope of %s", t.ResourceServer)
	}
	for i, scope := range t.Scopes {
		if !validScope(scope) {
			m.Add(append(path, "scopes", i), "%q is not one scope; write each scope as an item of the list (spaces only inside brackets)", scope)
		}
	}
}

// validScope reports whether text is one scope: RFC 6749 §3.3's characters, and
// spaces only inside the brackets of Globus's dependent scopes.
func validScope(text string) bool {
	depth := 0
	for _, r := range text {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ' ' && depth > 0:
			continue
		}
		if r <= ' ' || r > '~' || r == '"' || r == '\\' || depth < 0 {
			return false
		}
	}
	return text != "" && depth == 0
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
