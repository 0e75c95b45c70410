package toxics_test

import (
	"fmt"
	"strings"
	"testing"

	"bearerd/test/harness"
)

const config = `proxy:
  listeners: [{address: "127.0.0.1:0"}]
  drain: {delay: 0s}
  upstreams:
%s
credentials:
  tokens:
%s
policy:
  rules: [{name: all, callers: [local], upstreams: [%s], methods: [GET, POST, PUT, DELETE], paths: [/**]}]
`

// TestToxics_EachRequestEndsAsWritten sends each of the table's requests over a network
// of its own.
func TestToxics_EachRequestEndsAsWritten(t *testing.T) {
	network, up := startNetwork(t), startUpstream(t)
	var upstreams, tokens, names []string
	all := cells(t)
	for _, c := range all {
		address := network.route(c.name(), up.address)
		for toxic, settings := range c.toxics() {
			network.poison(c.name(), toxic, c.direction, settings)
		}
		names = append(names, c.name())
		upstreams = append(upstreams, fmt.Sprintf(`    %s: {url: "http://%s", insecure_http: true, private: true, breaker: {enabled: false}, tuning: %s}`, c.name(), address, c.tuning()))
		tokens = append(tokens, fmt.Sprintf(`    %s: {token: "file:token"}`, c.name()))
	}
	b := harness.Start(t, fmt.Sprintf(config, strings.Join(upstreams, "\n"), strings.Join(tokens, "\n"), strings.Join(names, ", ")), harness.File("token", token+"\n"))

	t.Run("told", func(t *testing.T) {
		for _, c := range all {
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				if told := ask(strings.TrimPrefix(b.URL, "http://"), c.method, "/"+c.name()+c.path(), c.size); told != c.told {
					t.Errorf("the caller was told %s, want %s", told, c.told)
				}
			})
		}
	})
	sent := map[string]any{}
	for _, line := range b.Requests(len(all)) {
		sent[fmt.Sprint(line["upstream"])] = line["attempts"]
	}
	for _, c := range all {
		if attempts, done := fmt.Sprint(sent[c.name()]), up.times(c.path()); attempts != fmt.Sprint(c.sent) || done != c.done {
			t.Errorf("%s: sent %s times and done %d times, want %d and %d", c.name(), attempts, done, c.sent, c.done)
		}
	}
	up.check(t)
	if !t.Failed() {
		fmt.Printf("toxiproxy: %d cells as written\n", len(all))
	}
}
