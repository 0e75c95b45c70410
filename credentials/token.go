package credentials

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxTokenBytes bounds an access token; longer ones do not fit upstreams' header limits.
const maxTokenBytes = 8 << 10

// Token is an access token or, for Basic, the credentials that stand in for one.
// It prints as its fingerprint. The zero Token is no token.
type Token struct {
	value          Secret
	header         func() []string // the Authorization value, made once; fmt shows of a func its address only
	fingerprint    string
	ResourceServer string   // as the token endpoint names it; "" where it does not
	Scopes         []string // granted; nil where the endpoint did not say
	// ExpiresAt is computed from before the request was sent, so never late. It
	// keeps Go's monotonic reading. Zero: the token does not expire.
	ExpiresAt   time.Time
	lifetime    time.Duration
	assumedLife bool          // the endpoint did not say how long it lives
	renewAge    time.Duration // its renewal is due at this age
}

// newBearer makes a token after checking its syntax (RFC 6750 §2.1 b64token).
func newBearer(value string) (Token, error) {
	if err := checkTokenSyntax(value); err != nil {
		return Token{}, err
	}
	return newToken(value, "Bearer "+value), nil
}

func newToken(value, header string) Token {
	sum := sha256.Sum256([]byte(value))
	values := []string{header}
	return Token{
		value:       NewSecret(value),
		header:      func() []string { return values },
		fingerprint: "sha256:" + hex.EncodeToString(sum[:4]),
	}
}

func checkTokenSyntax(value string) error {
	if value == "" {
		return errors.New("token is empty")
	}
	if len(value) > maxTokenBytes {
		return errors.New("token is longer than 8 KiB")
	}
	body := value
	for len(body) > 1 && body[len(body)-1] == '=' {
		body = body[:len(body)-1]
	}
	for i := range len(body) {
		switch c := body[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return errors.New("token has characters that RFC 6750 does not allow")
		}
	}
	return nil
}

// Reveal returns the token itself: the power of the service account. Only
// `bearerd token --reveal` shows it to anybody.
func (t Token) Reveal() string { return t.value.Reveal() }

// Fingerprint is "sha256:" and the first 8 hex digits of the token's SHA-256; ""
// for the zero Token.
func (t Token) Fingerprint() string { return t.fingerprint }

// Same reports whether both are the same token value.
func (t Token) Same(other Token) bool { return t.value.Equal(other.value) }

// Format prints the fingerprint for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.fingerprint) }

// MarshalText returns the fingerprint; JSON, YAML and log encoders use it.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.fingerprint), nil }

// State tells how the token stands at now. A margin is not heeded: what is stale
// may be too close to its end to be sent.
func (t Token) State(now time.Time) State {
	switch {
	case t.value.value == nil:
		return StateNone
	case t.ExpiresAt.IsZero():
		return StateFixed
	case t.age(now) >= t.lifetime:
		return StateExpired
	case t.age(now) >= t.renewAge:
		return StateStale
	}
	return StateFresh
}

// age is how much of the token's life is over at now, by the clock that says more.
func (t Token) age(now time.Time) time.Duration {
	return t.lifetime - min(t.ExpiresAt.Sub(now), t.ExpiresAt.Round(0).Sub(now.Round(0)))
}

// usable reports whether the token is good at now with margin to spare.
func (t Token) usable(now time.Time, margin time.Duration) bool {
	return t.ExpiresAt.IsZero() || t.age(now) < t.lifetime-effectiveMargin(t.lifetime, margin)
}

// put makes the token req's only Authorization.
func (t Token) put(req *http.Request) { req.Header["Authorization"] = t.header() }
