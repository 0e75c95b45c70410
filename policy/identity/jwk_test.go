package identity

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
)

func TestKeys_LeaveOutWhatCannotCheckASignature(t *testing.T) {
	p256 := ecKey(elliptic.P256())
	fields := func(public any, changes object) object {
		var made object
		must(0, json.Unmarshal(must(json.Marshal(published("k", "", public))), &made))
		for name, value := range changes {
			if made[name] = value; value == nil {
				delete(made, name)
			}
		}
		return made
	}
	rsaFields := func(changes object) object { return fields(rsaKey().Public(), changes) }
	ecFields := func(changes object) object { return fields(p256.Public(), changes) }
	b64 := base64.RawURLEncoding.EncodeToString
	odd := func(bits uint) string {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return b64(n.SetBit(n, 0, 1).Bytes())
	}
	for _, tt := range []struct {
		name string
		key  any
		want []string // algorithms; nil: left out
	}{
		{"RSA", rsaFields(nil), []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}},
		{"RSA for one algorithm", rsaFields(object{"alg": "PS384"}), []string{"PS384"}},
		{"RSA without a use", rsaFields(object{"use": nil}), []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}},
		{"RSA to verify with", rsaFields(object{"use": nil, "key_ops": []string{"verify"}, "alg": "RS256"}), []string{"RS256"}},
		{"RSA to wrap keys with", rsaFields(object{"use": nil, "key_ops": []string{"wrapKey"}}), nil},
		{"RSA for encryption", rsaFields(object{"use": "enc"}), nil},
		{"RSA for an algorithm of encryption", rsaFields(object{"alg": "RSA-OAEP"}), nil},
		{"RSA for HS256", rsaFields(object{"alg": "HS256"}), nil},
		{"RSA of 1024 bits", rsaFields(object{"n": odd(1024)}), nil},
		{"RSA of 16384 bits", rsaFields(object{"n": odd(16384)}), nil},
		{"RSA with an even modulus", rsaFields(object{"n": b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())}), nil},
		{"RSA with the exponent 1", rsaFields(object{"e": "AQ"}), nil},
		{"RSA without an exponent", rsaFields(object{"e": nil}), nil},
		{"RSA with a huge exponent", rsaFields(object{"e": odd(40)}), nil},
		{"RSA without a modulus", rsaFields(object{"n": nil}), nil},
		{"RSA whose modulus is a number", rsaFields(object{"n": 5}), nil},
		{"P-256", ecFields(nil), []string{"ES256"}},
		{"P-256 for ES384", ecFields(object{"alg": "ES384"}), nil},
		{"P-256 said to be P-384", ecFields(object{"crv": "P-384"}), nil},
		{"P-256 off the curve", ecFields(object{"y": b64(make([]byte, 32))}), nil},
		{"P-256 with a short coordinate", ecFields(object{"x": b64(make([]byte, 31))}), nil},
		{"secp256k1", ecFields(object{"crv": "secp256k1"}), nil},
		{"Ed25519", fields(edKey().Public(), nil), []string{"EdDSA"}},
		{"Ed25519 cut short", fields(edKey().Public(), object{"x": b64(make([]byte, 31))}), nil},
		{"X25519", fields(edKey().Public(), object{"crv": "X25519"}), nil},
		{"Ed448", fields(edKey().Public(), object{"crv": "Ed448"}), nil},
		{"a secret", object{"kty": "oct", "k": "AAAA", "kid": "k"}, nil},
		{"post-quantum", object{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}, nil},
		{"a text", "key", nil},
		{"null", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := parseKeys(must(json.Marshal(object{"keys": []any{tt.key}})))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, key := range keys {
				got = append(got, key.algorithms...)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("algorithms %v, want %v", got, tt.want)
			}
		})
	}
	for _, text := range []string{``, `[]`, `{}`, `{"keys":{}}`, `{"keys":null}`, `<html>`, `{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`} {
		if _, err := parseKeys([]byte(text)); err == nil {
			t.Errorf("parseKeys(%.20q) succeeds", text)
		}
	}
}
