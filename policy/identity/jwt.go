package identity

import (
	"context"
	"crypto"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"bearerd/policy"
)

// asymmetric are the algorithms that can be allowed, and are by default: whoever
// can check a signature of theirs cannot make one (RFC 7518 §3.1, RFC 8037 §3.1).
var asymmetric = [...]string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

type jwtVerifier struct {
	name       string
	cfg        policy.JWTConfig
	algorithms []string
	keys       *keySet
}

// NewJWT returns the verifier of one issuer's tokens. A token is good if one of
// the issuer's keys signed it by one of the algorithms, iss is the issuer, aud
// holds the audience, exp is to come, nbf is past but for 30 s, and the header
// asks for nothing critical (RFC 7515 §4.1.11).
//
// Name is the one under policy.identity.jwt. Transport reaches the issuer: whom it
// trusts, and whether it dials private addresses, is its own; it is used directly,
// so that no redirect is followed. NewJWT makes no request: keys are asked for with
// the first token that is good on its face.
func NewJWT(name string, cfg policy.JWTConfig, transport http.RoundTripper) policy.Verifier {
	allowed := cfg.Algorithms
	if len(allowed) == 0 {
		allowed = asymmetric[:]
	}
	return &jwtVerifier{
		name: name, cfg: cfg,
		algorithms: slices.DeleteFunc(slices.Clone(allowed), func(one string) bool { return !slices.Contains(asymmetric[:], one) }),
		keys:       &keySet{name: name, cfg: cfg, transport: transport},
	}
}

// Claims reports whether a token looks like a JWT that names the issuer, also where
// it is too long or written in a way that Verify refuses: who shows such a token
// means to be told by it.
func (v *jwtVerifier) Claims(token string) bool {
	said, ok := parseToken(token)
	if ok {
		return v.cfg.Issuer != "" && said.claims["iss"] == v.cfg.Issuer
	}
	return v.cfg.Issuer != "" && mentions(token, `"`+v.cfg.Issuer+`"`)
}

// Verify checks what needs no key first, so that a token that is bad on its face
// causes no request.
func (v *jwtVerifier) Verify(ctx context.Context, token string) (*policy.Proof, error) {
	said, ok := parseToken(token)
	if !ok {
		return nil, notGood("it is no JWT of at most 8 KiB that can be read in one way")
	}
	if said.claims["iss"] != v.cfg.Issuer {
		return nil, notGood("it is another issuer's")
	}
	if err := v.checkFace(said); err != nil {
		return nil, err
	}
	keys, err := v.keys.current(ctx)
	if err != nil {
		return nil, err
	}
	proof := v.prove(ctx, token, said, keys)
	if proof != nil {
		return proof, nil
	}
	if keys, err = v.keys.again(ctx); err != nil {
		return nil, err
	}
	if proof = v.prove(ctx, token, said, keys); proof == nil {
		return nil, notGood("no key of " + v.name + " has signed it")
	}
	return proof, nil
}

func (v *jwtVerifier) checkFace(said unverified) error {
	_, critical := said.header["crit"]
	kid, hasKid := said.header["kid"]
	_, kidIsText := kid.(string)
	switch {
	case v.cfg.Issuer == "" || said.claims["iss"] != v.cfg.Issuer:
		return notGood("it is another issuer's than " + v.name)
	case !slices.Contains(v.algorithms, text(said.header, "alg")):
		return notGood("it is not signed by an algorithm that is allowed for " + v.name)
	case critical:
		return notGood("its header asks for more than is understood (crit)")
	case hasKid && !kidIsText:
		return notGood("its header names no key (kid)")
	case !said.isFor(v.cfg.Audience):
		return notGood("it is for another audience than " + v.cfg.Audience)
	}
	return said.checkTimes(time.Now())
}

// prove returns nil if none of the keys has signed the token.
func (v *jwtVerifier) prove(ctx context.Context, token string, said unverified, keys []key) *policy.Proof {
	algorithm, kid := text(said.header, "alg"), text(said.header, "kid")
	var fitting []crypto.PublicKey
	for _, key := range keys {
		if (kid == "" || key.id == kid) && slices.Contains(key.algorithms, algorithm) {
			fitting = append(fitting, key.public)
		}
	}
	if len(fitting) == 0 {
		return nil
	}
	verifier := oidc.NewVerifier(v.cfg.Issuer, &oidc.StaticKeySet{PublicKeys: fitting}, &oidc.Config{
		ClientID: v.cfg.Audience, SupportedSigningAlgs: []string{algorithm},
	})
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		return nil
	}
	var payload json.RawMessage // what was signed, and not what was read before
	if verified.Claims(&payload) != nil {
		return nil
	}
	claims, err := parseObject(payload)
	if err != nil {
		return nil
	}
	return &policy.Proof{Issuer: v.name, Claims: claims}
}
