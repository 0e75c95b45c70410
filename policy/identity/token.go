package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"bearerd/policy"
)

const (
	maxToken = 8 << 10
	maxDepth = 16
	// leeway allows for an issuer's clock that is ahead. There is none for exp:
	// issuers whose clock is behind are not a danger that callers can use.
	leeway = 30 * time.Second
)

// unverified is what a token of a JWT's form says of itself. Nothing of it is proven.
type unverified struct {
	header map[string]any
	claims map[string]any
}

// parseToken reads a JWT by its form alone (RFC 7519 §7.2): three parts of
// base64url, of which the first two are JSON objects that no two readers could
// read differently. The last may be empty, so that a token of alg "none" is one
// that is refused and not one that was never shown.
func parseToken(token string) (unverified, bool) {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return unverified{}, false
	}
	parts := strings.Split(token, ".")
	header, err := decodeObject(parts[0])
	if err != nil {
		return unverified{}, false
	}
	claims, err := decodeObject(parts[1])
	if err != nil {
		return unverified{}, false
	}
	if _, err := decodePart(parts[2]); err != nil {
		return unverified{}, false
	}
	return unverified{header, claims}, true
}

// mentions reports whether something stands in the second part of what parseToken
// does not take, read as leniently as anybody might.
func mentions(token, what string) bool {
	parts := strings.Split(token, ".")
	if len(parts) < 2 {
		return false
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '+':
			return '-'
		case r == '/':
			return '_'
		case r == '=' || r <= ' ':
			return -1
		}
		return r
	}, parts[1])
	data, _ := base64.RawURLEncoding.DecodeString(clean) // as far as it can be decoded
	return strings.Contains(plainJSON.Replace(string(data)), what)
}

// plainJSON takes off escapes that JSON does not need, as some issuers write them.
var plainJSON = strings.NewReplacer(`\/`, "/", `\u002B`, "+", `\u002b`, "+", `\u002F`, "/", `\u002f`, "/", `\u0026`, "&")

func decodePart(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") { // which the decoder skips
		return nil, errors.New("not base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(part)
}

func decodeObject(part string) (map[string]any, error) {
	data, err := decodePart(part)
	if err != nil {
		return nil, err
	}
	return parseObject(data)
}

// parseObject reads one JSON object, numbers as they are written. A name that
// comes twice, or in another case where the case decides what the token says, is
// an error: which of the two counts depends on the reader.
func parseObject(data []byte) (map[string]any, error) {
	if err := checkNames(json.NewDecoder(bytes.NewReader(data)), 0); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	if object == nil {
		return nil, errors.New("no JSON object")
	}
	for name := range object {
		for _, exact := range []string{"iss", "aud", "exp", "nbf", "sub", "alg", "kid", "crit"} {
			if name != exact && strings.EqualFold(name, exact) {
				return nil, errors.New("a name in another case")
			}
		}
	}
	return object, nil
}

// checkNames reads one JSON value and looks for names that come twice.
func checkNames(decoder *json.Decoder, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	opened, isOpening := token.(json.Delim)
	if !isOpening {
		return nil
	}
	if depth++; depth > maxDepth {
		return errors.New("too deep")
	}
	seen := map[string]bool{}
	for decoder.More() {
		if opened == '{' {
			name, err := decoder.Token()
			if err != nil {
				return err
			}
			text, _ := name.(string)
			if seen[text] {
				return errors.New("a name that comes twice")
			}
			seen[text] = true
		}
		if err := checkNames(decoder, depth); err != nil {
			return err
		}
	}
	_, err = decoder.Token() // what closes it
	return err
}

// text returns a claim or header that is a string; "" for anything else.
func text(object map[string]any, name string) string {
	value, _ := object[name].(string)
	return value
}

// isFor reports whether a token's aud is, or holds, the audience (RFC 7519 §4.1.3).
func (t unverified) isFor(audience string) bool {
	if audience == "" {
		return false
	}
	switch aud := t.claims["aud"].(type) {
	case string:
		return aud == audience
	case []any:
		for _, one := range aud {
			if one == audience {
				return true
			}
		}
	}
	return false
}

// moment returns a claim that is a NumericDate; false if there is none, or if it
// is no number that can be a time.
func (t unverified) moment(name string) (time.Time, bool) {
	number, _ := t.claims[name].(json.Number)
	seconds, err := number.Float64()
	if err != nil || math.Abs(seconds) > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(math.Floor(seconds)), 0), true
}

// checkTimes returns an error for a token that has ended, has not begun, or has no
// times that can be read.
func (t unverified) checkTimes(now time.Time) error {
	exp, ok := t.moment("exp")
	if !ok {
		return notGood("it has no exp, so that it would be good for ever; have the issuer set one")
	}
	if !now.Before(exp) {
		return notGood("it has expired; get a new one")
	}
	if _, present := t.claims["nbf"]; present {
		nbf, ok := t.moment("nbf")
		if !ok || now.Add(leeway).Before(nbf) {
			return notGood("it is not good yet (nbf); check the clocks")
		}
	}
	return nil
}

// notGood and cannotTell say why in words of our own.
func notGood(why string) error { return fmt.Errorf("%w: %s", policy.ErrNotGood, why) }

func cannotTell(why string) error { return fmt.Errorf("%w: %s", policy.ErrCannotTell, why) }
