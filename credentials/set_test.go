package credentials

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

const secretVariable = "BEARERD_TEST_SECRET"

// globusConfig is a client at Globus with credentials for Auth and Transfer.
func globusConfig() Config {
	return Config{
		Clients: map[string]ClientConfig{"globus": {
			TokenURL: tokenURL, ClientID: emulator.DemoClientID, ClientSecret: References{"env:" + secretVariable}, Auth: "globus_basic",
		}},
		Tokens: map[string]TokenConfig{
			"auth":     {ResourceServer: authServer, Scopes: []string{"openid", "email"}},
			"transfer": {ResourceServer: transferServer, Scopes: []string{emulator.TransferScope}},
		},
		Margin: DefaultMargin,
	}
}

// newSet resolves cfg with a secret in the environment and makes its Set.
func newSet(t *testing.T, cfg Config, secret string, deps Deps, old *Set) *Set {
	t.Helper()
	t.Setenv(secretVariable, secret)
	var mistakes noted
	if cfg.Resolve(&mistakes); len(mistakes.lines) > 0 {
		t.Fatalf("Resolve noted %q", mistakes.lines)
	}
	set, err := NewSet(cfg, deps, old)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func member(t *testing.T, s *Set, name string) *ClientCredentials {
	t.Helper()
	authorizer, ok := s.Authorizer(name)
	c, granted := authorizer.(*ClientCredentials)
	if !ok || !granted {
		t.Fatalf("credential %s is a %T, want one by grant", name, authorizer)
	}
	return c
}

func TestSet_KnowsItsCredentialsAndNone(t *testing.T) {
	cfg := globusConfig()
	cfg.Tokens["fixed"] = TokenConfig{Token: "env:" + secretVariable}
	cfg.Tokens["basic"] = TokenConfig{Username: "u", Password: "env:" + secretVariable}
	set := newSet(t, cfg, "AgFixed", Deps{Transport: newGlobus()}, nil)
	for name, want := range map[string]string{"fixed": "Bearer AgFixed", "basic": "Basic dTpBZ0ZpeGVk", "none": ""} {
		authorizer, ok := set.Authorizer(name)
		if !ok {
			t.Errorf("no credential %s", name)
			continue
		}
		req, _ := http.NewRequest("GET", "https://example.org/", nil)
		req.Header.Set("Authorization", "Bearer callers")
		if _, err := authorizer.Authorize(req); err != nil || req.Header.Get("Authorization") != want {
			t.Errorf("credential %s: error %v, or not the Authorization that was wanted", name, err)
		}
	}
	if _, ok := set.Authorizer("trasnfer"); ok {
		t.Error("there is a credential that nobody configured")
	}
}

func TestSet_ReloadKeepsWhatStaysTheSame(t *testing.T) {
	type kept string
	const (
		authorizer kept = "the authorizer"
		token      kept = "the token"
		nothing    kept = "nothing"
	)
	client := func(change func(*ClientConfig)) func(*Config) {
		return func(cfg *Config) {
			c := cfg.Clients["globus"]
			change(&c)
			cfg.Clients["globus"] = c
		}
	}
	transfer := func(change func(*TokenConfig)) func(*Config) {
		return func(cfg *Config) {
			tok := cfg.Tokens["transfer"]
			change(&tok)
			cfg.Tokens["transfer"] = tok
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		secret string // of the second Set
		want   kept
	}{
		{"nothing changed", func(*Config) {}, "first", authorizer},
		{"another credential came", func(cfg *Config) { cfg.Tokens["groups"] = TokenConfig{ResourceServer: "g", Scopes: []string{"g"}} }, "first", authorizer},
		{"another credential went", func(cfg *Config) { delete(cfg.Tokens, "auth") }, "first", authorizer},
		{"secret", func(*Config) {}, "second", token},
		{"way of proving", client(func(c *ClientConfig) { c.Auth = "client_secret_post" }), "first", token},
		{"margin", func(cfg *Config) { cfg.Margin = time.Second }, "first", token},
		{"client's name", func(cfg *Config) {
			cfg.Clients["other"] = cfg.Clients["globus"]
			delete(cfg.Clients, "globus")
		}, "first", authorizer},
		{"client id", client(func(c *ClientConfig) { c.ClientID = "another" }), "first", nothing},
		{"token URL", client(func(c *ClientConfig) { c.TokenURL = "https://auth.example.org/token" }), "first", nothing},
		{"parameters", client(func(c *ClientConfig) { c.Parameters = map[string]Texts{"audience": {"a"}} }), "first", nothing},
		{"scopes", transfer(func(c *TokenConfig) { c.Scopes = []string{"narrower"} }), "first", nothing},
		{"more scopes", transfer(func(c *TokenConfig) { c.Scopes = append(slices.Clone(c.Scopes), "wider") }), "first", nothing},
		{"resource server", transfer(func(c *TokenConfig) { c.ResourceServer = "another" }), "first", nothing},
		{"name", func(cfg *Config) { cfg.Tokens["transfer"] = cfg.Tokens["auth"] }, "first", nothing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			deps := Deps{Transport: answers(200, nil, tokenIn(nil)).pointer()}
			old := newSet(t, globusConfig(), "first", deps, nil)
			before := member(t, old, "transfer")
			tok := mustToken(t, before)
			cfg := globusConfig()
			tt.change(&cfg)
			after := member(t, newSet(t, cfg, tt.secret, deps, old), "transfer")
			got := nothing
			if current := after.current.Load(); current != nil && current.Same(tok) {
				got = token
			}
			if after == before {
				got = authorizer
			}
			if got != tt.want {
				t.Errorf("%s was kept, want %s", got, tt.want)
			}
		})
	}
}

// pointer is f as something that can be compared.
func (f transport) pointer() http.RoundTripper { return &struct{ transport }{f} }

func TestSet_AnotherTransportKeepsTheToken(t *testing.T) {
	g, h := newGlobus(), newGlobus()
	old := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g}, nil)
	tok := mustToken(t, member(t, old, "transfer"))
	set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: h}, old)
	if c := member(t, set, "transfer"); c == member(t, old, "transfer") || !mustToken(t, c).Same(tok) {
		t.Error("want a new authorizer with the old token")
	}
}

