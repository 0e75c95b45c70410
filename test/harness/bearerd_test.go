package harness_test

import (
	"net/http"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestStart_ServesLogsAndStops(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{ClientSecret: "a secret of its own/+="})
	b := harness.Start(t, harness.Config(g), harness.Secret(g.Secret))
	resp, err := http.Get(b.URL + "/transfer/v0.10/task_list")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d, want 200", resp.StatusCode)
	}
	if line := b.Requests(1)[0]; line["path"] != "/transfer/v0.10/task_list" || line["rule"] != "read" {
		t.Errorf("the request's line is %v", line)
	}
	b.Stop()
	if n := len(b.Lines("stopped")); n != 1 {
		t.Errorf("%d lines say that it stopped, want 1", n)
	}
	harness.CheckNoSecrets(t, b.Output(), g)
}
