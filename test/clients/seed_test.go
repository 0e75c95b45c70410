package clients_test

import (
	"slices"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// The programs' Auth is bearerd, too. It gives them placeholders, whatever secret
// they have, and gets the token itself.
func TestExamples_OfTheSDKsDocumentationRunThroughBearerd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sdk     sdk
		program string
	}{
		{"AccessTokenAuthorizer, SDK 3", sdk3, "seed_first_v3.py"},
		{"AccessTokenAuthorizer, SDK 4", sdk4, "seed_first_v4.py"},
		{"ClientCredentialsAuthorizer, SDK 3", sdk3, "seed_last.py"},
		{"ClientCredentialsAuthorizer, SDK 4", sdk4, "seed_last.py"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := harness.NewGlobus(t, emulator.Config{})
			want := append([]string{"Endpoints Belonging to " + g.ClientID + "@clients.auth.globus.org:"}, endpoints(t, g)...)
			g.Reset()
			b := harness.Start(t, harness.Config(g))
			got := lines(tt.sdk.run(t, tt.program, []string{
				"CLIENT_ID=" + g.ClientID, "CLIENT_SECRET=one of long ago",
				"GLOBUS_SDK_SERVICE_URL_AUTH=" + b.URL + "/auth",
				"GLOBUS_SDK_SERVICE_URL_TRANSFER=" + b.URL + "/transfer",
			}))
			if !slices.Equal(got, want) {
				t.Errorf("printed %q, want %q", got, want)
			}
			checkOurs(t, g, tt.sdk.client())
			if n := g.Count("auth", tokenPath); n != 1 {
				t.Errorf("Auth got %d token requests, want bearerd's alone", n)
			}
		})
	}
}
