package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"bearerd/policy"
)

const (
	reviewVersion = "authentication.k8s.io/v1"
	reviewKind    = "TokenReview"
	reviewPath    = "/apis/authentication.k8s.io/v1/tokenreviews"
)

// tokenReview is a TokenReview of authentication.k8s.io/v1, as far as it matters here.
type tokenReview struct {
	Version string        `json:"apiVersion"`
	Kind    string        `json:"kind"`
	Spec    reviewSpec    `json:"spec"`
	Status  *reviewStatus `json:"status,omitempty"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

type reviewStatus struct {
	Authenticated bool     `json:"authenticated"`
	Audiences     []string `json:"audiences"`
	Error         string   `json:"error"`
	User          struct {
		Username string `json:"username"`
	} `json:"user"`
}

// apiServer asks Kubernetes' API server about tokens.
type apiServer struct {
	cfg  policy.KubernetesConfig
	deps KubernetesDeps

	mu        sync.Mutex // guards the fields below
	authority [sha256.Size]byte
	transport http.RoundTripper
}

// review asks about a token. Its errors wrap ErrNotGood or ErrCannotTell.
func (a *apiServer) review(ctx context.Context, token string) (*policy.Proof, error) {
	transport, err := a.way()
	if err != nil {
		return nil, err
	}
	req, err := a.request(ctx, token)
	if err != nil {
		return nil, err
	}
	got, err := fetch(transport, req)
	switch {
	case got.status == http.StatusUnauthorized:
		return nil, cannotTell("the API server does not know bearerd's own token; check policy.identity.kubernetes.token")
	case got.status == http.StatusForbidden:
		return nil, cannotTell("the API server does not let bearerd review tokens; bind the ClusterRole system:auth-delegator to its ServiceAccount")
	case err != nil:
		return nil, cannotTell("the API server " + err.Error())
	}
	return a.judge(got.body)
}

// judge reads the API server's answer. That there is no error in it is not enough:
// the token must be for the audience, and the audience be among those that the
// server says it was checked for. A server that knows nothing of audiences does not
// say any, and then any pod's token would do.
func (a *apiServer) judge(body []byte) (*policy.Proof, error) {
	if _, err := parseObject(body); err != nil {
		return nil, cannotTell("the API server answered with something other than a TokenReview")
	}
	var review tokenReview
	err := json.Unmarshal(body, &review)
	if err != nil || review.Version != reviewVersion || review.Kind != reviewKind || review.Status == nil {
		return nil, cannotTell("the API server answered with something other than a TokenReview")
	}
	status := review.Status
	switch {
	case !status.Authenticated || status.Error != "":
		return nil, notGood("the API server does not know it")
	case !slices.Contains(status.Audiences, a.cfg.Audience):
		return nil, notGood("the API server does not say that it is for the audience " + a.cfg.Audience)
	}
	name, isAccount := strings.CutPrefix(status.User.Username, serviceAccount)
	parts := strings.Split(name, ":")
	if !isAccount || len(parts) != 2 || !isName(parts[0]) || !isName(parts[1]) {
		return nil, notGood("the API server says that it is no ServiceAccount's")
	}
	return &policy.Proof{ServiceAccount: parts[0] + "/" + parts[1]}, nil
}

// isName reports whether a namespace or ServiceAccount may have the name.
func isName(name string) bool {
	return name != "" && len(name) <= 253 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

func (a *apiServer) request(ctx context.Context, token string) (*http.Request, error) {
	own, err := a.deps.Read(a.cfg.Token)
	if err != nil {
		return nil, cannotTell("bearerd's own token: " + err.Error())
	}
	bearer := strings.TrimSpace(string(own))
	if bearer == "" || strings.ContainsFunc(bearer, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, cannotTell("bearerd's own token in " + a.cfg.Token + " is no token; check policy.identity.kubernetes.token")
	}
	body, err := json.Marshal(tokenReview{
		Version: reviewVersion, Kind: reviewKind, Spec: reviewSpec{Token: token, Audiences: []string{a.cfg.Audience}},
	})
	if err != nil {
		return nil, cannotTell("it cannot be written into a request")
	}
	at := strings.TrimSuffix(a.cfg.URL, "/") + reviewPath
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil || req.URL.Scheme != "https" { // tokens go over it, and who says who a caller is must be known
		return nil, cannotTell("the API server's URL is not one of https; check policy.identity.kubernetes.url")
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	// Sent as nothing, this lets net/http ask again where the server had closed an
	// idle connection: a question changes nothing there.
	req.Header["Idempotency-Key"] = nil
	return req, nil
}

// way returns a transport that trusts what CA names now.
func (a *apiServer) way() (http.RoundTripper, error) {
	var authority []byte
	if a.cfg.CA != "" {
		var err error
		if authority, err = a.deps.Read(a.cfg.CA); err != nil {
			return nil, cannotTell("the API server's authority: " + err.Error())
		}
	}
	sum := sha256.Sum256(authority)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.transport != nil && a.authority == sum {
		return a.transport, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.cfg.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(authority) {
			return nil, cannotTell("the API server's authority: there is no certificate in " + a.cfg.CA)
		}
	}
	if old, ok := a.transport.(interface{ CloseIdleConnections() }); ok {
		old.CloseIdleConnections()
	}
	a.authority, a.transport = sum, a.deps.Transport(cfg)
	return a.transport, nil
}
