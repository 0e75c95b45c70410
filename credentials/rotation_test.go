package credentials

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

// projected is a directory as Kubernetes makes it for a volume: DIR/secret leads
// through DIR/..data, which is swapped for another at once.
type projected struct {
	t   *testing.T
	dir string
	n   int
}

func newProjected(t *testing.T, secret string) *projected {
	t.Helper()
	p := &projected{t: t, dir: t.TempDir()}
	p.swap(secret)
	if err := os.Symlink("..data/secret", filepath.Join(p.dir, "secret")); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *projected) reference() Reference { return Reference("file:" + filepath.Join(p.dir, "secret")) }

func (p *projected) swap(secret string) {
	p.t.Helper()
	p.n++
	version := filepath.Join(p.dir, "..version"+string(rune('a'+p.n)))
	next := filepath.Join(p.dir, "..data_tmp")
	for _, err := range []error{
		os.Mkdir(version, 0o700), os.WriteFile(filepath.Join(version, "secret"), []byte(secret), 0o400),
		os.Symlink(filepath.Base(version), next), os.Rename(next, filepath.Join(p.dir, "..data")),
	} {
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// rotating is a set whose client has these secrets, and Run with it.
func rotating(t *testing.T, g *globus, refs ...Reference) *Set {
	t.Helper()
	cfg := globusConfig()
	client := cfg.Clients["globus"]
	client.ClientSecret = refs
	cfg.Clients["globus"] = client
	set := resolved(t, cfg, g)
	renewing(t, set)
	return set
}

// resolved is a set of cfg.
func resolved(t *testing.T, cfg Config, rt http.RoundTripper) *Set {
	t.Helper()
	var mistakes noted
	if cfg.Resolve(&mistakes); len(mistakes.lines) > 0 {
		t.Fatalf("Resolve noted %q", mistakes.lines)
	}
	set, err := NewSet(cfg, Deps{Transport: rt}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// renewing has set get its first tokens and renew them, until stop is called or the
// test ends.
func renewing(t *testing.T, set *Set) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	set.Warm(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = set.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

func TestSecrets_ARotatedOneIsTakenWithinOneProbe(t *testing.T) {
	file := newProjected(t, "old secret")
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetSecret("new secret")
		set := rotating(t, g, file.reference())
		time.Sleep(20 * time.Minute) // the old one is refused, and probed ever more slowly
		for _, s := range set.Status() {
			if s.Class != ClassClient || s.FailuresInARow < 3 || s.Obtained {
				t.Fatalf("status %+v, want the class client", s)
			}
		}
		file.swap("new secret")
		swapped := time.Now()
		for set.Status()[0].State != StateFresh || set.Status()[1].State != StateFresh {
			if time.Since(swapped) > firstProbe {
				t.Fatalf("no token %v after the secret changed: %+v", time.Since(swapped), set.Status())
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := set.Status()[0].Secret; got != string(file.reference()) {
			t.Errorf("the secret that works is %q, want the reference", got)
		}
		t.Logf("secret swapped as Kubernetes does while the old one was refused: tokens after %v, no restart", time.Since(swapped).Round(time.Millisecond))
	})
}

func TestSecrets_OfSeveralTheNextIsTriedAtOnce(t *testing.T) {
	before, after := newProjected(t, "before"), newProjected(t, "after")
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetSecret("before")
		set := rotating(t, g, before.reference(), after.reference())
		mustTokenOf(t, set, "transfer")
		wantRequests(t, g, 1)
		g.SetSecret("after") // the first is refused from now on
		time.Sleep(days(2))
		synctest.Wait()
		for _, s := range set.Status() {
			if s.State != StateFresh || s.Secret != string(after.reference()) || s.FailuresInARow != 0 {
				t.Errorf("status %+v, want a fresh token by the second secret", s)
			}
		}
		requests := g.requests()
		time.Sleep(days(2))
		synctest.Wait()
		if more := g.requests() - requests; more > 3 {
			t.Errorf("%d more token requests for two more tokens: the secret that works is not tried first", more)
		}
	})
}

func TestSecrets_OneThatCannotBeReadLeavesTheOneBefore(t *testing.T) {
	file := newProjected(t, emulator.DemoClientSecret)
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		set := rotating(t, g, file.reference())
		mustTokenOf(t, set, "transfer")
		if err := os.Remove(filepath.Join(file.dir, "secret")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(days(2))
		synctest.Wait()
		if s := set.Status()[1]; s.State != StateFresh {
			t.Errorf("status %+v, want a token by the secret that was read before", s)
		}
	})
}

// A platform that writes its assertions late, or anew, costs one look at the files
// and no probe; nor does a reload right after it lose the change.
func TestClient_AnAssertionThatChangesEndsTheRest(t *testing.T) {
	for name, reload := range map[string]bool{"alone": false, "just before a reload": true} {
		t.Run(name, func(t *testing.T) {
			file := newProjected(t, "old.assertion")
			synctest.Test(t, func(t *testing.T) {
				set := resolved(t, federatedConfig(file), takesAssertion("new.assertion").pointer())
				stop := renewing(t, set)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if s := set.Status()[0]; s.Class != ClassClient || s.FailuresInARow < 3 {
					t.Fatalf("status %+v, want the class client", s)
				}
				if reload {
					stop()
				}
				file.swap("new.assertion")
				if reload {
					again, err := NewSet(set.config, set.deps, set)
					if err != nil {
						t.Fatal(err)
					}
					set = again
					renewing(t, set)
				}
				time.Sleep(2 * pollInterval)
				synctest.Wait()
				if s := set.Status()[0]; s.State != StateFresh {
					t.Errorf("status %+v %v after the assertion changed, want a fresh token", s, 2*pollInterval)
				}
			})
		})
	}
}

// takesAssertion is an endpoint that takes one assertion alone.
func takesAssertion(assertion string) transport {
	return func(req *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(req.Body)
		form, _ := url.ParseQuery(string(body))
		if form.Get("client_assertion") != assertion {
			return answers(http.StatusUnauthorized, nil, `{"error":"invalid_client"}`)(req)
		}
		return answers(http.StatusOK, nil, tokenIn(nil))(req)
	}
}

func federatedConfig(file *projected) Config {
	return Config{
		Clients: map[string]ClientConfig{"c": {TokenURL: tokenURL, ClientID: "id", Auth: "federated", Assertion: file.reference()}},
		Tokens:  map[string]TokenConfig{"transfer": {ResourceServer: transferServer, Scopes: []string{emulator.TransferScope}}},
	}
}

// A reload that changes one credential leaves the client to the others, and a new
// secret ends the rest of them all.
func TestSet_CredentialsThatAReloadChangedHeedTheSecretToo(t *testing.T) {
	file := newProjected(t, "old secret")
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetSecret("new secret")
		old := rotating(t, g, file.reference())
		cfg := old.config
		cfg.Tokens = maps.Clone(cfg.Tokens)
		auth := cfg.Tokens["auth"]
		auth.Scopes = []string{"openid"}
		cfg.Tokens["auth"] = auth
		set, err := NewSet(cfg, old.deps, old)
		if err != nil {
			t.Fatal(err)
		}
		if member(t, set, "auth") == member(t, old, "auth") || member(t, set, "transfer") != member(t, old, "transfer") {
			t.Fatal("want another authorizer for auth, and the same for transfer")
		}
		renewing(t, set)
		time.Sleep(20 * time.Minute)
		file.swap("new secret")
		time.Sleep(2 * pollInterval)
		synctest.Wait()
		for _, s := range set.Status() {
			if s.State != StateFresh {
				t.Errorf("status %+v %v after the secret changed, want a fresh token", s, 2*pollInterval)
			}
		}
	})
}

