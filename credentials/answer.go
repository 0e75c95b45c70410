package credentials

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"slices"
	"strings"
	"time"
)

// answer is RFC 6749 §5.1's, with Globus Auth's resource_server and other_tokens.
type answer struct {
	AccessToken    string          `json:"access_token"`
	TokenType      string          `json:"token_type"`
	ExpiresIn      json.RawMessage `json:"expires_in"`
	Scope          *string         `json:"scope"`
	ResourceServer string          `json:"resource_server"`
	OtherTokens    []answer        `json:"other_tokens"`
	Error          json.RawMessage `json:"error"` // none, in an answer with a token
}

// parseAnswer returns the tokens of a 200. Its errors quote nothing of the body.
func parseAnswer(contentType string, body []byte, asked time.Time) ([]Token, error) {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return nil, errors.New("answered 200 without JSON; a login page or another service may stand in between")
	}
	var top answer
	if err := errors.Join(checkKeys(body), json.Unmarshal(body, &top)); err != nil {
		return nil, errors.New("answered 200 with JSON that is no token response")
	}
	tokens := make([]Token, 0, 1+len(top.OtherTokens))
	for _, one := range append([]answer{top}, top.OtherTokens...) {
		tok, err := one.token(asked)
		if err != nil {
			return nil, fmt.Errorf("answered with a token that cannot be used: %w", err)
		}
		for _, earlier := range tokens {
			if earlier.ResourceServer == tok.ResourceServer {
				return nil, errors.New("answered with two tokens for the same resource server")
			}
		}
		tokens = append(tokens, tok)
	}
	return tokens, nil
}

// checkKeys refuses JSON in which one reader could find another token than the
// next: with a key twice in one object, or with a known key in another case where
// it is looked for, which encoding/json takes for the key itself.
func checkKeys(body []byte) error {
	ambiguous := errors.New("ambiguous keys")
	type object struct {
		seen  map[string]bool // nil: a list
		isKey bool            // the next token is a key
		key   string          // the last
	}
	var open []object
	value := func() { // a value has ended
		if len(open) > 0 && open[len(open)-1].seen != nil {
			open[len(open)-1].isKey = true
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{seen: map[string]bool{}, isKey: true})
			continue
		case json.Delim('['):
			open = append(open, object{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			value()
			continue
		}
		if len(open) == 0 || !open[len(open)-1].isKey {
			value()
			continue
		}
		here := &open[len(open)-1]
		key, _ := token.(string)
		known := slices.IndexFunc(answerKeys, func(one string) bool { return strings.EqualFold(one, key) }) // as encoding/json folds: ſ is an s
		isRead := len(open) == 1 || len(open) == 3 && open[0].key == "other_tokens"
		if here.seen[key] || isRead && known >= 0 && answerKeys[known] != key {
			return ambiguous
		}
		here.seen[key], here.isKey, here.key = true, false, key
	}
}

// answerKeys are those of answer.
var answerKeys = []string{"access_token", "token_type", "expires_in", "scope", "resource_server", "other_tokens", "error"}

func (a answer) token(asked time.Time) (Token, error) {
	if a.Error != nil && string(a.Error) != "null" {
		return Token{}, errors.New("there is an error beside it")
	}
	if !strings.EqualFold(a.TokenType, "bearer") {
		return Token{}, errors.New("token_type is not bearer")
	}
	life, stated, err := lifetime(a.ExpiresIn)
	if err != nil {
		return Token{}, err
	}
	tok, err := newBearer(a.AccessToken)
	if err != nil {
		return Token{}, err
	}
	tok.ResourceServer = a.ResourceServer
	tok.lifetime, tok.assumedLife = life, !stated
	tok.ExpiresAt = asked.Add(life)
	if a.Scope != nil {
		tok.Scopes = strings.Fields(*a.Scope)
	}
	return tok, nil
}

// lifetime reads expires_in: seconds as a number or as a string of one. A missing
// one is taken for 5 min, and none counts for more than 7 days.
func lifetime(raw json.RawMessage) (life time.Duration, stated bool, err error) {
	var number json.Number // takes both forms, and nothing but JSON's numbers
	if raw == nil || string(raw) == "null" {
		return unstatedLife, false, nil
	}
	if err := json.Unmarshal(raw, &number); err != nil {
		return 0, false, errors.New("expires_in is not a number of seconds")
	}
	seconds, err := number.Float64()
	switch {
	case err != nil:
		return 0, false, errors.New("expires_in is not a number of seconds")
	case seconds < 1:
		return 0, false, errors.New("expires_in is less than a second")
	}
	return time.Duration(math.Min(math.Floor(seconds), maxLifetime.Seconds())) * time.Second, true, nil
}
