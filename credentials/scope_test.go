package credentials

import (
	"slices"
	"strings"
	"testing"

	"bearerd/test/emulator"
)

func TestRootScopes(t *testing.T) {
	for _, tt := range []struct {
		parameter string
		want      []string // nil if it is refused
	}{
		{"openid", []string{"openid"}},
		{"openid profile email", []string{"openid", "profile", "email"}},
		{"  openid   email ", []string{"openid", "email"}},
		{"openid openid", []string{"openid"}},
		{"a[b]", []string{"a"}},
		{"a[b *c[d e]] f", []string{"a", "f"}},
		{"a a[*b]", []string{"a"}},
		{"", nil},
		{" ", nil},
		{"a[b", nil},
		{"a]b", nil},
		{"a b]", nil},
		{"[a]", nil},
		{"a[b]] c", nil},
		{"a\tb", nil},
		{`a"b`, nil},
		{"a\nb", nil},
		{"größe", nil},
	} {
		got, ok := RootScopes(tt.parameter)
		if ok != (tt.want != nil) || ok && !slices.Equal(got, tt.want) {
			t.Errorf("RootScopes(%q) = %q, %v, want %q", tt.parameter, got, ok, tt.want)
		}
	}
}

func FuzzRootScopes(f *testing.F) {
	for _, seed := range []string{"a b", "a[b *c[d]] e", "]", "[", "a  b ", "ü a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, parameter string) {
		roots, ok := RootScopes(parameter)
		if !ok {
			return
		}
		again, ok := RootScopes(strings.Join(roots, " "))
		if !ok || !slices.Equal(again, roots) {
			t.Errorf("RootScopes(%q) = %q, and of those %q, %v", parameter, roots, again, ok)
		}
		for _, root := range roots {
			if !validScope(root) || strings.ContainsAny(root, "[] ") {
				t.Errorf("RootScopes(%q) has %q, which is no root scope", parameter, root)
			}
		}
	})
}

func TestSet_ResourceServerIsTheConfigurationsThenTheScopesOwn(t *testing.T) {
	const (
		flows = "https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/"
		lab   = "https://auth.globus.org/scopes/0c5f5d5a-97b8-4b5f-8f40-22a6a9a7f3ab/"
	)
	cfg := globusConfig()
	cfg.Tokens["lab"] = TokenConfig{ResourceServer: "lab.example.org", Scopes: []string{lab + "action_all[" + emulator.TransferScope + "]"}}
	set := newSet(t, cfg, "s", Deps{Transport: newGlobus(), KnownScopes: map[string]string{
		flows + "all": "flows.globus.org", "profile": authServer, "openid": "other.example.org",
	}}, nil)
	for scope, want := range map[string]string{
		emulator.TransferScope: transferServer,
		"openid":               authServer, // the configuration goes before what is known
		"profile":              authServer,
		"urn:globus:auth:scope:transfer.api.globus.org:gcp_install":       transferServer,
		"urn:globus:auth:scope:groups.api.globus.org:all":                 "groups.api.globus.org",
		"urn:globus:auth:scope:0c5f5d5a-97b8-4b5f-8f40-22a6a9a7f3ab:view": "lab.example.org",
		flows + "view_flows": "flows.globus.org",
		lab + "action_all":   "lab.example.org",
		lab + "other":        "lab.example.org",
		"https://auth.globus.org/scopes/5fac2e64-c734-4e6b-90ea-ff12ddbf9653/https": "5fac2e64-c734-4e6b-90ea-ff12ddbf9653",
		"read":                              "",
		"offline_access":                    "",
		"urn:globus:auth:scope:":            "",
		"urn:globus:auth:scope:x":           "",
		"urn:globus:auth:scope::all":        "",
		"https://auth.globus.org/scopes/":   "",
		"https://auth.globus.org/scopes//a": "",
		"https://elsewhere.example/scopes/5fac2e64-c734-4e6b-90ea-ff12ddbf9653/https": "",
	} {
		if got := set.ResourceServer(scope); got != want {
			t.Errorf("ResourceServer(%s) = %q, want %q", scope, got, want)
		}
	}
	if got := set.Scopes(transferServer); !slices.Equal(got, []string{emulator.TransferScope}) {
		t.Errorf("Scopes(%s) = %q", transferServer, got)
	}
	if got := set.Scopes("elsewhere"); got != nil {
		t.Errorf("Scopes(elsewhere) = %q, want none", got)
	}
}

func TestSet_LifetimeIsThatOfTheTokenHeld(t *testing.T) {
	set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: newGlobus()}, nil)
	if _, held := set.Lifetime(transferServer); held {
		t.Error("a token is held before one was asked for")
	}
	tok := mustToken(t, member(t, set, "transfer"))
	got, held := set.Lifetime(transferServer)
	if !held || got > tok.lifetime || got < tok.lifetime/2 {
		t.Errorf("Lifetime() = %v, %v, want nearly %v", got, held, tok.lifetime)
	}
	if _, held := set.Lifetime(authServer); held {
		t.Error("another resource server's token is held, too")
	}
	member(t, set, "transfer").Rejected(tok)
	if _, held := set.Lifetime(transferServer); held {
		t.Error("a token that was refused is still held")
	}
}

func TestSet_SealNeedsTheClientsSecret(t *testing.T) {
	made := newSet(t, globusConfig(), canary, Deps{Transport: newGlobus()}, nil).Seal("text")
	again := newSet(t, globusConfig(), canary, Deps{Transport: newGlobus()}, nil)
	if made == "" || again.Seal("text") != made {
		t.Errorf("Seal() = %q, and in another process %q; want the same", made, again.Seal("text"))
	}
	if again.Seal("other") == made {
		t.Error("another text has the same seal")
	}
	if rotated := newSet(t, globusConfig(), "x"+canary[1:], Deps{Transport: newGlobus()}, nil); rotated.Seal("text") == made {
		t.Error("another secret makes the same seal")
	}
	if bare := newSet(t, Config{}, "", Deps{Transport: newGlobus()}, nil); bare.Seal("text") != "" {
		t.Error("without any secret there is a seal, which anybody could make")
	}
	if strings.Contains(made, canary) || strings.Trim(made, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("Seal() = %q has characters a token cannot have", made)
	}
}

func TestConfig_ClientIDsBeginWithTheCredentialsOwn(t *testing.T) {
	cfg := globusConfig()
	for _, name := range []string{"alpha", "zeta"} {
		client := cfg.Clients["globus"]
		client.ClientID = name + "-id"
		cfg.Clients[name] = client
	}
	for name, token := range cfg.Tokens {
		token.Client = "globus"
		cfg.Tokens[name] = token
	}
	set := newSet(t, cfg, "s", Deps{Transport: newGlobus()}, nil)
	if got, want := set.ClientIDs("transfer"), []string{emulator.DemoClientID, "alpha-id", "zeta-id"}; !slices.Equal(got, want) {
		t.Errorf("ClientIDs(transfer) = %q, want %q", got, want)
	}
	if got := set.ClientIDs("nosuch"); len(got) != 3 {
		t.Errorf("ClientIDs(nosuch) = %q, want all", got)
	}
	if got := cfg.SecretVariables(); !slices.Contains(got, secretVariable) {
		t.Errorf("SecretVariables() = %q, want %s in it", got, secretVariable)
	}
}
