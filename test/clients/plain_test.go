package clients_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestStaleToken_IsReplacedByOurs(t *testing.T) {
	for _, tt := range []struct {
		client client
		list   func(t *testing.T, base string) string
	}{
		{requestsClient, func(t *testing.T, base string) string { return sdk4.run(t, "stale.py", []string{"BASE_URL=" + base}) }},
		{curl, func(t *testing.T, base string) string {
			return run(t, program(t, "curl"), nil, "-fsS", "-H", "Authorization: Bearer stale", base+"/v0.10/endpoint_search?filter_scope=my-endpoints")
		}},
	} {
		t.Run(tt.client.name, func(t *testing.T) {
			t.Parallel()
			g := harness.NewGlobus(t, emulator.Config{})
			b := harness.Start(t, harness.Config(g))
			got := tt.list(t, b.URL+"/transfer")
			for _, id := range g.EndpointIDs() {
				if !strings.Contains(got, id) {
					t.Errorf("endpoint %s is not in the answer", id)
				}
			}
			checkOurs(t, g, tt.client)
		})
	}
}

func TestCurl_NeedsNothingButTheURL(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g, harness.RuleSubmit))
	base := b.URL + "/transfer/v0.10"
	fetch := func(t *testing.T, args ...string) string {
		return run(t, program(t, "curl"), nil, append([]string{"-fsS"}, args...)...)
	}

	t.Run("GET", func(t *testing.T) {
		if got := fetch(t, base+"/endpoint/"+g.EndpointIDs()[0]); !strings.Contains(got, `"display_name"`) {
			t.Errorf("got %s", got)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		got := fetch(t, "-I", base+"/task_list")
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "X-Transfer-Api-Version: 0.10\r\n") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		got := fetch(t, "--http1.0", "-i", base+"/task_list")
		if !strings.HasPrefix(got, "HTTP/1.0 200 OK\r\n") || !strings.Contains(got, `"task_list"`) {
			t.Errorf("got %s", got)
		}
	})
	t.Run("POST", func(t *testing.T) {
		_, rest, _ := strings.Cut(fetch(t, base+"/submission_id"), `"value":"`)
		id, _, _ := strings.Cut(rest, `"`)
		ends := g.EndpointIDs()
		body := fmt.Sprintf(`{"DATA_TYPE":"transfer","submission_id":"%s","source_endpoint":"%s","destination_endpoint":"%s","DATA":[{"DATA_TYPE":"transfer_item","source_path":"/größe","destination_path":"/b"}]}`, id, ends[0], ends[1])
		if got := fetch(t, "-X", "POST", "-H", "Content-Type: application/json", "-d", body, base+"/transfer"); !strings.Contains(got, `"code":"Accepted"`) {
			t.Errorf("got %s", got)
		}
		received := requests(g)
		if last := received[len(received)-1]; string(last.Body) != body || last.Method != "POST" {
			t.Errorf("Transfer received %s %s", last.Method, last.Body)
		}
	})
	t.Run("denied", func(t *testing.T) {
		got := run(t, program(t, "curl"), nil, "-sS", "-X", "DELETE", base+"/bookmark/1")
		if !strings.HasPrefix(got, "bearerd: denied: ") || strings.Count(got, "\n") != 1 {
			t.Errorf("got %q, want one line", got)
		}
	})
	checkOurs(t, g, curl)
}

// What cron gives a job is little more than PATH and HOME.
func TestCurl_InAPipelineAsCronRunsIt(t *testing.T) {
	program(t, "curl")
	g := harness.NewGlobus(t, emulator.Config{Endpoints: 7})
	b := harness.Start(t, harness.Config(g))
	got := run(t, "/bin/sh", []string{"BEARERD=" + b.URL}, "-c",
		`curl -fsS "$BEARERD/transfer/v0.10/endpoint_search?filter_scope=my-endpoints" | tr , '\n' | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' | sort`)
	want := g.EndpointIDs()
	slices.Sort(want)
	if !slices.Equal(lines(got), want) {
		t.Errorf("got %q, want %q", lines(got), want)
	}
	checkOurs(t, g, curl)
}

func TestCurl_FindsBearerdByTheNameLocalhost(t *testing.T) {
	g := harness.NewGlobus(t, emulator.Config{})
	b := harness.Start(t, harness.Config(g), harness.Args("--listen", "localhost:0"))
	url := strings.Replace(b.URL, "127.0.0.1", "localhost", 1)
	if got := run(t, program(t, "curl"), nil, "-fsS", url+"/transfer/v0.10/task_list"); !strings.Contains(got, `"task_list"`) {
		t.Errorf("got %s", got)
	}
	checkOurs(t, g, curl)
}
