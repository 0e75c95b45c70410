package clients_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestSDK_NeedsOnlyItsBaseURLChanged(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{})
		b := harness.Start(t, harness.Config(g))
		for _, variable := range []string{"BASE_URL", "GLOBUS_SDK_SERVICE_URL_TRANSFER"} {
			for _, slash := range []string{"", "/"} {
				got := lines(s.run(t, "list.py", []string{variable + "=" + b.URL + "/transfer" + slash}))
				if !slices.Equal(got, g.EndpointIDs()) {
					t.Errorf("%s with %q after it: got %q", variable, slash, got)
				}
			}
		}
		checkOurs(t, g, s.client())
		if n := g.Count("auth", tokenPath); n != 1 {
			t.Errorf("Auth got %d token requests, want 1", n)
		}
	})
}

func TestSDK_WaitsForATaskLongerThanATokenLives(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{Lifetime: 7 * time.Second, TaskPolls: 13}) // bearerd asks every 5 s at most
		g.Margin = time.Second
		b := harness.Start(t, harness.Config(g, harness.RuleSubmit))
		submit(t, s, g, b)
		if n := g.Count("auth", tokenPath); n < 2 {
			t.Errorf("Auth got %d token requests, want 2 at least", n)
		}
		for _, r := range requests(g) {
			if r.Status >= 400 {
				t.Errorf("%s %s was answered %d", r.Method, r.Target, r.Status)
			}
		}
		for _, line := range b.Lines("token renewed") {
			if line["forced"] != false {
				t.Errorf("a renewal was forced: %v", line)
			}
		}
	})
}

func TestSDK_DoesNotNoticeThatATokenIsRevoked(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{TaskPolls: 2})
		var once sync.Once
		g.OnRequest(func(r emulator.Record) {
			if r.Method == "POST" && r.Service == "transfer" {
				once.Do(func() { g.Revoke("transfer.api.globus.org") })
			}
		})
		b := harness.Start(t, harness.Config(g, harness.RuleSubmit))
		submit(t, s, g, b)
		var statuses []int
		for _, r := range requests(g) {
			statuses = append(statuses, r.Status)
		}
		if want := []int{200, 202, 401, 200}; len(statuses) < 6 || !slices.Equal(statuses[:4], want) || slices.Contains(statuses[4:], 401) {
			t.Errorf("Transfer answered %v, want one 401, after the submission, and then the same again", statuses)
		}
		var forced []any
		for _, line := range b.Lines("token renewed") {
			if line["credential"] == "transfer" {
				forced = append(forced, line["forced"])
			}
		}
		if !slices.Equal(forced, []any{false, true}) {
			t.Errorf("renewals forced: %v, want the second and last", forced)
		}
	})
}

// submit has the SDK submit a transfer and wait for it. No answer to it may be
// an error.
func submit(t *testing.T, s sdk, g *harness.Globus, b *harness.Bearerd) {
	t.Helper()
	ends := g.EndpointIDs()
	if got := s.run(t, "submit.py", []string{"BASE_URL=" + b.URL + "/transfer"}, ends[0], ends[1]); got != "True SUCCEEDED\n" {
		t.Errorf("the program printed %q", got)
	}
	checkOurs(t, g, s.client())
	if n := g.Count("transfer", "/v0.10/transfer"); n != 1 {
		t.Errorf("Transfer got the submission %d times", n)
	}
	b.Stop() // and all it logged is there
	for _, line := range b.Lines("request") {
		if status, _ := line["status"].(float64); status >= 400 {
			t.Errorf("the SDK was answered an error: %v", line)
		}
	}
}

func TestSDK_PagesThrough250Endpoints(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{Endpoints: 250})
		b := harness.Start(t, harness.Config(g))
		got := lines(s.run(t, "list_all.py", []string{"BASE_URL=" + b.URL + "/transfer"}))
		if !slices.Equal(got, g.EndpointIDs()) {
			t.Errorf("got %d ids, not the 250 in their order", len(got))
		}
		if n := g.Count("transfer", "/v0.10/endpoint_search"); n != 3 {
			t.Errorf("Transfer got %d requests, want 3 pages", n)
		}
		checkOurs(t, g, s.client())
	})
}

func TestSDK_ShowsTheRuleThatWouldAllowADeniedSubmission(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{})
		b := harness.Start(t, harness.Config(g))
		ends := g.EndpointIDs()
		got := lines(s.run(t, "submit.py", []string{"BASE_URL=" + b.URL + "/transfer", "RETRIES=2"}, ends[0], ends[1]))
		if len(got) < 4 || !slices.Equal(got[:3], []string{"TransferAPIError", "403", "denied"}) {
			t.Fatalf("the SDK shows %q", got)
		}
		message := strings.Join(got[3:], "\n")
		for _, part := range []string{"callers: [local]", "upstreams: [transfer]", "allow: [submit]"} {
			if !strings.Contains(message, part) {
				t.Errorf("the message has no %s: %s", part, message)
			}
		}
		if n := g.Count("transfer", "/v0.10/transfer"); n != 0 {
			t.Errorf("Transfer got the denied submission %d times", n)
		}
		checkCodes(t, b, "", "denied")
	})
}

func TestSDK_RetriesWhileTheTokenEndpointIsDown(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{})
		g.CloseAuth()
		b := harness.Start(t, harness.Config(g))
		got := lines(s.run(t, "list.py", []string{"BASE_URL=" + b.URL + "/transfer", "RETRIES=2"}))
		if len(got) < 4 || !slices.Equal(got[:3], []string{"TransferAPIError", "503", "token_unavailable"}) {
			t.Errorf("the SDK shows %q", got)
		}
		checkCodes(t, b, "token_unavailable", "token_unavailable", "token_unavailable")
		asked := 0
		for _, line := range b.Lines("token renewal failed") {
			if line["credential"] == "transfer" {
				asked++
			}
		}
		if asked > 2 { // the SDK's own waits are about as long as the rest
			t.Errorf("%d token requests for 3 requests, want one for each step", asked)
		}
	})
}

func TestSDK_DoesNotRetryWhenTheSecretIsWrong(t *testing.T) {
	each(t, func(t *testing.T, s sdk) {
		g := harness.NewGlobus(t, emulator.Config{})
		b := harness.Start(t, harness.Config(g), harness.Secret("another secret, of last year"))
		got := lines(s.run(t, "list.py", []string{"BASE_URL=" + b.URL + "/transfer", "RETRIES=2"}))
		if len(got) < 4 || !slices.Equal(got[:3], []string{"TransferAPIError", "424", "token_rejected"}) {
			t.Errorf("the SDK shows %q", got)
		}
		if message := strings.Join(got, "\n"); !strings.Contains(message, "client_secret") {
			t.Errorf("the message does not name client_secret: %s", message)
		}
		checkCodes(t, b, "token_rejected")
		if n := g.Count("auth", tokenPath); n != 1 {
			t.Errorf("Auth got %d token requests, want 1", n)
		}
	})
}

// checkCodes stops bearerd and checks the codes of all its requests, which are in their
// order: the SDK sends them over one connection.
func checkCodes(t *testing.T, b *harness.Bearerd, want ...string) {
	t.Helper()
	b.Stop()
	var got []string
	for _, line := range b.Lines("request") {
		code, _ := line["code"].(string)
		got = append(got, code)
	}
	if !slices.Equal(got, want) {
		t.Errorf("codes of the requests: %s, want %s", fmt.Sprintf("%q", got), fmt.Sprintf("%q", want))
	}
}
