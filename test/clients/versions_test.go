package clients_test

import (
	"strings"
	"testing"
)

// The log of a run says which clients it was made with: see the Makefile.
func TestClients_AreThosePinned(t *testing.T) {
	for _, s := range sdks {
		t.Run(s.name, func(t *testing.T) {
			got := s.run(t, "version.py", nil)
			for _, line := range lines(got) {
				t.Logf("real client: %s", line)
			}
			for _, name := range []string{"globus-sdk", "requests"} {
				if want := name + " " + s.pinned(t, name) + " "; !strings.Contains(got, want) {
					t.Errorf("%s is not installed, but: %s", want, got)
				}
			}
		})
	}
	t.Run("curl", func(t *testing.T) {
		version, _, _ := strings.Cut(run(t, curlPath(t), nil, "--version"), " (")
		t.Logf("real client: %s", version)
	})
}
