package credentials

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConfig_ResolveNotesNothingOfAGoodOne(t *testing.T) {
	t.Setenv(secretVariable, canary)
	t.Setenv("BEARERD_TEST_ID", "id-from-outside")
	cfg := globusConfig()
	client := cfg.Clients["globus"]
	client.ClientID, client.Parameters = "env:BEARERD_TEST_ID", map[string]Texts{"audience": {"a"}}
	cfg.Clients["globus"] = client
	cfg.Clients["corp"] = ClientConfig{TokenURL: "http://localhost:1/token", InsecureHTTP: true, Private: true, ClientID: "id", ClientSecret: References{"env:" + secretVariable}}
	for name, tok := range map[string]TokenConfig{
		"auth":     {Client: "globus", ResourceServer: authServer, Scopes: []string{"openid", "a[b *c[d e]]", "!#$%&'()*+,-./:;<=>?@^_`{|}~"}},
		"transfer": {Client: "globus", ResourceServer: transferServer, Scopes: []string{"a"}},
		"plain":    {Client: "corp"},
		"fixed":    {Token: "env:" + secretVariable},
		"basic":    {Username: "u", Password: "env:" + secretVariable},
	} {
		cfg.Tokens[name] = tok
	}
	var mistakes noted
	cfg.Resolve(&mistakes)
	if len(mistakes.lines) > 0 {
		t.Errorf("Resolve noted %q, want nothing", mistakes.sorted())
	}
	if got := cfg.Clients["corp"].Auth; got != "client_secret_basic" {
		t.Errorf("auth %q, want client_secret_basic where the file says nothing", got)
	}
	if got := cfg.Clients["globus"]; got.id != "id-from-outside" || len(got.secrets) != 1 || got.secrets[0].Reveal() != canary {
		t.Errorf("client id %q, or not the secret", got.id)
	}
	if cfg.Tokens["fixed"].secret.Reveal() != canary || cfg.Tokens["basic"].secret.Reveal() != canary {
		t.Error("a token or password was not read")
	}
}

func TestConfig_TheOnlyClientIsTheDefault(t *testing.T) {
	t.Setenv(secretVariable, canary)
	cfg := globusConfig()
	cfg.Resolve(&noted{})
	if got := cfg.Tokens["transfer"].Client; got != "globus" {
		t.Errorf("client %q, want globus", got)
	}
}

