package credentials

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// ErrMiss is Store.Get's answer where nothing usable is stored.
var ErrMiss = errors.New("no token is stored")

// Key is everything that shaped a token. Two tokens whose keys differ anywhere
// are never taken for each other.
type Key struct {
	Endpoint       string // the token endpoint, or the issuer it is discovered from
	ClientID       string
	Auth           string // how the client proves itself
	ResourceServer string
	Scopes         []string
	Parameters     map[string]Texts
}

// A Store keeps tokens over restarts and shares them between processes. It is
// never asked while a request waits that a token at hand could serve, and
// whatever goes wrong in it costs a token request, not a caller's. It is safe for
// concurrent use; every wait in it ends with ctx.
type Store interface {
	// Get returns the token stored, or ErrMiss: where there is none, where it has
	// expired, and where what is stored was made for another key or by nobody we
	// know.
	Get(ctx context.Context, key Key) (Token, error)
	// Put stores a token until it expires.
	Put(ctx context.Context, key Key, tok Token) error
	// Delete forgets tok, and only tok: a newer token stays.
	Delete(ctx context.Context, key Key, tok Token) error
	// Lease waits until this process alone may ask for key's token, so that of
	// many one asks. It is advisory: with an error, and after 15 s, who wants a
	// token asks all the same. Release may be called more than once.
	Lease(ctx context.Context, key Key) (release func(), err error)
}

// ID is a name for the key: the SHA-256 of all of it, in hex.
func (k Key) ID() string {
	text, err := json.Marshal(k)
	if err != nil {
		return "" // strings do not fail to encode
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
