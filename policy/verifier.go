package policy

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
)

// Proof is what a verified bearer token says.
type Proof struct {
	Issuer         string         // the name under policy.identity.jwt; "" for a ServiceAccount
	Claims         map[string]any // of a JWT; numbers are json.Number, as the token writes them
	ServiceAccount string         // NAMESPACE/NAME, by TokenReview
}

// A Verifier checks bearer tokens of one kind. Safe for concurrent use.
type Verifier interface {
	// Claims reports whether a token says that it is of this kind; it proves
	// nothing and makes no request.
	Claims(token string) bool
	// Verify returns what the token proves. Its errors wrap ErrNotGood or
	// ErrCannotTell, and never hold the token.
	Verify(ctx context.Context, token string) (*Proof, error)
}

var (
	// ErrNotGood is of a token that proves nothing.
	ErrNotGood = errors.New("the token is not good")
	// ErrCannotTell is of a token that cannot be checked now: the API server, or
	// the issuer's keys, cannot be had.
	ErrCannotTell = errors.New("the token cannot be checked now")
)

// claim is what a JWT must say: one of the texts.
type claim struct {
	name  string
	texts []string
}

// isIn reports whether the claim is one of the texts, or a list that has one.
// Booleans and whole numbers are compared as JSON writes them.
func (c claim) isIn(claims map[string]any) bool {
	switch value := claims[c.name].(type) {
	case []any:
		return slices.ContainsFunc(value, c.is)
	case []string:
		return slices.ContainsFunc(value, func(text string) bool { return c.is(text) })
	default:
		return c.is(value)
	}
}

func (c claim) is(value any) bool {
	var text string
	switch value := value.(type) {
	case string:
		text = value
	case bool:
		text = strconv.FormatBool(value)
	case json.Number:
		text = value.String()
	case float64:
		if value != math.Trunc(value) || math.Abs(value) >= maxWhole {
			return false
		}
		text = strconv.FormatFloat(value, 'f', -1, 64)
	case int64:
		text = strconv.FormatInt(value, 10)
	case int:
		text = strconv.Itoa(value)
	default:
		return false
	}
	return slices.Contains(c.texts, text)
}
