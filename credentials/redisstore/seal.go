package redisstore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"bearerd/credentials"
)

const (
	shortestKey = 32 // characters
	idBytes     = 4
)

// ring is the keys that seal and open what is stored, AES-256-GCM each.
type ring []sealer

type sealer struct {
	id   string // tells which key sealed a value
	aead cipher.AEAD
}

// CheckKey returns what Open would find wrong with a key.
func CheckKey(key credentials.Secret) error {
	if len(key.Reveal()) < shortestKey {
		return fmt.Errorf("shorter than %d characters; make one by: openssl rand -base64 32", shortestKey)
	}
	return nil
}

// newRing makes keys of what the secrets say (HKDF-SHA-256, RFC 5869).
func newRing(secrets []credentials.Secret) (ring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no key; write one such as file:/etc/bearerd/store-key, made by: openssl rand -base64 32")
	}
	var made ring
	for i, secret := range secrets {
		if err := CheckKey(secret); err != nil {
			return nil, fmt.Errorf("key %d is %w", i+1, err)
		}
		derived, err := hkdf.Key(sha256.New, []byte(secret.Reveal()), nil, "bearerd store", 32+idBytes)
		if err != nil {
			return nil, errors.New("a key cannot be derived")
		}
		block, err := aes.NewCipher(derived[:32])
		if err != nil {
			return nil, errors.New("a key cannot be used")
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, errors.New("a key cannot be used")
		}
		made = append(made, sealer{string(derived[32:]), aead})
	}
	return made, nil
}

// seal seals data for key's place and no other.
func (r ring) seal(key credentials.Key, data []byte) string {
	return r[0].id + string(r[0].aead.Seal(nil, nil, data, []byte(key.ID())))
}

// open opens what one of the keys sealed for this place.
func (r ring) open(key credentials.Key, sealed string) ([]byte, bool) {
	if len(sealed) < idBytes {
		return nil, false
	}
	for _, one := range r {
		if one.id != sealed[:idBytes] {
			continue
		}
		if data, err := one.aead.Open(nil, nil, []byte(sealed[idBytes:]), []byte(key.ID())); err == nil {
			return data, true
		}
	}
	return nil, false
}