// The rows change one thing of a good configuration; each makes one mistake.
func TestConfig_ResolveNotesEachMistake(t *testing.T) {
	const grantKinds = "several kinds of credential at once; write scopes for a token by grant, or token alone, or username and password"
	client := func(change func(*ClientConfig)) func(*Config) {
		return func(cfg *Config) {
			c := cfg.Clients["globus"]
			change(&c)
			cfg.Clients["globus"] = c
		}
	}
	url := func(text string) func(*Config) { return client(func(c *ClientConfig) { c.TokenURL = text }) }
	token := func(tok TokenConfig) func(*Config) {
		return func(cfg *Config) { cfg.Tokens["transfer"] = tok }
	}
	scope := func(text string) func(*Config) {
		return token(TokenConfig{ResourceServer: transferServer, Scopes: []string{"good", text}})
	}
	notOneScope := func(quoted string) string {
		return "tokens.transfer.scopes[1]: " + quoted + " is not one scope; write each scope as an item of the list (spaces only inside brackets)"
	}
	const env = Reference("env:" + secretVariable)
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string // the beginning of the line
	}{
		{"negative margin", func(cfg *Config) { cfg.Margin = -time.Second }, "margin: -1s is negative; write a duration such as 60s"},
		{"no token_url", url(""), "clients.globus.token_url: missing; write the token endpoint's URL, or issuer: and its issuer's, or preset: globus"},
		{"token_url without a scheme", url("auth.globus.org/v2"), "clients.globus.token_url: not a URL; write one such as https://"},
		{"token_url that is opaque", url("https:auth.globus.org"), "clients.globus.token_url: not a URL"},
		{"token_url that cannot be parsed", url("https://a b/" + canary + "%zz"), "clients.globus.token_url: not a URL"},
		{"token_url with a password", url("https://u:p@example.org/"), "clients.globus.token_url: has user information, a query or a fragment; write scheme, host and path"},
		{"token_url with a query", url("https://example.org/?key=" + canary), "clients.globus.token_url: has user information, a query or a fragment"},
		{"token_url with a fragment", url("https://example.org/#" + canary), "clients.globus.token_url: has user information, a query or a fragment"},
		{"token_url in the clear", url("http://example.org/t"), `clients.globus.token_url: "http://example.org/t" would send the client secret in the clear; write https://, or insecure_http: true where nobody can listen`},
		{"token_url of another scheme", url("ftp://example.org/t"), `clients.globus.token_url: "ftp://example.org/t" has scheme "ftp"; write https://`},
		{"unknown auth", client(func(c *ClientConfig) { c.Auth = "globus-basic" }), `clients.globus.auth: no auth "globus-basic" among globus_basic, client_secret_basic, client_secret_post`},
		{"no client_id", client(func(c *ClientConfig) { c.ClientID = "" }), "clients.globus.client_id: missing; write the client's id, or env:NAME"},
		{"client_id that cannot be read", client(func(c *ClientConfig) { c.ClientID = "env:BEARERD_TEST_UNSET" }), "clients.globus.client_id: environment variable BEARERD_TEST_UNSET is not set"},
		{"no client_secret", client(func(c *ClientConfig) { c.ClientSecret = nil }), "clients.globus.client_secret: missing; write env:NAME or file:PATH"},
		{"the secret itself", client(func(c *ClientConfig) { c.ClientSecret = References{canary} }), "clients.globus.client_secret: not a reference"},
		{"client_secret that cannot be read", client(func(c *ClientConfig) { c.ClientSecret = References{"env:BEARERD_TEST_UNSET"} }), "clients.globus.client_secret: environment variable BEARERD_TEST_UNSET is not set"},
		{"parameter grant_type", client(func(c *ClientConfig) { c.Parameters = map[string]Texts{"grant_type": {"x"}} }), "clients.globus.parameters.grant_type: bearerd sets this one itself; leave it out"},
		{"parameter scope", client(func(c *ClientConfig) { c.Parameters = map[string]Texts{"scope": {"x"}} }), "clients.globus.parameters.scope: bearerd sets"},
		{"parameter client_secret", client(func(c *ClientConfig) { c.Parameters = map[string]Texts{"client_secret": {canary}} }), "clients.globus.parameters.client_secret: bearerd sets"},
		{"credential named none", func(cfg *Config) { cfg.Tokens["none"] = TokenConfig{Token: env} }, "tokens.none: the name none stands for no credential; choose another"},
		{"token beside scopes", token(TokenConfig{Token: env, Scopes: []string{"a"}}), "tokens.transfer: " + grantKinds},
		{"password beside a client", token(TokenConfig{Client: "globus", Password: env}), "tokens.transfer: " + grantKinds},
		{"token beside a username", token(TokenConfig{Token: env, Username: "u"}), "tokens.transfer: " + grantKinds},
		{"token beside a password", token(TokenConfig{Token: env, Password: env}), "tokens.transfer: " + grantKinds},
		{"token that is one itself", token(TokenConfig{Token: canary}), "tokens.transfer.token: not a reference"},
		{"token that cannot be sent", token(TokenConfig{Token: "env:BEARERD_TEST_ODD"}), "tokens.transfer.token: what env:BEARERD_TEST_ODD names cannot be sent: token has characters that RFC 6750 does not allow"},
		{"username alone", token(TokenConfig{Username: "u"}), "tokens.transfer.password: missing; write env:NAME or file:PATH"},
		{"password alone", token(TokenConfig{Password: env}), "tokens.transfer: password without a username that HTTP Basic can carry (no colon); write both"},
		{"password that is one itself", token(TokenConfig{Username: "u", Password: canary}), "tokens.transfer.password: not a reference"},
		{"unknown client", token(TokenConfig{Client: "globsu", ResourceServer: "r", Scopes: []string{"a"}}), `tokens.transfer.client: no client "globsu" among globus`},
		{"several clients and none named", func(cfg *Config) {
			cfg.Clients["corp"] = cfg.Clients["globus"]
			delete(cfg.Tokens, "auth")
		}, "tokens.transfer: there are several clients; write client: and one of corp, globus"},
		{"no client at all", func(cfg *Config) {
			clear(cfg.Clients)
			delete(cfg.Tokens, "auth")
		}, "tokens.transfer: no client to ask with; define one under credentials.clients"},
		{"no resource_server at Globus", token(TokenConfig{Scopes: []string{"a"}}), "tokens.transfer: resource_server is missing; write the one Globus Auth names"},
		{"no scopes at Globus", token(TokenConfig{ResourceServer: "r"}), "tokens.transfer.scopes: empty; name at least one scope of r"},
		{"empty scope", scope(""), notOneScope(`""`)},
		{"two scopes in one", scope("a b"), notOneScope(`"a b"`)},
		{"bracket that is not closed", scope("a[b"), notOneScope(`"a[b"`)},
		{"bracket that is not opened", scope("a]b["), notOneScope(`"a]b["`)},
		{"space behind the bracket", scope("a[b] c"), notOneScope(`"a[b] c"`)},
		{"quote in a scope", scope(`a"b`), notOneScope(`"a\"b"`)},
		{"backslash in a scope", scope(`a\b`), notOneScope(`"a\\b"`)},
		{"line break in a scope", scope("a[b\nc]"), notOneScope(`"a[b\nc]"`)},
		{"scope beyond ASCII", scope("ä"), notOneScope(`"ä"`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(secretVariable, "AgGood")
			t.Setenv("BEARERD_TEST_ODD", "with space "+canary)
			cfg := globusConfig()
			tt.change(&cfg)
			var mistakes noted
			cfg.Resolve(&mistakes)
			if len(mistakes.lines) != 1 || !strings.HasPrefix(mistakes.lines[0], tt.want) {
				t.Errorf("Resolve noted %q, want only %q", mistakes.sorted(), tt.want)
			}
			wantNothingOf(t, "a mistake", strings.Join(mistakes.lines, "\n"), canary)
		})
	}
}

func TestConfig_ResolveNotesEveryMistakeAtOnce(t *testing.T) {
	cfg := Config{
		Margin:  -1,
		Clients: map[string]ClientConfig{"a": {}, "b": {Auth: "x", TokenURL: "https://example.org", ClientID: "id", ClientSecret: References{"secret"}}},
		Tokens:  map[string]TokenConfig{"none": {Client: "c"}, "t": {Password: "secret"}},
	}
	var mistakes noted
	cfg.Resolve(&mistakes)
	want := []string{"clients.a.client_id", "clients.a.client_secret", "clients.a.token_url", "clients.b.auth", "clients.b.client_secret",
		"margin", "tokens.none", "tokens.none.client", "tokens.t", "tokens.t.password"}
	var got []string
	for _, line := range mistakes.sorted() {
		path, _, _ := strings.Cut(line, ": ")
		got = append(got, path)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("mistakes at %q, want %q", got, want)
	}
}