func TestWatched_ATokenFileIsReadAnewWhenItChanges(t *testing.T) {
	file := newProjected(t, "first-token")
	optional := false
	cfg := Config{Tokens: map[string]TokenConfig{"chained": {Token: file.reference(), Required: &optional}}}
	var mistakes noted
	if cfg.Resolve(&mistakes); len(mistakes.lines) > 0 {
		t.Fatalf("Resolve noted %q", mistakes.lines)
	}
	var told []Renewal
	set, err := NewSet(cfg, Deps{Observe: func(r Renewal) { told = append(told, r) }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = set.Run(ctx)
		}()
		authorizer, _ := set.Authorizer("chained")
		w := authorizer.(*watched)
		first := *w.current.Load()
		file.swap("second-token")
		time.Sleep(pollInterval)
		synctest.Wait()
		if w.current.Load().Reveal() != "second-token" {
			t.Error("the file changed and its token did not")
		}
		file.swap("third-token")
		if !authorizer.Rejected(first) || w.current.Load().Reveal() != "third-token" {
			t.Error("a refusal did not look for a newer token")
		}
		file.swap("not a token")
		if authorizer.Rejected(*w.current.Load()) || w.current.Load().Reveal() != "third-token" {
			t.Error("a text that is no token took the token's place")
		}
		time.Sleep(10 * pollInterval)
		synctest.Wait()
		if s := set.Status()[0]; s.Class != ClassSecret || s.Reason == "" || s.Required || s.State != StateFixed {
			t.Errorf("status %+v, want why the file is not heeded", s)
		}
		if len(told) != 3 || told[0].Err != nil || told[1].Err != nil || told[2].Err == nil || told[2].Class != ClassSecret {
			t.Errorf("told %+v, want two tokens read and one failure, once", told)
		}
		file.swap("third-token")
		time.Sleep(pollInterval)
		synctest.Wait()
		if s := set.Status()[0]; s.Class != "" || s.Reason != "" || len(told) != 4 {
			t.Errorf("status %+v after %d reports, want it healed and told", s, len(told))
		}
		cancel()
		<-ended
	})
}

func TestStatus_NothingInItIsSecret(t *testing.T) {
	g := newGlobus()
	set := newSet(t, globusConfig(), emulator.DemoClientSecret, Deps{Transport: g}, nil)
	tok := mustTokenOf(t, set, "transfer")
	all := set.Status()
	if len(all) != 2 || !slices.IsSortedFunc(all, func(a, b Status) int { return len(a.Credential) - len(b.Credential) }) {
		t.Fatalf("%d statuses, want auth's and transfer's", len(all))
	}
	text := printed(t, all)
	wantNothingOf(t, "the status", text, tok.Reveal())
	wantNothingOf(t, "the status", text, emulator.DemoClientSecret)
}
