package identity

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"bearerd/policy"
)

func TestKubernetes_TakesTokensForItsAudienceAlone(t *testing.T) {
	api := newAPI()
	url, ca := api.onLoopback(t)
	named := own()
	named.write("file:ca.crt", ca)
	v := NewKubernetes(policy.KubernetesConfig{Audience: audience, URL: url, CA: "file:ca.crt", Token: "file:token"}, KubernetesDeps{dialer(t), named.read})
	const runner = "system:serviceaccount:sim:runner"
	good := api.issue(runner, nil, audience)
	for _, tt := range []struct {
		name   string
		token  string
		status object // instead of what the API server says
		want   string // the ServiceAccount, or why not
	}{
		{"made for bearerd", good, nil, "sim/runner"},
		{"made for bearerd and others", api.issue(runner, nil, "vault", audience), nil, "sim/runner"},
		{"names with dashes and dots", api.issue("system:serviceaccount:lab-1:beam.line-2", nil, audience), nil, "lab-1/beam.line-2"},
		{"the pod's own, for the API server", api.issue(runner, nil, apiItself), nil, "another audience"},
		{"made for another", api.issue(runner, nil, "vault"), nil, "another audience"},
		{"a Secret's, without an audience", api.issue(runner, object{"exp": nil}), nil, "does not know it"},
		{"a Secret's, and the server ignores what it is asked", api.issue(runner, object{"exp": nil, "jti": 1}),
			object{"authenticated": true, "audiences": []string{apiItself}, "user": object{"username": runner}}, "does not say that it is for the audience"},
		{"a server that knows nothing of audiences", api.issue(runner, object{"jti": 2}, audience),
			object{"authenticated": true, "user": object{"username": runner}}, "does not say that it is for the audience"},
		{"not authenticated, yet for the audience", api.issue(runner, object{"jti": 3}, audience),
			object{"authenticated": false, "audiences": []string{audience}, "user": object{"username": runner}}, "does not know it"},
		{"authenticated with an error", api.issue(runner, object{"jti": 4}, audience),
			object{"authenticated": true, "audiences": []string{audience}, "user": object{"username": runner}, "error": "not to be shown"}, "does not know it"},
		{"a person", api.issue(runner, object{"jti": 5}, audience),
			object{"authenticated": true, "audiences": []string{audience}, "user": object{"username": "admin"}}, "no ServiceAccount's"},
		{"a node", api.issue(runner, object{"jti": 6}, audience),
			object{"authenticated": true, "audiences": []string{audience}, "user": object{"username": "system:node:n1"}}, "no ServiceAccount's"},
		{"a name of three parts", api.issue("system:serviceaccount:a:b:c", nil, audience), nil, "no ServiceAccount's"},
		{"a name of one part", api.issue("system:serviceaccount:a", nil, audience), nil, "no ServiceAccount's"},
		{"no namespace", api.issue("system:serviceaccount::a", nil, audience), nil, "no ServiceAccount's"},
		{"no name", api.issue("system:serviceaccount:a:", nil, audience), nil, "no ServiceAccount's"},
		{"a slash in the name", api.issue("system:serviceaccount:a:b/c", nil, audience), nil, "no ServiceAccount's"},
		{"one that the API server does not know", sign(object{"alg": "RS256"}, object{"sub": runner, "aud": audience, "exp": time.Now().Unix() + 60}, other()), nil, "does not know it"},
		{"expired", api.issue(runner, object{"exp": time.Now().Unix() - 1}, audience), nil, "has expired"},
		{"an end that is a text", api.issue(runner, object{"exp": "never"}, audience), nil, "no exp"},
		{"another subject", api.issue("admin", nil, audience), nil, "no ServiceAccount's"},
		{"a huge one", api.issue(runner, object{"filler": strings.Repeat("x", maxToken)}, audience), nil, "no ServiceAccount's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.status != nil {
				api.answers(func(w http.ResponseWriter, _ *http.Request, review object) {
					review["status"] = tt.status
					w.WriteHeader(http.StatusCreated)
					_ = json.NewEncoder(w).Encode(review)
				})
				defer api.answers(nil)
			}
			proof, err := v.Verify(context.Background(), tt.token)
			got := ""
			if err == nil {
				got = proof.ServiceAccount
			} else {
				checkQuiet(t, err, tt.token)
				if !errors.Is(err, policy.ErrNotGood) {
					t.Errorf("Verify() = %v, want one that is not good", err)
				}
				got = err.Error()
			}
			if !strings.HasSuffix(got, tt.want) && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("Verify() is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestKubernetes_ClaimsWhatIsOfAServiceAccount(t *testing.T) {
	api := newAPI()
	v := api.withoutNetwork()
	for _, tt := range []struct {
		name  string
		token string
		want  bool
	}{
		{"a ServiceAccount's", api.issue("system:serviceaccount:a:b", nil, audience), true},
		{"one for another audience", api.issue("system:serviceaccount:a:b", nil, "vault"), true},
		{"another subject", api.issue("someone", nil, audience), false},
		{"a subject that is a list", api.issue("", object{"sub": []string{"system:serviceaccount:a:b"}}, audience), false},
		{"a key", "3f1c8a2e9b", false},
		{"nothing", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := v.Claims(tt.token); got != tt.want {
				t.Errorf("Claims() = %v, want %v", got, tt.want)
			}
		})
	}
	if n := api.asked(); n != 0 {
		t.Errorf("%d questions", n)
	}
}

func TestKubernetes_WhenTheAPIServerCannotBeAskedNobodyIsLetIn(t *testing.T) {
	write := func(status int, text string) func(http.ResponseWriter, *http.Request, object) {
		return func(w http.ResponseWriter, _ *http.Request, _ object) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}
	}
	without := func(change func(review object)) func(http.ResponseWriter, *http.Request, object) {
		return func(w http.ResponseWriter, _ *http.Request, review object) {
			change(review)
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(review)
		}
	}
	const good = `{"authenticated":true,"audiences":["bearerd"],"user":{"username":"system:serviceaccount:a:b"}}`
	for _, tt := range []struct {
		name   string
		own    string // instead of bearerd's own token
		url    string
		answer func(http.ResponseWriter, *http.Request, object)
		want   string
	}{
		{"it does not know bearerd", "another", "", nil, "does not know bearerd's own token"},
		{"it forbids bearerd to ask", "of-one-who-may-not", "", nil, "system:auth-delegator"},
		{"bearerd's token is missing", "-", "", nil, "no such file"},
		{"bearerd's token is empty", " \n", "", nil, "is no token"},
		{"bearerd's token has lines", "a\r\nX-Evil: 1", "", nil, "is no token"},
		{"http", "", "http://api.example.org", nil, "not one of https"},
		{"no URL", "", "://", nil, "not one of https"},
		{"broken off", "", "", func(http.ResponseWriter, *http.Request, object) { panic(http.ErrAbortHandler) }, "broke the connection"},
		{"an error", "", "", write(500, `{"status":`+good+`}`), "500 Internal Server Error"},
		{"overloaded", "", "", write(429, ""), "429 Too Many Requests"},
		{"not found", "", "", write(404, "not to be shown"), "404 Not Found"},
		{"a redirect", "", "", func(w http.ResponseWriter, r *http.Request, _ object) {
			http.Redirect(w, r, "https://evil.example.org", http.StatusTemporaryRedirect)
		}, "redirect"},
		{"a page", "", "", write(200, "<html>not to be shown"), "something other than a TokenReview"},
		{"nothing", "", "", write(201, ""), "something other than a TokenReview"},
		{"an empty object", "", "", write(201, "{}"), "something other than a TokenReview"},
		{"no status", "", "", without(func(review object) { delete(review, "status") }), "something other than a TokenReview"},
		{"another kind", "", "", without(func(review object) { review["kind"] = "SubjectAccessReview" }), "something other than a TokenReview"},
		{"another version", "", "", without(func(review object) { review["apiVersion"] = "authentication.k8s.io/v1beta1" }), "something other than a TokenReview"},
		{"a status that is a text", "", "", without(func(review object) { review["status"] = "authenticated" }), "something other than a TokenReview"},
		{"authenticated as a text", "", "", without(func(review object) { review["status"] = object{"authenticated": "true"} }), "something other than a TokenReview"},
		{"two statuses", "", "", write(201, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{},"status":`+good+`}`), "something other than a TokenReview"},
		{"cut short", "", "", write(201, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":`+good), "something other than a TokenReview"},
		{"2 MiB", "", "", write(201, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":`+good+strings.Repeat(" ", 2<<20)+"}"), "more than 1 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI()
			api.answer = tt.answer
			named := own()
			switch tt.own {
			case "":
			case "-":
				delete(named.named, "file:token")
			default:
				named.write("file:token", tt.own)
			}
			cfg := policy.KubernetesConfig{Audience: audience, URL: "https://api.example.org", Token: "file:token"}
			if tt.url != "" {
				cfg.URL = tt.url
			}
			v := NewKubernetes(cfg, KubernetesDeps{func(*tls.Config) http.RoundTripper { return api }, named.read})
			token := api.issue("system:serviceaccount:a:b", nil, audience)
			if got := refusal(t, v, token); got != "cannot tell" {
				t.Errorf("Verify() is %q, want cannot tell", got)
			}
			if _, err := v.Verify(context.Background(), token); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify() = %v, want %q", err, tt.want)
			} else if strings.Contains(err.Error(), ownToken) {
				t.Errorf("the error %q holds bearerd's own token", err)
			}
		})
	}
}
