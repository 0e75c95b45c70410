package clients_test

import (
	"slices"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// What a tool sends is what Transfer receives without bearerd between them: each
// program runs once straight at Transfer and once through bearerd.
func TestTargets_ArriveByteForByte(t *testing.T) {
	for _, tt := range []struct {
		client client
		run    func(t *testing.T, base string)
		some   []string // of what must have been sent, so that the test cannot become easy unnoticed
	}{
		{requestsClient, func(t *testing.T, base string) { sdk4.run(t, "targets_requests.py", []string{"BASE_URL=" + base}) }, []string{
			"GET /v0.10/endpoint/a%20b/x:y/%C3%BC",
			"GET /v0.10/endpoint/%C3%BC%20b/x;y=1",
			"GET /v0.10/operation/endpoint/x/ls?path=%2F~%2Fa+b%2F%C3%BC%2B%25",
			"GET /v0.10/operation/endpoint/x/ls?path=/~/%C3%BC;b&c=a+b&&d",
			"GET /v0.10/task_list?filter=a%2Fb%3Bc%2Bd+%C3%BC%26e",
		}},
		{sdk4.client(), func(t *testing.T, base string) { sdk4.run(t, "targets_sdk.py", []string{"BASE_URL=" + base}) }, sentBySDK},
		{sdk3.client(), func(t *testing.T, base string) { sdk3.run(t, "targets_sdk.py", []string{"BASE_URL=" + base}) }, sentBySDK},
		{curl, func(t *testing.T, base string) {
			for _, target := range sentByCurl {
				run(t, program(t, "curl"), nil, "--silent", "--globoff", "--path-as-is", base+target)
			}
		}, []string{
			"GET /v0.10/operation/endpoint/x/ls?path=/~/größe;b+c%2Fd",
			"GET /v0.10/endpoint/a%20bc;v=1/x:y,z@(1)!$'*",
		}},
	} {
		t.Run(tt.client.name, func(t *testing.T) {
			t.Parallel()
			g := harness.NewGlobus(t, emulator.Config{})
			tt.run(t, g.TransferURL)
			sent := targets(g)
			for _, target := range tt.some {
				if !slices.Contains(sent, target) {
					t.Errorf("the tool did not send %s", target)
				}
			}
			g.Reset()
			b := harness.Start(t, harness.Config(g))
			tt.run(t, b.URL+"/transfer")
			if received := targets(g); !slices.Equal(received, sent) {
				t.Errorf("sent\n%q\nand received\n%q", sent, received)
			}
			checkOurs(t, g, tt.client)
		})
	}
}

var sentBySDK = []string{
	"GET /v0.10/endpoint/a%20b/x%3Ay/%C3%BC%281%29",
	"GET /v0.10/operation/endpoint/%C3%A9%3A%C3%BC/ls?path=%2F~%2Fgr%C3%B6%C3%9Fe.csv%2F",
	"GET /v0.10/endpoint_search?filter_scope=my-endpoints&filter_fulltext=a%2Bb%3Bc%25d%2Fe%26f%3Dg",
	"GET /v0.10/task_list?filter=type%3ATRANSFER%2CDELETE&orderby=request_time+DESC",
}

var sentByCurl = []string{
	"/v0.10/task_list?limit=1&limit=2&&filter=a+b;c,d%2Fe%2f",
	"/v0.10/operation/endpoint/x/ls?path=/~/größe;b+c%2Fd",
	"/v0.10/operation/endpoint/x/ls?path=%2F~%2Fgr%C3%B6%c3%9fe&a[0]={b}|c",
	"/v0.10/endpoint/a%20bc;v=1/x:y,z@(1)!$'*",
	"/v0.10/endpoint/gr%C3%B6%c3%9fe",
	"/v0.10/endpoint/x/",
	"/v0.10/task_list?",
}