func TestSet_ANewSecretIsUsedAtOnceThoughTheOldOneIsResting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		old := resolvedSet(t, "wrong", g, nil)
		if _, err := member(t, old, "transfer").Token(t.Context()); err == nil {
			t.Fatal("a wrong secret was good")
		}
		mustToken(t, member(t, resolvedSet(t, emulator.DemoClientSecret, g, old), "transfer"))
	})
}

// resolvedSet is newSet inside a bubble, where t.Setenv is not allowed.
func resolvedSet(t *testing.T, secret string, rt http.RoundTripper, old *Set) *Set {
	t.Helper()
	cfg := globusConfig()
	client := cfg.Clients["globus"]
	client.id, client.secrets = client.ClientID, []Secret{NewSecret(secret)}
	cfg.Clients["globus"] = client
	for name, token := range cfg.Tokens {
		token.Client = "globus"
		cfg.Tokens[name] = token
	}
	set, err := NewSet(cfg, Deps{Transport: rt}, old)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestSet_RefusesWhatResolveWouldHaveNoted(t *testing.T) {
	cfg := globusConfig()
	cfg.Clients["globus"] = ClientConfig{Auth: "nonsense"}
	cfg.Tokens = map[string]TokenConfig{"a": {Client: "globus"}}
	if _, err := NewSet(cfg, Deps{}, nil); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("NewSet() = %v, want an error about auth", err)
	}
	if _, err := NewSet(Config{Tokens: map[string]TokenConfig{"a": {Token: "env:X", secret: NewSecret("a b")}}}, Deps{}, nil); err == nil {
		t.Error("NewSet() took a token that cannot be sent")
	}
}

func TestSet_GrantFillsTwoResourceServersFromOneRequest(t *testing.T) {
	g := newGlobus()
	var told []string
	set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g, Observe: func(r Renewal) { told = append(told, r.Credential) }}, nil)
	results := set.Grant(t.Context(), []string{"transfer", "auth"})
	wantRequests(t, g, 1)
	for i, want := range []struct{ name, server, asked string }{
		{"transfer", transferServer, emulator.TransferScope}, {"auth", authServer, "openid email"},
	} {
		got := results[i]
		if got.Err != nil || got.Credential != want.name || got.Client != "globus" || got.ResourceServer != want.server ||
			got.Token.ResourceServer != want.server || strings.Join(got.Asked, " ") != want.asked {
			t.Errorf("result %d is %+v, want a token of %+v", i, got, want)
		}
		if !mustToken(t, member(t, set, want.name)).Same(got.Token) {
			t.Errorf("credential %s does not keep the token", want.name)
		}
	}
	wantRequests(t, g, 1)
	if !slices.Equal(told, []string{"transfer", "auth"}) {
		t.Errorf("observer was told of %q, want each credential once", told)
	}
}

