package credentials

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// assertionLife is how long an assertion of ours is good for.
const assertionLife = time.Minute

// jwtAlgorithms are the values of `algorithm:`.
var jwtAlgorithms = []string{"RS256", "PS256", "ES256"}

// jwtAuth signs an assertion of its own for each request (private_key_jwt, OpenID
// Connect Core 1.0 §9 and RFC 7523 §2.2), with a jti that is never used again.
type jwtAuth struct {
	id               string
	key              Reference
	keyID, algorithm string // "": the key's own, and the usual one for its kind
	audience         string // "": the endpoint
}

func (a jwtAuth) Prove(_ context.Context, endpoint string, _ http.Header, form url.Values) error {
	signer, err := a.signer()
	if err != nil {
		return err
	}
	audience := a.audience
	if audience == "" {
		audience = endpoint
	}
	now := time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: a.id, Subject: a.id, Audience: jwt.Audience{audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}).Serialize()
	if err != nil {
		return errors.New("signing with private_key did not work; check that the key fits algorithm")
	}
	form.Set("client_id", a.id)
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", assertion)
	return nil
}

// signer reads the key and makes what signs with it.
func (a jwtAuth) signer() (jose.Signer, error) {
	text, where, err := a.key.text()
	if err != nil {
		return nil, err
	}
	key, keyID, err := parsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", where, err)
	}
	if a.keyID != "" {
		keyID = a.keyID
	}
	usual := "RS256"
	if _, ec := key.(*ecdsa.PrivateKey); ec {
		usual = "ES256"
	}
	algorithm := a.algorithm
	if algorithm == "" {
		algorithm = usual
	}
	if strings.HasPrefix(algorithm, "ES") != (usual == "ES256") {
		return nil, fmt.Errorf("%s does not fit algorithm %s; write %s, or name another key", where, algorithm, usual)
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if keyID != "" {
		options = options.WithHeader("kid", keyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, options)
	if err != nil {
		return nil, fmt.Errorf("%s cannot sign with %s; name another key", where, algorithm)
	}
	return signer, nil
}

var errNoPrivateKey = errors.New("holds no private key that can sign; write an RSA key of 2048 bits or more, or one on P-256, as PEM or as a private JWK")

// parsePrivateKey reads PEM (PKCS #8, PKCS #1, SEC 1) or a JWK, whose own key id it
// returns. Its errors quote nothing.
func parsePrivateKey(text string) (key any, keyID string, err error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		for _, parse := range []func([]byte) (any, error){
			x509.ParsePKCS8PrivateKey,
			func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
			func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
		} {
			if key, err = parse(block.Bytes); err == nil {
				break
			}
		}
	} else {
		var jwk jose.JSONWebKey
		err = json.Unmarshal([]byte(text), &jwk)
		key, keyID = jwk.Key, jwk.KeyID
	}
	if err != nil {
		return nil, "", errNoPrivateKey
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			return k, keyID, nil
		}
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return k, keyID, nil
		}
	}
	return nil, "", errNoPrivateKey
}

// resolveJWT notes what is wrong with the keys of private_key_jwt.
func (c *ClientConfig) resolveJWT(path []any, m Mistakes) {
	if c.Algorithm != "" && !slices.Contains(jwtAlgorithms, c.Algorithm) {
		m.Unknown(append(path, "algorithm"), "algorithm", c.Algorithm, jwtAlgorithms)
		return
	}
	if c.Audience == "issuer" && c.Issuer == "" {
		m.Add(append(path, "audience"), "there is no issuer: to take it from; write the audience itself, or issuer: and its URL")
	}
	if _, err := (jwtAuth{key: c.PrivateKey, algorithm: c.Algorithm}).signer(); err != nil {
		m.Add(append(path, "private_key"), "%v", err)
	}
}

// audience returns what assertions are made for; "" for the endpoint.
func (c *ClientConfig) audience() string {
	if c.Audience == "issuer" {
		return c.Issuer
	}
	return c.Audience
}
