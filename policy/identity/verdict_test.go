package identity

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/policy"
)

func TestKubernetes_ATokenIsAskedAboutOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI()
		v := api.withoutNetwork()
		token := api.issue("system:serviceaccount:a:b", nil, audience)
		short := api.issue("system:serviceaccount:a:b", object{"exp": time.Now().Unix() + 10}, audience)
		bad := part(object{"alg": "RS256"}) + "." + part(object{"sub": "system:serviceaccount:a:b", "aud": audience}) + ".AAAA"
		for second := range 120 {
			if got := refusal(t, v, token); got != "" {
				t.Fatalf("after %d s: %s", second, got)
			}
			time.Sleep(time.Second)
		}
		perMinute := api.asked()
		if perMinute != 2 {
			t.Errorf("asked %d times in two minutes, want 2", perMinute)
		}

		before := api.asked()
		for range 50 {
			if got := refusal(t, v, bad); got != "not good" {
				t.Fatal(got)
			}
			time.Sleep(time.Second)
		}
		badAsked := api.asked() - before
		if badAsked != 10 {
			t.Errorf("asked %d times in 50 s about a bad token, want 10", badAsked)
		}
		if got := refusal(t, v, short); got != "not good" {
			t.Errorf("a token past its end: %q", got)
		}
		t.Logf("TokenReview: 120 uses of a good token in 120 s are %d questions, 50 of a bad one in 50 s %d", perMinute, badAsked)
	})
}

func TestKubernetes_AVerdictEndsWithTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI()
		v := api.withoutNetwork()
		token := api.issue("system:serviceaccount:a:b", object{"exp": time.Now().Unix() + 10}, audience)
		if got := refusal(t, v, token); got != "" {
			t.Fatal(got)
		}
		time.Sleep(9 * time.Second)
		if got := refusal(t, v, token); got != "" {
			t.Error(got)
		}
		time.Sleep(time.Second)
		if got := refusal(t, v, token); got != "not good" {
			t.Errorf("at its end: %q", got)
		}
	})
}

func TestKubernetes_ADeletedPodsTokenEndsWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI()
		v := api.withoutNetwork()
		token := api.issue("system:serviceaccount:a:b", nil, audience)
		if got := refusal(t, v, token); got != "" {
			t.Fatal(got)
		}
		api.now(func() { delete(api.known, token) })
		time.Sleep(goodFor)
		if got := refusal(t, v, token); got != "not good" {
			t.Errorf("after %v: %q", goodFor, got)
		}
	})
}

func TestKubernetes_AnOutageIsOverWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI()
		v := api.withoutNetwork()
		token := api.issue("system:serviceaccount:a:b", nil, audience)
		known := api.issue("system:serviceaccount:a:c", nil, audience)
		if got := refusal(t, v, known); got != "" {
			t.Fatal(got)
		}
		api.answers(func(_ http.ResponseWriter, r *http.Request, _ object) { <-r.Context().Done() })
		start := time.Now()
		got := each(1000, func(int) string { return refusal(t, v, token) })
		if got["cannot tell"] != 1000 || time.Since(start) != fetchTimeout || api.asked() != 2 {
			t.Errorf("outcomes %v after %v, %d questions", got, time.Since(start), api.asked())
		}
		if got := refusal(t, v, known); got != "" {
			t.Errorf("a token that is known: %s", got)
		}
		api.answers(nil)
		if got := refusal(t, v, token); got != "cannot tell" {
			t.Errorf("at once: %q", got)
		}
		time.Sleep(unknownFor)
		if got := refusal(t, v, token); got != "" {
			t.Errorf("a second later: %s", got)
		}
	})
}

func TestKubernetes_AThousandCallersAreOneQuestion(t *testing.T) {
	api := newAPI()
	url, ca := api.onLoopback(t)
	named := own()
	named.write("file:ca.crt", ca)
	v := NewKubernetes(policy.KubernetesConfig{Audience: audience, URL: url, CA: "file:ca.crt", Token: "file:token"}, KubernetesDeps{dialer(t), named.read})
	token := api.issue("system:serviceaccount:a:b", nil, audience)
	entered, release := make(chan struct{}), make(chan struct{})
	api.answers(func(w http.ResponseWriter, _ *http.Request, review object) {
		close(entered) // twice would panic
		<-release
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	})
	var started sync.WaitGroup
	started.Add(1000)
	go func() { // ends once all callers are there
		started.Wait()
		<-entered
		close(release)
	}()
	got := each(1000, func(int) string {
		started.Done()
		return refusal(t, v, token)
	})
	if got[""] != 1000 || api.asked() != 1 {
		t.Errorf("outcomes %v, %d questions", got, api.asked())
	}
	t.Logf("TokenReview: %d callers with one token are %d question", got[""], api.asked())
}