func TestSet_GrantNeverAsksForTwoOfOneResourceServerAtOnce(t *testing.T) {
	cfg := globusConfig()
	cfg.Clients["nameless"] = cfg.Clients["globus"]
	for name, tok := range map[string]TokenConfig{
		"auth":     {Client: "globus", ResourceServer: authServer, Scopes: []string{"openid"}},
		"transfer": {Client: "globus", ResourceServer: transferServer, Scopes: []string{"t-all"}},
		"narrow":   {Client: "globus", ResourceServer: transferServer, Scopes: []string{"t-monitor"}},
		"x":        {Client: "nameless", Scopes: []string{"x"}},
		"y":        {Client: "nameless", Scopes: []string{"y"}},
	} {
		cfg.Tokens[name] = tok
	}
	nameless := cfg.Clients["nameless"]
	nameless.Auth = "client_secret_basic"
	cfg.Clients["nameless"] = nameless
	var asked []string
	deps := Deps{Transport: transport(func(req *http.Request) (*http.Response, error) {
		_ = req.ParseForm()
		asked = append(asked, req.PostForm.Get("scope"))
		return answers(503, nil, "")(req)
	})}
	results := newSet(t, cfg, "s", deps, nil).Grant(t.Context(), []string{"transfer", "x", "narrow", "auth", "y"})
	if want := []string{"t-all openid", "t-monitor", "x", "y"}; !slices.Equal(slices.Sorted(slices.Values(asked)), want) {
		t.Errorf("requests for %q, want %q", asked, want)
	}
	for i, name := range []string{"transfer", "x", "narrow", "auth", "y"} {
		if results[i].Credential != name || results[i].Err == nil {
			t.Errorf("result %d is of %s with error %v, want %s's failure", i, results[i].Credential, results[i].Err, name)
		}
	}
}

func TestSet_GrantTellsTheFailureOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		set := resolvedSet(t, emulator.DemoClientSecret, g, nil)
		g.FailTokens(1, emulator.Malformed("no scope")) // Transfer's token and none of Auth's
		results := set.Grant(t.Context(), []string{"auth", "transfer"})
		if results[0].Err == nil || !strings.Contains(results[0].Err.Error(), authServer) || results[0].Token.Fingerprint() != "" {
			t.Errorf("auth: %v, %v; want an error that names %s", results[0].Token, results[0].Err, authServer)
		}
		if results[1].Err != nil || results[1].Token.Scopes != nil {
			t.Errorf("transfer: %v with scopes %q, want a token without", results[1].Err, results[1].Token.Scopes)
		}
		if _, err := member(t, set, "auth").Token(t.Context()); err == nil {
			t.Error("auth made a request while it rests")
		}
		wantRequests(t, g, 1)
	})
}

func TestSet_GrantIsFreshAndGivesFixedOnesAsTheyAre(t *testing.T) {
	g := newGlobus()
	cfg := globusConfig()
	cfg.Tokens["fixed"] = TokenConfig{Token: "env:" + secretVariable}
	set := newSet(t, cfg, emulator.DemoClientSecret[:43], Deps{Transport: g}, nil) // a b64token, so not the whole secret
	g.SetSecret(emulator.DemoClientSecret[:43])
	kept := mustToken(t, member(t, set, "transfer"))
	results := set.Grant(t.Context(), []string{"fixed", "transfer", NoCredential})
	wantRequests(t, g, 2)
	if results[0].Err != nil || results[0].Token.Reveal() != emulator.DemoClientSecret[:43] {
		t.Error("the fixed token did not come back")
	}
	if results[1].Err != nil || results[1].Token.Same(kept) {
		t.Errorf("transfer: %v, want a token that is new", results[1].Err)
	}
	if results[2].Err != nil || results[2].Token.Fingerprint() != "" {
		t.Error("none has a token")
	}
}
