package identity

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"bearerd/policy"
)

const (
	serviceAccount = "system:serviceaccount:" // what begins their names (subjects)

	goodFor    = 60 * time.Second // so that a deleted pod's token ends soon
	badFor     = 5 * time.Second
	unknownFor = time.Second // a failure of the API server

	maxKept   = 4096 // verdicts of each kind
	maxAsking = 256  // tokens asked about at a time
)

// KubernetesDeps are what NewKubernetes needs from others. Both must be set.
type KubernetesDeps struct {
	// Transport makes a way to the API server, with the TLS settings given. It is
	// used directly, so that no redirect is followed; one that is replaced has its
	// idle connections closed.
	Transport func(*tls.Config) http.RoundTripper
	// Read returns what a reference such as file:PATH names. Its errors are shown.
	Read func(reference string) ([]byte, error)
}

// kubernetesVerifier asks the API server about each token at most once a minute.
type kubernetesVerifier struct {
	cfg policy.KubernetesConfig
	api *apiServer

	mu      sync.Mutex // guards the fields below
	good    verdicts
	bad     verdicts // also of the API server's failures
	flights map[digest]*flight[*policy.Proof]
}

// digest stands for a token: tokens are not kept.
type digest [sha256.Size]byte

// NewKubernetes returns the verifier of ServiceAccounts' tokens. A token is good if
// the API server says that it is one of a ServiceAccount and that it is for the
// audience: a token that a pod has for the API server, or for anybody else, is not.
// Good ones are believed for 60 s, and never past their end; others for 5 s.
//
// All of cfg must be set but CA, without which the system's authorities count. URL
// is https://HOST:PORT, in a pod that of KUBERNETES_SERVICE_HOST and _PORT; Token
// and CA are then the files token and ca.crt of /var/run/secrets/kubernetes.io/serviceaccount.
// Both are read anew for each question to the API server. NewKubernetes makes no
// request and reads nothing.
func NewKubernetes(cfg policy.KubernetesConfig, deps KubernetesDeps) policy.Verifier {
	return &kubernetesVerifier{
		cfg: cfg, api: &apiServer{cfg: cfg, deps: deps},
		good: verdicts{}, bad: verdicts{}, flights: map[digest]*flight[*policy.Proof]{},
	}
}

// Claims reports whether a token looks like a JWT of a ServiceAccount, also where it
// is too long or written in a way that Verify refuses: who shows such a token means to
// be told by it.
func (v *kubernetesVerifier) Claims(token string) bool {
	said, ok := parseToken(token)
	if ok {
		return strings.HasPrefix(text(said.claims, "sub"), serviceAccount)
	}
	return mentions(token, `"`+serviceAccount)
}

// Verify shares one question among all who show the same token.
func (v *kubernetesVerifier) Verify(ctx context.Context, token string) (*policy.Proof, error) {
	said, ok := parseToken(token)
	if !ok || !strings.HasPrefix(text(said.claims, "sub"), serviceAccount) {
		return nil, notGood("it is no ServiceAccount's")
	}
	end, err := v.checkFace(said)
	if err != nil {
		return nil, err
	}
	sum := digest(sha256.Sum256([]byte(token)))
	v.mu.Lock()
	now := time.Now()
	for _, kept := range []verdicts{v.good, v.bad} {
		if known, ok := kept.get(sum, now); ok {
			v.mu.Unlock()
			return known.proof, known.err
		}
	}
	flying := v.flights[sum]
	if flying == nil {
		if len(v.flights) >= maxAsking {
			v.mu.Unlock()
			return nil, cannotTell("too many tokens are being checked")
		}
		flying = launch(ctx, func(ctx context.Context) (*policy.Proof, error) { return v.api.review(ctx, token) },
			func(proof *policy.Proof, err error) { v.landed(sum, end, verdict{proof: proof, err: err}) })
		v.flights[sum] = flying
	}
	v.mu.Unlock()
	return flying.wait(ctx)
}

// checkFace refuses without a question what the API server would, and returns when
// the token ends. A token without an audience, as those in Secrets are, may be for
// the API server's own, and one without an end is good until it is deleted.
func (v *kubernetesVerifier) checkFace(said unverified) (end time.Time, err error) {
	if v.cfg.Audience == "" {
		return time.Time{}, notGood("no audience is configured that it could be for")
	}
	if _, hasAudience := said.claims["aud"]; hasAudience && !said.isFor(v.cfg.Audience) {
		return time.Time{}, notGood("it is for another audience than " + v.cfg.Audience)
	}
	if _, ends := said.claims["exp"]; !ends {
		return time.Time{}, nil
	}
	end, _ = said.moment("exp")
	return end, said.checkTimes(time.Now())
}

// landed keeps a verdict, also when nobody waits for it any more.
func (v *kubernetesVerifier) landed(sum digest, end time.Time, what verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.flights, sum)
	now := time.Now()
	kept := v.bad
	switch {
	case what.err == nil:
		kept, what.until = v.good, now.Add(goodFor)
		if !end.IsZero() && end.Before(what.until) {
			what.until = end
		}
	case errors.Is(what.err, policy.ErrNotGood):
		what.until = now.Add(badFor)
	default:
		what.until = now.Add(unknownFor)
	}
	kept.put(sum, what, now)
}

// verdict is what was found out about a token.
type verdict struct {
	proof *policy.Proof
	err   error
	until time.Time
}

// verdicts are at most maxKept. Good ones have a map of their own, so that nobody
// can push them out with tokens of his own making.
type verdicts map[digest]verdict

func (v verdicts) get(sum digest, now time.Time) (verdict, bool) {
	known, ok := v[sum]
	return known, ok && now.Before(known.until)
}

func (v verdicts) put(sum digest, what verdict, now time.Time) {
	if len(v) >= maxKept {
		v.makeRoom(now)
	}
	v[sum] = what
}

// makeRoom takes out those that have ended, or else any one.
func (v verdicts) makeRoom(now time.Time) {
	for sum, known := range v {
		if !now.Before(known.until) {
			delete(v, sum)
		}
	}
	for sum := range v {
		if len(v) < maxKept {
			return
		}
		delete(v, sum)
	}
}
