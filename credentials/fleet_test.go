package credentials_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bearerd/credentials"
	"bearerd/credentials/redisstore"
	"bearerd/test/redis"
)

const (
	fleetEndpoint = "BEARERD_FLEET_ENDPOINT" // set in a process that is a member
	fleetRedis    = "BEARERD_FLEET_REDIS"
	fleetSecret   = "BEARERD_FLEET_SECRET"
	fleetKey      = "a key for the fleet's store, which is long enough"
)

// member is what a process of the fleet saw.
type member struct {
	Tokens []string // fingerprints, one after the other
	Asked  int      // requests that wanted a token
	Failed int      // and got none
	Waited int      // for more than 10 ms
}

// TestFleet_Member is a process of the fleet. It takes tokens until its standard
// input ends, and prints what it saw.
func TestFleet_Member(t *testing.T) {
	if os.Getenv(fleetEndpoint) == "" {
		return // it is nothing by itself
	}
	ctx, cancel := context.WithCancel(t.Context())
	saw := serve(ctx, t, os.Getenv(fleetEndpoint), os.Getenv(fleetRedis), func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	})
	text, err := json.Marshal(saw)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("saw %s\n", text)
}

// serve takes tokens, as a daemon under load does, until ctx ends. It also waits
// for meanwhile, which runs beside it.
func serve(ctx context.Context, t *testing.T, endpoint, redisURL string, meanwhile func()) (saw member) {
	t.Helper()
	store, err := redisstore.Open(redisstore.Options{
		URL: credentials.NewSecret(redisURL), Keys: []credentials.Secret{credentials.NewSecret(fleetKey)}, Timeout: 250 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cfg := credentials.Config{
		Clients: map[string]credentials.ClientConfig{"c": {
			TokenURL: endpoint, InsecureHTTP: true, Private: true, ClientID: "id", ClientSecret: credentials.References{"env:" + fleetSecret},
		}},
		Tokens: map[string]credentials.TokenConfig{"a": {Scopes: []string{"a"}}},
	}
	cfg.Resolve(wrong{t})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	set, err := credentials.NewSet(cfg, credentials.Deps{Transport: transport, Store: store}, nil)
	if err != nil {
		t.Fatal(err)
	}
	set.Hurry()
	set.Warm(ctx)
	var group sync.WaitGroup
	group.Go(func() { _ = set.Run(ctx) })
	group.Go(meanwhile)
	authorizer, _ := set.Authorizer("a")
	for ctx.Err() == nil {
		req, _ := http.NewRequest(http.MethodGet, "https://api.example.org/", nil)
		start := time.Now()
		tok, err := authorizer.Authorize(req)
		saw.Asked++
		switch {
		case err != nil:
			saw.Failed++
		case len(saw.Tokens) == 0 || saw.Tokens[len(saw.Tokens)-1] != tok.Fingerprint():
			saw.Tokens = append(saw.Tokens, tok.Fingerprint())
		case time.Since(start) > 10*time.Millisecond:
			saw.Waited++
		}
		time.Sleep(5 * time.Millisecond)
	}
	group.Wait()
	return saw
}

type wrong struct{ *testing.T }

func (w wrong) Add(path []any, format string, args ...any) {
	w.Errorf("%v: "+format, append([]any{path}, args...)...)
}
func (w wrong) Unknown(path []any, kind, name string, _ []string) {
	w.Add(path, "no %s %q", kind, name)
}

// tokensOf2s is a token endpoint that counts requests, and tells each.
func tokensOf2s(t *testing.T, requests *atomic.Int64, told func(n int64)) *httptest.Server {
	t.Helper()
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := requests.Add(1)
		time.Sleep(20 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":2}`, n)
		told(n)
	}))
	t.Cleanup(endpoint.Close)
	return endpoint
}

