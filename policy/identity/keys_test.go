package identity

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"bearerd/policy"
)

// each runs f once for each of n callers at the same time, and counts what it returns.
func each(n int, f func(caller int) string) counts {
	var mu sync.Mutex
	got := counts{}
	var wait sync.WaitGroup
	for caller := range n {
		wait.Go(func() {
			outcome := f(caller)
			mu.Lock()
			defer mu.Unlock()
			got[outcome]++
		})
	}
	wait.Wait()
	return got
}

func TestJWT_AnUnknownKeyCausesOneFetchAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(published("r", "", rsaKey().Public()))
		v := i.verifier(i)
		if got := refusal(t, v, i.token(nil)); got != "" {
			t.Fatal(got)
		}
		sent := 0
		const minutes = 5
		for end := time.Now().Add(minutes * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
			got := each(20, func(caller int) string {
				header := part(object{"alg": "RS256", "kid": fmt.Sprint("made-up-", sent, caller)})
				return refusal(t, v, header+"."+part(i.claims(nil))+".AAAA")
			})
			if got["not good"] != 20 {
				t.Fatalf("outcomes %v", got)
			}
			sent += 20
		}
		if asked := i.count(keysPath); asked > 1+minutes {
			t.Errorf("%d requests for keys in %d minutes", asked, minutes)
		}
		t.Logf("unknown keys: %d tokens in %d minutes caused %d requests for keys", sent, minutes, i.count(keysPath)-1)
	})
}

func TestJWT_ANewKeyIsFoundWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(published("r", "", rsaKey().Public()))
		v := i.verifier(i)
		next := sign(object{"alg": "RS256", "kid": "next"}, i.claims(nil), other())
		if got := refusal(t, v, i.token(nil)) + refusal(t, v, next); got != "not good" {
			t.Fatal(got)
		}
		i.now(func() { i.keys = append(i.keys, published("next", "", other().Public())) })
		time.Sleep(askEvery)
		if got := refusal(t, v, next); got != "" {
			t.Errorf("the new key's token: %s", got)
		}
		if got := refusal(t, v, i.token(nil)); got != "" {
			t.Errorf("the old key's token: %s", got)
		}
	})
}

func TestJWT_AKeyReplacedUnderItsIDIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(published("", "", rsaKey().Public()))
		v := i.verifier(i)
		old := sign(object{"alg": "RS256"}, i.claims(nil), rsaKey())
		if got := refusal(t, v, old); got != "" {
			t.Fatal(got)
		}
		i.now(func() { i.keys[0] = published("", "", other().Public()) })
		time.Sleep(askEvery)
		if got := refusal(t, v, sign(object{"alg": "RS256"}, i.claims(nil), other())); got != "" {
			t.Errorf("the new key's token: %s", got)
		}
		if got := refusal(t, v, old); got != "not good" {
			t.Errorf("the old key's token: %q", got)
		}
	})
}

func TestJWT_AKeyTakenBackIsNotBelievedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(published("r", "", rsaKey().Public()))
		v := i.verifier(i)
		token := i.token(object{"exp": time.Now().Add(24 * time.Hour).Unix()})
		if got := refusal(t, v, token); got != "" {
			t.Fatal(got)
		}
		i.now(func() { i.keys = []jose.JSONWebKey{} })
		time.Sleep(freshFor)
		if got := refusal(t, v, token); got != "" { // and asks beside
			t.Fatal(got)
		}
		synctest.Wait()
		if got := refusal(t, v, token); got != "not good" {
			t.Errorf("after %v: %q, want not good", freshFor, got)
		}
	})
}

func TestJWT_AnIssuerThatIsDownCostsNothingForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(published("r", "", rsaKey().Public()))
		v := i.verifier(i)
		token := i.token(object{"exp": time.Now().Add(24 * time.Hour).Unix()})
		if got := refusal(t, v, token); got != "" {
			t.Fatal(got)
		}
		i.down()
		start := time.Now()
		for time.Sleep(time.Second); time.Since(start) < believedFor; time.Sleep(time.Minute) {
			if got := refusal(t, v, token); got != "" {
				t.Fatalf("after %v: %s", time.Since(start), got)
			}
		}
		asked := i.count(metadataPath) - 1
		if got := refusal(t, v, token); got != "cannot tell" {
			t.Errorf("after %v: %q, want cannot tell", time.Since(start), got)
		}
		if asked > 52 {
			t.Errorf("asked %d times in an hour", asked)
		}
		i.up()
		time.Sleep(failureRest)
		if got := refusal(t, v, token); got != "" {
			t.Errorf("the issuer is back: %s", got)
		}
		t.Logf("issuer down: tokens taken for %v by the keys of before, asked %d times", believedFor, asked)
	})
}

