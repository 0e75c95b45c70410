package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
)

const (
	maxKeys    = 64
	minRSABits = 2048 // RFC 7518 §3.3
	maxRSABits = 8192 // checking with a larger one takes long
)

// key is one of an issuer's, and what it may be used with.
type key struct {
	id         string
	algorithms []string // those that its type allows; one if the key itself names it
	public     crypto.PublicKey
}

// jwk is a key on the wire (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
type jwk struct {
	Type       string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
}

// parseKeys reads a JWK Set and leaves out what cannot check a signature: keys for
// encryption, secrets, and types, curves and sizes that are not for us (RFC 7517
// §5). A key without which a set would be empty is no reason to fail either: no
// token is good then.
func parseKeys(data []byte) ([]key, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(data, &set) != nil || set.Keys == nil {
		return nil, errors.New("answered with something other than keys")
	}
	if len(*set.Keys) > maxKeys {
		return nil, errors.New("answered with more than 64 keys")
	}
	var keys []key
	for _, raw := range *set.Keys {
		var one jwk
		if json.Unmarshal(raw, &one) != nil {
			continue
		}
		if made, ok := one.key(); ok {
			keys = append(keys, made)
		}
	}
	return keys, nil
}

func (j jwk) key() (key, bool) {
	if j.Use != "" && j.Use != "sig" || len(j.Operations) > 0 && !slices.Contains(j.Operations, "verify") {
		return key{}, false
	}
	var public crypto.PublicKey
	var algorithms []string
	switch j.Type {
	case "RSA":
		public, algorithms = j.rsa(), []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case "EC":
		public, algorithms = j.ec()
	case "OKP":
		if x := number(j.X); j.Curve == "Ed25519" && len(x) == ed25519.PublicKeySize {
			public, algorithms = ed25519.PublicKey(x), []string{"EdDSA"}
		}
	}
	if public == nil {
		return key{}, false
	}
	if j.Algorithm != "" {
		if !slices.Contains(algorithms, j.Algorithm) {
			return key{}, false
		}
		algorithms = []string{j.Algorithm}
	}
	return key{j.ID, algorithms, public}, true
}

// rsa returns nil for a key that is too small, too large, or none.
func (j jwk) rsa() crypto.PublicKey {
	n, e := new(big.Int).SetBytes(number(j.N)), new(big.Int).SetBytes(number(j.E))
	if n.BitLen() < minRSABits || n.BitLen() > maxRSABits || n.Bit(0) == 0 || e.BitLen() > 31 || e.Int64() < 3 || e.Bit(0) == 0 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

// ec returns nil for a point that is not on its curve. A curve has one algorithm
// (RFC 7518 §3.4).
func (j jwk) ec() (crypto.PublicKey, []string) {
	curve, algorithm, size := elliptic.Curve(nil), "", 0
	switch j.Curve {
	case "P-256":
		curve, algorithm, size = elliptic.P256(), "ES256", 32
	case "P-384":
		curve, algorithm, size = elliptic.P384(), "ES384", 48
	case "P-521":
		curve, algorithm, size = elliptic.P521(), "ES512", 66
	default:
		return nil, nil
	}
	x, y := number(j.X), number(j.Y)
	if len(x) != size || len(y) != size { // RFC 7518 §6.2.1.2: the full size, with leading zeros
		return nil, nil
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, nil
	}
	return public, []string{algorithm}
}

func number(text string) []byte {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return data
}
