package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"bearerd/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const audience = "bearerd"

// rsaKey, ecKey and edKey are made once: it takes long.
var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	other  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}

func ecKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func edKey() ed25519.PrivateKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return must(private, err)
}

// published is a key as an issuer shows it.
func published(id, algorithm string, public any) jose.JSONWebKey {
	return jose.JSONWebKey{Key: public, KeyID: id, Algorithm: algorithm, Use: "sig"}
}

// issuer is an OpenID provider's discovery document and keys. It is a server, or a
// RoundTripper where there is no network.
type issuer struct {
	url string

	mu     sync.Mutex // guards the fields below
	keys   []jose.JSONWebKey
	asked  map[string]int
	answer http.HandlerFunc // instead of its own
}

const (
	metadataPath = "/.well-known/openid-configuration"
	keysPath     = "/keys"
)

func newIssuer(keys ...jose.JSONWebKey) *issuer {
	return &issuer{url: "https://issuer.example.org", keys: keys, asked: map[string]int{}}
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked[r.URL.Path]++
	keys, answer := i.keys, i.answer
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == metadataPath:
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + keysPath})
	case r.URL.Path == keysPath:
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: keys})
	default:
		http.NotFound(w, r)
	}
}

var errDown = errors.New("connection refused by a host whose name is not to be shown")

// RoundTrip is ServeHTTP without a network. An answer that panics breaks it off.
func (i *issuer) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = errDown
		}
	}()
	w := httptest.NewRecorder()
	i.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// serves starts it on loopback; its certificate is its own authority.
func (i *issuer) serves(t *testing.T) http.RoundTripper {
	t.Helper()
	server := httptest.NewTLSServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return server.Client().Transport
}

func (i *issuer) now(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) count(path string) (n int) {
	i.now(func() { n = i.asked[path] })
	return n
}

func (i *issuer) down() {
	i.now(func() { i.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) } })
}
func (i *issuer) up() { i.now(func() { i.answer = nil }) }

func (i *issuer) verifier(transport http.RoundTripper) policy.Verifier {
	return NewJWT("corp", policy.JWTConfig{Issuer: i.url, Audience: audience}, transport)
}

type object = map[string]any

// claims are good ones, with changes; nil takes one out.
func (i *issuer) claims(changes object) object {
	made := object{"iss": i.url, "aud": audience, "sub": "someone", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for name, value := range changes {
		if made[name] = value; value == nil {
			delete(made, name)
		}
	}
	return made
}

func (i *issuer) token(changes object) string {
	return sign(object{"alg": "RS256", "kid": "r"}, i.claims(changes), rsaKey())
}

func part(v any) string {
	text, isText := v.(string) // JSON as it is
	if !isText {
		text = string(must(json.Marshal(v)))
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// sign signs whatever it is given by RS256, whatever the header says.
func sign(header, claims any, key *rsa.PrivateKey) string {
	signed := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	return signed + "." + part(string(must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]))))
}

// signedBy lets go-jose sign, as others would.
func signedBy(algorithm, id string, claims any, key any) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil))
	return must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
}

// checkQuiet fails if an error holds some of a token.
func checkQuiet(t *testing.T, err error, token string) {
	t.Helper()
	for piece := range strings.SplitSeq(token, ".") {
		for start := 0; start+12 <= len(piece); start += 12 {
			if strings.Contains(err.Error(), piece[start:start+12]) {
				t.Errorf("the error %q holds some of the token", err)
			}
		}
	}
	if strings.Contains(err.Error(), "not to be shown") {
		t.Errorf("the error %q holds what another side said", err)
	}
}

// refusal returns "" for a token that was taken, or "not good" or "cannot tell".
func refusal(t *testing.T, v policy.Verifier, token string) string {
	t.Helper()
	proof, err := v.Verify(context.Background(), token)
	if err == nil {
		return ""
	}
	checkQuiet(t, err, token)
	isBad, isUnknown := errors.Is(err, policy.ErrNotGood), errors.Is(err, policy.ErrCannotTell)
	if isBad == isUnknown || proof != nil {
		t.Errorf("Verify() = %v, %v; want no proof and one of the two errors", proof, err)
	}
	if isBad {
		return "not good"
	}
	return "cannot tell"
}

// counts prints calls by their outcome.
type counts map[string]int

func (c counts) String() string { return fmt.Sprint(map[string]int(c)) }
