package clients_test

import (
	"path/filepath"
	"strings"
	"testing"

	"bearerd/test/harness"
)

// TestCLI_RunsASessionUnmodified with what `bearerd env` prints and nothing else;
// with a bearerd of its own for each command, where the site's proxy is down; and
// as a caller that has to show a key.
func TestCLI_RunsASessionUnmodified(t *testing.T) {
	for _, tt := range []struct {
		name, before string
		edits        []func(*harness.Globus, string) string
	}{
		{"env", `eval "$(bearerd env)"`, nil},
		{"exec", `globus() { bearerd exec -- globus "$@"; }`, nil},
		{"env and a key", `eval "$(bearerd env)"; export GLOBUS_CLI_CLIENT_SECRET='` + labKey + `'`, []func(*harness.Globus, string) string{onlyLab(t)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tool := newToolTest(t, section{pythons: []sdk{globusCLI}}, 0, tt.edits...)
			if tt.name == "exec" {
				tool.privately()
			}
			got := tool.session(t, tt.before)
			ends := tool.globus.EndpointIDs()
			for _, part := range []string{
				tool.globus.ClientID + "@clients.auth.globus.org\n", // whoami
				ends[0], ends[1], ends[2], "größe.csv", // search, ls
				"Message: The transfer has been accepted", "Label:", "nightly", // transfer, show
				"SUCCEEDED | TRANSFER", `"DATA_TYPE":"task_list"`, // list, api
			} {
				if !strings.Contains(got, part) {
					t.Errorf("the session printed no %q:\n%s", part, got)
				}
			}
			_, denied, _ := strings.Cut(got, "denied:\n")
			if denied, _, _ = strings.Cut(denied, "consent:\n"); !strings.Contains(denied, "allow: [cancel]") || !strings.Contains(denied, "exit 1") {
				t.Errorf("of what no rule allows it says:\n%s", denied)
			}
			// The CLI never hears of the consent, which bearerd grants.
			_, consent, _ := strings.Cut(got, "consent:\n")
			if !strings.Contains(consent, "größe.csv") || strings.Contains(consent, "exit") {
				t.Errorf("of what wants consent it printed:\n%s", consent)
			}
			if !tool.globus.Consented(tool.globus.MappedCollection(), "transfer.api.globus.org") {
				t.Error("Globus knows of no consent")
			}
			if n := tool.globus.Count("transfer", "/v0.10/transfer"); n != 1 {
				t.Errorf("Transfer got the submission %d times", n)
			}
			checkOurs(t, tool.globus, cli)
		})
	}
}

// TestCLI_ListsWhatWantsConsentOnlyIfItIsGranted, as docs/tools.md says. The CLI
// grants itself consent by asking for a token, which here is no grant: where
// bearerd leaves it at that, it is refused again, and says what is wanted.
func TestCLI_ListsWhatWantsConsentOnlyIfItIsGranted(t *testing.T) {
	for _, tt := range []struct {
		name, more string
		listed     bool
	}{
		{"off", "consent: off", false},
		{"off, but configured", "consent: off, data_access: [COLLECTION]", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tool := newToolTest(t, section{pythons: []sdk{globusCLI}}, 0, func(g *harness.Globus, config string) string {
				more := strings.Replace(tt.more, "COLLECTION", g.MappedCollection(), 1)
				return strings.Replace(config, "{preset: transfer,", "{preset: transfer, "+more+",", 1)
			})
			got := tool.session(t, `eval "$(bearerd env)"`)
			_, consent, _ := strings.Cut(got, "consent:\n")
			listed := strings.Contains(consent, "größe.csv") && !strings.Contains(consent, "exit")
			refused := strings.Contains(consent, "requires you to grant consent") && strings.Contains(consent, consentScope(tool.globus)) && strings.Contains(consent, "exit 4")
			if listed != tt.listed || refused == tt.listed {
				t.Errorf("of what wants consent it printed:\n%s", consent)
			}
			checkOurs(t, tool.globus, cli)
		})
	}
}

// consentScope is what Transfer wants for the mapped collection.
func consentScope(g *harness.Globus) string {
	return "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/" + g.MappedCollection() + "/data_access]"
}

// session runs session.sh behind a line of shell.
func (tool *toolTest) session(t *testing.T, before string) string {
	t.Helper()
	script, err := filepath.Abs("session.sh")
	if err != nil {
		t.Fatal(err)
	}
	return tool.command(t, "/bin/sh", append([]string{"-c", before + "\n. " + script, "sh"}, tool.globus.EndpointIDs()...)...)
}
