package proxy

import (
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"bearerd/policy"
)

// placeholderPrefix begins every placeholder, so that one is known for what it is
// wherever it turns up: no service accepts it.
const placeholderPrefix = "bearerd-placeholder."

// placeholder is what a tool that wants a token of its own is given in place of
// one: bearerd-placeholder.RESOURCE-SERVER, and for a caller that is known by its
// key ~CALLER~SEAL behind it. It opens nothing at the service. At bearerd the
// first form says nothing, and the second stands for the caller's key, as long as
// that key and the client's secret are what they were.
type placeholder struct {
	resourceServer string
	caller         string // "" unless it stands for a key
	seal           string
}

func (p placeholder) String() string {
	text := placeholderPrefix + encodeName(p.resourceServer)
	if p.caller != "" {
		text += "~" + p.caller + "~" + p.seal
	}
	return text
}

// parsePlaceholder reads a token; false if it is no placeholder.
func parsePlaceholder(token string) (placeholder, bool) {
	rest, ok := strings.CutPrefix(token, placeholderPrefix)
	if !ok {
		return placeholder{}, false
	}
	parts := strings.Split(rest, "~")
	server, ok := decodeName(parts[0])
	switch {
	case !ok:
		return placeholder{}, false
	case len(parts) == 1:
		return placeholder{resourceServer: server}, true
	case len(parts) == 3 && parts[1] != "" && parts[2] != "":
		return placeholder{server, parts[1], parts[2]}, true
	}
	return placeholder{}, false
}

// sealFor seals a placeholder for a caller that is known by a key.
func (p placeholder) sealFor(key policy.KeyHash, seal func(string) string) string {
	return seal("placeholder\n" + p.resourceServer + "\n" + p.caller + "\n" + string(key[:]))
}

// key returns which of the caller's keys the placeholder stands for; nil if for
// none that is good.
func (p placeholder) key(known *policy.Policy, seal func(string) string) *policy.KeyHash {
	for _, key := range known.Keys(p.caller) {
		want := p.sealFor(key, seal)
		if want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(p.seal)) == 1 {
			return &key
		}
	}
	return nil
}

// encodeName writes a resource server's name in the characters of a bearer token
// (RFC 6750 §2.1): as it is, or in base64 behind a +.
func encodeName(name string) string {
	plain := name != "" && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
	if plain {
		return name
	}
	return "+" + base64.RawURLEncoding.EncodeToString([]byte(name))
}

func decodeName(text string) (string, bool) {
	name := text
	if encoded, ok := strings.CutPrefix(text, "+"); ok {
		decoded, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			return "", false
		}
		name = string(decoded)
	}
	return name, name != "" && encodeName(name) == text
}