func TestKubernetes_ACallerThatHangsUpTakesTheAnswerFromNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI()
		v := api.withoutNetwork()
		token := api.issue("system:serviceaccount:a:b", nil, audience)
		api.answers(func(w http.ResponseWriter, r *http.Request, review object) {
			select {
			case <-time.After(3 * time.Second):
				w.WriteHeader(http.StatusCreated)
				_ = json.NewEncoder(w).Encode(review)
			case <-r.Context().Done():
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, token); !errors.Is(err, policy.ErrCannotTell) {
			t.Errorf("Verify() = %v", err)
		}
		if got := refusal(t, v, token); got != "" || api.asked() != 1 {
			t.Errorf("the next caller: %q, %d questions", got, api.asked())
		}
	})
}

func TestKubernetes_AFileThatHangsHoldsNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI()
		hangs := make(chan struct{})
		v := NewKubernetes(policy.KubernetesConfig{Audience: audience, URL: "https://api.example.org", Token: "file:token"}, KubernetesDeps{
			func(*tls.Config) http.RoundTripper { return api },
			func(string) ([]byte, error) { <-hangs; return []byte(ownToken), nil },
		})
		token := api.issue("system:serviceaccount:a:b", nil, audience)
		start := time.Now()
		if got := refusal(t, v, token); got != "cannot tell" || time.Since(start) > fetchTimeout+time.Second {
			t.Errorf("Verify() is %q after %v", got, time.Since(start))
		}
		close(hangs)
		synctest.Wait()
		time.Sleep(unknownFor)
		if got := refusal(t, v, token); got != "" {
			t.Errorf("once it is back: %s", got)
		}
	})
}

func TestKubernetes_ManyTokensAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI()
		v := api.withoutNetwork()
		token := func(n int) string {
			return part(object{"alg": "RS256"}) + "." + part(object{"sub": "system:serviceaccount:a:b", "aud": audience, "n": n}) + ".AAAA"
		}
		good := api.issue("system:serviceaccount:a:b", nil, audience)
		if got := refusal(t, v, good); got != "" {
			t.Fatal(got)
		}
		for n := range 2 * maxKept {
			if got := refusal(t, v, token(n)); got != "not good" {
				t.Fatal(got)
			}
		}
		bad, known := len(v.(*kubernetesVerifier).bad), len(v.(*kubernetesVerifier).good)
		if bad > maxKept || known != 1 {
			t.Errorf("%d bad and %d good tokens kept", bad, known)
		}
		before := api.asked()
		if got := refusal(t, v, good); got != "" || api.asked() != before {
			t.Errorf("the good token: %q, %d questions", got, api.asked()-before)
		}

		api.answers(func(_ http.ResponseWriter, r *http.Request, _ object) { <-r.Context().Done() })
		before = api.asked()
		got := each(5*maxAsking, func(n int) string { return refusal(t, v, token(-1-n)) })
		if got["cannot tell"] != 5*maxAsking || api.asked()-before > maxAsking {
			t.Errorf("outcomes %v, %d questions at a time", got, api.asked()-before)
		}
		t.Logf("TokenReview: %d made-up tokens, %d kept; of %d at a time %d were asked about", 2*maxKept, bad, 5*maxAsking, api.asked()-before)
	})
}

func TestKubernetes_TokenAndAuthorityAreReadAnew(t *testing.T) {
	api := newAPI()
	url, ca := api.onLoopback(t)
	named := own()
	named.write("file:ca.crt", "no certificate")
	made := 0
	dial := dialer(t)
	v := NewKubernetes(policy.KubernetesConfig{Audience: audience, URL: url, CA: "file:ca.crt", Token: "file:token"},
		KubernetesDeps{func(cfg *tls.Config) http.RoundTripper {
			made++
			if cfg.MinVersion != tls.VersionTLS12 || cfg.RootCAs == nil {
				t.Errorf("TLS from %x, roots %v", cfg.MinVersion, cfg.RootCAs)
			}
			return dial(cfg)
		}, named.read})
	verify := func(n int) string {
		return refusal(t, v, api.issue("system:serviceaccount:a:b", object{"n": n}, audience))
	}
	if got := verify(0); got != "cannot tell" {
		t.Errorf("no certificate in the CA file: %q", got)
	}
	named.write("file:ca.crt", otherAuthority())
	if got := verify(1); got != "cannot tell" {
		t.Errorf("another's authority: %q", got)
	}
	named.write("file:ca.crt", ca)
	if got := verify(2); got != "" {
		t.Errorf("its own: %s", got)
	}
	api.now(func() { api.own = "next" })
	if got := verify(3); got != "cannot tell" {
		t.Errorf("the old token: %q", got)
	}
	named.write("file:token", "next")
	if got := verify(4); got != "" {
		t.Errorf("the new token: %s", got)
	}
	if made != 2 {
		t.Errorf("%d transports were made, want one for each authority that was used", made)
	}
}

// otherAuthority returns somebody's who signs for nobody here: httptest's servers
// all show the same certificate.
func otherAuthority() string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der := must(x509.CreateCertificate(rand.Reader, template, template, other().Public(), other()))
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
