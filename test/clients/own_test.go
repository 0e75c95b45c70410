package clients_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

const otherClient = "5b0fa7a1-8a3e-4f5c-9d11-2f6b1c7f9a10"

// TestOwnTokens_ArePlaceholdersThatSDKsTakeForTokens: what scripts do by hand with
// the tokens that they got.
func TestOwnTokens_ArePlaceholdersThatSDKsTakeForTokens(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{})
		b := harness.Start(t, strings.NewReplacer("{preset: auth,", "{preset: auth, inbound_authorization: refuse,",
			"{preset: transfer,", "{preset: transfer, inbound_authorization: refuse,").Replace(harness.Config(g)))
		got := lines(s.run(t, "own_tokens.py", pointed(b, "CLIENT_ID="+g.ClientID)))
		want := []string{
			"auth.globus.org bearerd-placeholder.auth.globus.org openid email True",
			"flows.globus.org bearerd-placeholder.flows.globus.org https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/view_flows True",
			"transfer.api.globus.org bearerd-placeholder.transfer.api.globus.org " + emulator.TransferScope + " True",
			"2 other False",
			"validate True",
			"introspect True " + g.ClientID + " " + emulator.TransferScope,
			"revoke False",
		}
		if s == sdk4 { // which has no validate
			want = slices.Delete(want, 4, 5)
		}
		if want = append(want, g.EndpointIDs()...); !slices.Equal(got, want) {
			t.Errorf("the program printed\n%q\nwant\n%q", got, want)
		}
		checkOurs(t, g, s.client())
	})
}

// TestOwnClients_ActAsBearerdsClient, an app or an authorizer, whatever id they
// have; another id is worth one warning for each token.
func TestOwnClients_ActAsBearerdsClient(t *testing.T) {
	for _, protocol := range []string{"app", "authorizer"} {
		for _, id := range []string{emulator.DemoClientID, otherClient} {
			t.Run(protocol+" "+id[:8], func(t *testing.T) {
				each(t, func(t *testing.T, s sdk) {
					g := harness.NewGlobus(t, emulator.Config{})
					b := harness.Start(t, harness.Config(g, harness.RuleSubmit))
					ends := g.EndpointIDs()
					got := lines(s.run(t, "own_client.py", pointed(b, "CLIENT_ID="+id, "SECRET=one of long ago", "PROTOCOL="+protocol), ends[0], ends[1]))
					if want := append(slices.Clone(ends), "True SUCCEEDED"); !slices.Equal(got, want) {
						t.Errorf("the program printed %q, want %q", got, want)
					}
					checkOurs(t, g, s.client())
					b.Stop()
					var warnings []string
					asked := 0
					for _, line := range b.Log() {
						if line["path"] == "/auth/v2/oauth2/token" {
							asked++
						}
						if message, _ := line["message"].(string); line["level"] == "warn" {
							warnings = append(warnings, message)
						}
					}
					want := 0
					if id == otherClient {
						want = asked
					}
					if asked == 0 || len(warnings) != want {
						t.Errorf("%d token requests of client %s, and the log warns %q", asked, id, warnings)
					}
					for _, warning := range warnings {
						if !strings.Contains(warning, "as client "+otherClient+"; it will act as client "+g.ClientID) {
							t.Errorf("the log warns %q", warning)
						}
					}
				})
			})
		}
	}
}

// TestOwnClients_HaveTheirKeyAsSecret where callers must show one: the placeholder
// then stands for it.
func TestOwnClients_HaveTheirKeyAsSecret(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		for _, tt := range []struct {
			secret string
			wants  []string
		}{
			{labKey, []string{"True SUCCEEDED"}},
			{"another", []string{"AuthAPIError", "403", "denied"}}, // any local caller's, who is allowed nothing
		} {
			g := harness.NewGlobus(t, emulator.Config{})
			b := harness.Start(t, onlyLab(t)(g, harness.Config(g, harness.RuleSubmit)))
			ends := g.EndpointIDs()
			got := s.run(t, "own_client.py", pointed(b, "CLIENT_ID="+g.ClientID, "SECRET="+tt.secret, "PROTOCOL=app"), ends[0], ends[1])
			for _, want := range tt.wants {
				if !strings.Contains(got, want) {
					t.Errorf("with secret %q the program printed %q, want %q", tt.secret, got, want)
				}
			}
			if strings.Contains(string(b.Output()), labKey) {
				t.Error("the log holds the key")
			}
			if tt.secret != labKey {
				if n := len(requests(g)); n != 0 { // bearerd's own, for its tokens, aside
					t.Errorf("%d requests of an unknown caller reached Globus", n)
				}
				continue
			}
			checkOurs(t, g, s.client())
		}
	})
}

// TestOwnClients_GetAnotherPlaceholderForOneThatIsNoLongerGood: the client's secret
// or the caller's key changed between two runs of a script that keeps its tokens.
func TestOwnClients_GetAnotherPlaceholderForOneThatIsNoLongerGood(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{})
		b := harness.Start(t, onlyLab(t)(g, harness.Config(g, harness.RuleSubmit)))
		ends := g.EndpointIDs()
		got := lines(s.run(t, "own_client.py", pointed(b, "CLIENT_ID="+g.ClientID, "SECRET="+labKey, "PROTOCOL=authorizer",
			"TOKEN=bearerd-placeholder.transfer.api.globus.org~lab~0ldSeal"), ends[0], ends[1]))
		if got[len(got)-1] != "True SUCCEEDED" {
			t.Errorf("the program printed %q", got)
		}
		checkOurs(t, g, s.client())
		codes := map[any]int{}
		b.Stop()
		for _, line := range b.Lines("request") {
			codes[line["code"]]++
		}
		if codes["caller_unknown"] != 1 {
			t.Errorf("codes of the requests: %v, want caller_unknown once", codes)
		}
	})
}

const labKey = "key of the lab in 2026/+="

// onlyLab returns what lets nobody in but a caller that shows labKey.
func onlyLab(t *testing.T) func(*harness.Globus, string) string {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, fmt.Appendf(nil, "%x  lab\n", sha256.Sum256([]byte(labKey))), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(_ *harness.Globus, config string) string {
		config = strings.ReplaceAll(config, "callers: [local]", "callers: [lab]")
		return strings.Replace(config, "policy:\n", "policy:\n  callers: [{name: lab, key: \"file:"+keys+"\"}]\n", 1)
	}
}

// pointed is the environment of a program that finds Auth and Transfer at bearerd.
func pointed(b *harness.Bearerd, more ...string) []string {
	return append([]string{
		"GLOBUS_SDK_SERVICE_URL_AUTH=" + b.URL + "/auth",
		"GLOBUS_SDK_SERVICE_URL_TRANSFER=" + b.URL + "/transfer",
	}, more...)
}
