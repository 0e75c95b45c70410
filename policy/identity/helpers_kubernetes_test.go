package identity

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bearerd/policy"
)

const (
	ownToken  = "of-bearerd-itself"
	apiItself = "https://kubernetes.default.svc.cluster.local" // the API server's own audience
)

// apiEmulator is an API server that answers TokenReviews as Kubernetes' does: its
// caller must be known and may be forbidden; a token is for the audiences it was
// made for, one without any for the API server's own; asked about none, the server
// takes its own; the answer is 201.
type apiEmulator struct {
	mu     sync.Mutex          // guards the fields below
	own    string              // whom it knows
	known  map[string][]string // audiences by token; nil: a legacy one
	posts  int
	answer func(w http.ResponseWriter, r *http.Request, review object) // instead of its own
}

func newAPI() *apiEmulator { return &apiEmulator{own: ownToken, known: map[string][]string{}} }

func (a *apiEmulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	own, answer := a.own, a.answer
	if r.Method == http.MethodPost {
		a.posts++
	}
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	failed := func(code int, reason string) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code})
	}
	var review struct {
		Version string `json:"apiVersion"`
		Kind    string `json:"kind"`
		Spec    struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch err := json.NewDecoder(r.Body).Decode(&review); {
	case !isBearer || bearer != own && bearer != "of-one-who-may-not":
		failed(http.StatusUnauthorized, "Unauthorized")
	case bearer != own:
		failed(http.StatusForbidden, "Forbidden")
	case r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || r.Method != http.MethodPost:
		failed(http.StatusNotFound, "NotFound")
	case err != nil || review.Version != "authentication.k8s.io/v1" || review.Kind != "TokenReview" || review.Spec.Token == "":
		failed(http.StatusBadRequest, "BadRequest")
	default:
		made := object{
			"kind": review.Kind, "apiVersion": review.Version, "spec": review.Spec,
			"metadata": object{"creationTimestamp": nil, "managedFields": []any{object{"fieldsV1": object{"f:spec": object{"f:token": object{}}}}}},
		}
		made["status"] = a.status(review.Spec.Token, review.Spec.Audiences)
		if answer != nil {
			answer(w, r, made)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(made)
	}
}

func (a *apiEmulator) status(token string, asked []string) object {
	a.mu.Lock()
	audiences, known := a.known[token]
	a.mu.Unlock()
	if len(asked) == 0 {
		asked = []string{apiItself}
	}
	if known && audiences == nil {
		audiences = []string{apiItself}
	}
	both := slices.DeleteFunc(slices.Clone(asked), func(one string) bool { return !slices.Contains(audiences, one) })
	said, ok := parseToken(token)
	switch {
	case !known || !ok:
		return object{"user": object{}, "error": "[invalid bearer token, signature not to be shown]"}
	case len(both) == 0:
		return object{"user": object{}, "error": fmt.Sprintf("[invalid bearer token, token audiences %q is invalid for the target audiences %q]", audiences, asked)}
	}
	return object{"authenticated": true, "audiences": both, "user": object{
		"username": text(said.claims, "sub"), "uid": "0f0e", "groups": []string{"system:serviceaccounts", "system:authenticated"},
		"extra": object{"authentication.kubernetes.io/pod-name": []string{"runner-0"}},
	}}
}

var errAPI = errors.New("dial: not to be shown")

func (a *apiEmulator) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = errAPI
		}
	}()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (a *apiEmulator) now(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *apiEmulator) asked() (n int) {
	a.now(func() { n = a.posts })
	return n
}

func (a *apiEmulator) answers(answer func(http.ResponseWriter, *http.Request, object)) {
	a.now(func() { a.answer = answer })
}

// issue makes a token that the API server knows.
func (a *apiEmulator) issue(sub string, changes object, audiences ...string) string {
	claims := object{"iss": apiItself, "sub": sub, "aud": audiences, "exp": time.Now().Add(time.Hour).Unix()}
	if audiences == nil {
		delete(claims, "aud")
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	token := part(object{"alg": "RS256", "kid": "k"}) + "." + part(claims) + "." + part("signature of the API server")
	a.now(func() { a.known[token] = audiences })
	return token
}

// files are what references name.
type files struct {
	mu    sync.Mutex
	named map[string]string
}

func (f *files) read(reference string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, ok := f.named[reference]
	if !ok {
		return nil, errors.New("file cannot be opened: no such file")
	}
	return []byte(text), nil
}

func (f *files) write(reference, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.named[reference] = text
}

func own() *files { return &files{named: map[string]string{"file:token": ownToken + "\n"}} }

// withoutNetwork is a verifier whose transport is the server.
func (a *apiEmulator) withoutNetwork() policy.Verifier {
	return NewKubernetes(policy.KubernetesConfig{Audience: audience, URL: "https://api.example.org", Token: "file:token"},
		KubernetesDeps{Transport: func(*tls.Config) http.RoundTripper { return a }, Read: own().read})
}

// onLoopback starts the server, and returns its URL and authority.
func (a *apiEmulator) onLoopback(t *testing.T) (url, ca string) {
	t.Helper()
	server := httptest.NewUnstartedServer(a)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// dialer makes transports as the daemon does; the test closes them.
func dialer(t *testing.T) func(*tls.Config) http.RoundTripper {
	return func(cfg *tls.Config) http.RoundTripper {
		made := &http.Transport{TLSClientConfig: cfg}
		t.Cleanup(made.CloseIdleConnections)
		return made
	}
}