func TestJWT_WithoutKeysAThousandCallersAreOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(published("r", "", rsaKey().Public()))
		i.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() } // hangs
		v := i.verifier(i)
		token := i.token(nil)
		start := time.Now()
		got := each(1000, func(int) string { return refusal(t, v, token) })
		if got["cannot tell"] != 1000 || time.Since(start) > fetchTimeout || i.count(metadataPath) != 1 {
			t.Errorf("outcomes %v after %v, %d requests", got, time.Since(start), i.count(metadataPath))
		}
		start = time.Now()
		got = each(1000, func(int) string { return refusal(t, v, token) })
		if got["cannot tell"] != 1000 || time.Since(start) != 0 || i.count(metadataPath) != 1 {
			t.Errorf("at once again: outcomes %v after %v, %d requests", got, time.Since(start), i.count(metadataPath))
		}
		i.up()
		time.Sleep(failureRest)
		got = each(1000, func(int) string { return refusal(t, v, token) })
		if got[""] != 1000 || i.count(metadataPath) != 2 || i.count(keysPath) != 1 {
			t.Errorf("the issuer is back: outcomes %v, %d requests", got, i.count(metadataPath))
		}
		t.Logf("issuer hangs: 1000 callers wait %v for 1 request, 1000 more are told at once; back: 1000 taken after 1 request", fetchTimeout)
	})
}

func TestJWT_ACallerThatHangsUpTakesTheKeysFromNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(published("r", "", rsaKey().Public()))
		answer := make(chan struct{})
		i.answer = func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-answer:
				i.up()
				i.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}
		v := i.verifier(i)
		token := i.token(nil)
		first, hangUp := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, err := v.Verify(first, token)
			ended <- err
		}()
		synctest.Wait()
		second := make(chan string)
		go func() { second <- refusal(t, v, token) }()
		synctest.Wait()
		hangUp()
		if err := <-ended; err == nil {
			t.Error("the caller that hung up got an answer")
		}
		close(answer)
		if got := <-second; got != "" {
			t.Errorf("the second caller: %s", got)
		}
		if n := i.count(keysPath); n != 1 {
			t.Errorf("keys were asked for %d times, want once", n)
		}
	})
}

func TestJWT_AnIssuerThatAnswersOddlyLetsNobodyIn(t *testing.T) {
	write := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}
	}
	const url = "https://issuer.example.org"
	for _, tt := range []struct {
		name   string
		jwks   bool // the configuration says where the keys are
		answer http.HandlerFunc
		want   string
	}{
		{"a redirect", false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example.org/", http.StatusFound)
		}, "redirect"},
		{"a redirect of the keys", true, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example.org/", http.StatusTemporaryRedirect)
		}, "redirect"},
		{"a page", false, write(200, "<html>not to be shown"), "something other than its metadata"},
		{"a page for keys", true, write(200, "<html>not to be shown"), "something other than keys"},
		{"not found", false, write(404, "not to be shown"), "404 Not Found"},
		{"an error", true, write(500, "not to be shown"), "500 Internal Server Error"},
		{"no body", true, write(204, ""), "something other than keys"},
		{"2 MiB", true, write(200, `{"keys":[]}`+strings.Repeat(" ", 2<<20)), "more than 1 MiB"},
		{"another issuer's metadata", false, write(200, `{"issuer":"https://not to be shown","jwks_uri":"`+url+`/keys"}`), "another issuer's metadata"},
		{"the issuer with a slash", false, write(200, `{"issuer":"`+url+`/","jwks_uri":"`+url+`/keys"}`), "another issuer's metadata"},
		{"keys over http", false, write(200, `{"issuer":"`+url+`","jwks_uri":"http://issuer.example.org/keys"}`), "names no place"},
		{"keys in a file", false, write(200, `{"issuer":"`+url+`","jwks_uri":"file:///etc/passwd"}`), "names no place"},
		{"keys nowhere", false, write(200, `{"issuer":"`+url+`"}`), "names no place"},
		{"keys behind a password", false, write(200, `{"issuer":"`+url+`","jwks_uri":"https://a:b@issuer.example.org/"}`), "names no place"},
		{"a broken connection", false, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "broke the connection"},
		{"too many keys", true, write(200, `{"keys":[`+strings.Repeat("{},", 70)+`{}]}`), "more than 64 keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer()
			i.answer = tt.answer
			cfg := policy.JWTConfig{Issuer: url, Audience: audience}
			if tt.jwks {
				cfg.JWKS = url + keysPath
			}
			v, token := NewJWT("corp", cfg, i), i.token(nil)
			if got := refusal(t, v, token); got != "cannot tell" {
				t.Errorf("Verify() is %q, want cannot tell", got)
			}
			if _, err := v.Verify(context.Background(), token); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "corp") {
				t.Errorf("Verify() = %v, want %q", err, tt.want)
			}
			if n := i.count(metadataPath) + i.count(keysPath); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

func TestJWT_APanicOnTheWayEndsNothing(t *testing.T) {
	i := newIssuer()
	v := i.verifier(panics{})
	if got := refusal(t, v, i.token(nil)); got != "cannot tell" {
		t.Errorf("Verify() is %q", got)
	}
}

type panics struct{}

func (panics) RoundTrip(*http.Request) (*http.Response, error) { panic("on the way") }