// TestFleet_EightProcessesSpendOneRequestForEachRenewal runs 8 processes that share
// a Redis through 20 renewals, and some more without it.
func TestFleet_EightProcessesSpendOneRequestForEachRenewal(t *testing.T) {
	server := redis.Start(t)
	var requests atomic.Int64
	reached := make(chan struct{})
	endpoint := tokensOf2s(t, &requests, func(n int64) {
		if n == 21 { // the first and 20 renewals
			close(reached)
		}
	})
	const size = 8
	outputs := make([]bytes.Buffer, size)
	inputs := make([]io.WriteCloser, size)
	commands := make([]*exec.Cmd, size)
	for i := range size {
		command := exec.Command(os.Args[0], "-test.run", "^TestFleet_Member$", "-test.count", "1")
		command.Env = append(os.Environ(), fleetEndpoint+"="+endpoint.URL, fleetRedis+"="+server.URL, fleetSecret+"=secret")
		command.Stdout, command.Stderr = &outputs[i], &outputs[i]
		var err error
		if inputs[i], err = command.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		commands[i] = command
	}
	select {
	case <-reached:
	case <-time.After(2 * time.Minute):
		t.Error("20 renewals did not come about")
	}
	time.Sleep(time.Second) // for all to have the last token, before the next renewal
	shared := requests.Load()
	server.Kill()
	time.Sleep(4 * time.Second) // two lives of a token without the store
	for i := range size {
		_ = inputs[i].Close()
	}
	seen := map[string]int{}
	asked, failed, waited := 0, 0, 0
	for i, command := range commands {
		if err := command.Wait(); err != nil {
			t.Errorf("a process ended with %v: %s", err, outputs[i].String())
		}
		var saw member
		for scanner := bufio.NewScanner(&outputs[i]); scanner.Scan(); {
			if text, ok := strings.CutPrefix(scanner.Text(), "saw "); ok {
				_ = json.Unmarshal([]byte(text), &saw)
			}
		}
		for _, fingerprint := range saw.Tokens {
			seen[fingerprint]++
		}
		asked, failed, waited = asked+saw.Asked, failed+saw.Failed, waited+saw.Waited
	}
	everywhere := 0
	for _, n := range seen {
		if n == size {
			everywhere++
		}
	}
	if shared != 21 || everywhere < 20 {
		t.Errorf("%d token requests while Redis was there, %d of the tokens used by all 8; want the first and 20, used by all", shared, everywhere)
	}
	if failed > 0 {
		t.Errorf("%d of %d requests had no token", failed, asked)
	}
	t.Logf("8 processes sharing Redis through 20 renewals: %d token requests for them and the first token, %d tokens used by all 8; Redis killed: %d more; %d of %d requests failed, %d waited",
		shared, everywhere, requests.Load()-shared, failed, asked, waited)
}

// TestFleet_ARedisThatComesAndGoesUnderLoadFailsNoRequest takes the Redis away from
// under four engines in every way there is.
func TestFleet_ARedisThatComesAndGoesUnderLoadFailsNoRequest(t *testing.T) {
	t.Setenv(fleetSecret, "secret")
	server := redis.Start(t)
	var requests atomic.Int64
	endpoint := tokensOf2s(t, &requests, func(int64) {})
	const size = 4
	ctx, cancel := context.WithCancel(t.Context())
	seen := make([]member, size)
	var group sync.WaitGroup
	for i := range size {
		group.Go(func() { seen[i] = serve(ctx, t, endpoint.URL, server.URL, func() {}) })
	}
	renewed := func(more int64) { // waits for as many renewals
		for from := requests.Load(); requests.Load() < from+more; time.Sleep(20 * time.Millisecond) {
			if ctx.Err() != nil {
				return
			}
		}
	}
	renewed(2)
	for _, disturb := range []func(){server.Flush, server.Pause, server.Resume, server.Kill, server.Restart, server.Flush} {
		disturb()
		renewed(4)
	}
	cancel()
	group.Wait()
	asked, failed, waited := 0, 0, 0
	for _, saw := range seen {
		asked, failed, waited = asked+saw.Asked, failed+saw.Failed, waited+saw.Waited
	}
	if failed > 0 || asked < 1000 {
		t.Errorf("%d of %d requests had no token, want none of a thousand and more", failed, asked)
	}
	t.Logf("Redis flushed, paused, resumed, killed, restarted and flushed under 4 engines: %d of %d requests failed, %d waited, %d token requests", failed, asked, waited, requests.Load())
}
