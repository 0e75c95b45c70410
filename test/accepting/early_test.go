package accepting_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bearerd/test/harness"
)

// TestEarly_CurlReadsTheAnswerToAnUploadThatIsRefused in HTTP/2, where the stream ends
// right behind it.
func TestEarly_CurlReadsTheAnswerToAnUploadThatIsRefused(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		harness.Missing(t, "curl is not installed")
	}
	authority := harness.NewAuthority(t)
	certificate, key := authority.IssueServer()
	b := harness.Start(t, fmt.Sprintf(threeListeners, quick(t)), harness.File("server.pem", certificate), harness.File("server-key.pem", key))
	dir := t.TempDir()
	for name, text := range map[string]string{"roots.pem": authority.PEM, "long": strings.Repeat("x", 4<<20)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		upload := []string{"long", "-"}[i%2] // its length known or not
		cmd := exec.Command(path, "-q", "--silent", "--http2", "--cacert", "roots.pem", "--noproxy", "*", "-w", "%{http_version} %{http_code}", "-T", upload, "https://"+listeningAt(b, 1)+"/up/x")
		cmd.Dir = dir
		if upload == "-" {
			cmd.Stdin = strings.NewReader(strings.Repeat("x", 4<<20))
		}
		said, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(said), "bearerd: denied: ") || !strings.HasSuffix(string(said), "2 403") {
			t.Errorf("curl says %q (%v), want the whole answer", said, err)
		}
	}
}
