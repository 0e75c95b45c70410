package credentials

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

// verbs are those of fmt, with flags, and some that fit no value.
var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%+q", "%#q", "%x", "%X", "% x", "%#x", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%p", "%w", "%z", "%T", "%99v", "%.3s"}

type exported struct {
	Secret  Secret
	Token   Token
	Pointer *Secret
	List    []Token
	Map     map[string]Secret
	Keys    map[Secret]int
	Any     any
}

type unexported struct {
	secret  Secret
	token   Token
	pointer *Token
	list    []Secret
	arrays  [1]Token
	table   map[string]Token
	any     any
	nested  struct{ token Token }
}

// holders are things that hold the canary as a Secret and as a Token.
func holders(t *testing.T) map[string]any {
	t.Helper()
	secret, tok := NewSecret(canary), newToken(canary, "Bearer "+canary)
	fixed := static{tok}
	credential := transferCredential(nil)
	credential.endpoint.Auth = basicAuth{"id", secret}
	credential.current.Store(&tok)
	nested := unexported{secret, tok, &tok, []Secret{secret}, [1]Token{tok}, map[string]Token{"a": tok}, tok, struct{ token Token }{tok}}
	cfg := Config{Clients: map[string]ClientConfig{"c": {secrets: []Secret{secret}}}, Tokens: map[string]TokenConfig{"t": {secret: secret}}}
	return map[string]any{
		"Secret": secret, "*Secret": &secret, "Token": tok, "*Token": &tok,
		"slices":     []any{[]Secret{secret}, []*Secret{&secret}, []Token{tok}, []*Token{&tok}},
		"maps":       []any{map[string]Secret{"a": secret}, map[Secret]Secret{secret: secret}, map[string]*Token{"a": &tok}},
		"exported":   exported{secret, tok, &secret, []Token{tok}, map[string]Secret{"a": secret}, map[Secret]int{secret: 1}, tok},
		"unexported": nested, "*unexported": &nested, "in a slice": []unexported{nested},
		"authorizer": fixed, "ClientCredentials": credential, "Endpoint": credential.endpoint,
		"postAuth": postAuth{"id", secret}, "Config": cfg,
		"Set":     &Set{config: cfg, members: map[string]Authorizer{"fixed": fixed, "granted": credential}},
		"Renewal": Renewal{Token: tok}, "Granted": []Granted{{Token: tok}},
	}
}

func TestSecretAndToken_NothingPrintsTheValue(t *testing.T) {
	for name, holder := range holders(t) {
		for _, verb := range verbs {
			wantNothingOf(t, name+" printed by "+verb, fmt.Sprintf(verb, holder), canary)
		}
		wantNothingOf(t, name+" in an error", fmt.Errorf("a: %w: %v", errors.New("b"), holder).Error(), canary)
		wantNothingOf(t, name+" printed by Sprintln", fmt.Sprintln(holder, holder), canary)
	}
}

func TestSecretAndToken_NothingMarshalsTheValue(t *testing.T) {
	for name, holder := range holders(t) {
		text, err := json.Marshal(holder)
		if err != nil {
			continue // such as for a function; what cannot be marshalled does not leak
		}
		wantNothingOf(t, name+" as JSON", string(text), canary)
	}
}

func TestSecretAndToken_PrintWhatStandsForThem(t *testing.T) {
	secret, tok := NewSecret(canary), newToken("AgMadeUp", "Bearer AgMadeUp")
	const fingerprint = "sha256:22257bcf"
	if got := tok.Fingerprint(); got != fingerprint {
		t.Errorf("Fingerprint() = %q, want %q", got, fingerprint)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, secret); got != "[redacted]" {
			t.Errorf("secret by %s = %q, want [redacted]", verb, got)
		}
		if got := fmt.Sprintf(verb, tok); got != fingerprint {
			t.Errorf("token by %s = %q, want its fingerprint", verb, got)
		}
	}
	text, err := json.Marshal(map[string]any{"secret": secret, "token": &tok, "none": Token{}})
	if want := `{"none":"","secret":"[redacted]","token":"` + fingerprint + `"}`; err != nil || string(text) != want {
		t.Errorf("as JSON: %s, %v; want %s", text, err, want)
	}
	for _, m := range []encoding.TextMarshaler{secret, &secret, Secret{}} {
		if text, err := m.MarshalText(); err != nil || string(text) != "[redacted]" {
			t.Errorf("MarshalText() = %q, %v; want [redacted]", text, err)
		}
	}
	if got := fmt.Sprint(Token{}, Secret{}); got != " [redacted]" {
		t.Errorf("zero values print as %q", got)
	}
}

func TestSecret_EqualComparesValues(t *testing.T) {
	for _, tt := range []struct {
		a, b Secret
		want bool
	}{
		{NewSecret("a"), NewSecret("a"), true},
		{NewSecret("a"), NewSecret("b"), false},
		{NewSecret("a"), NewSecret("ab"), false},
		{Secret{}, NewSecret(""), true},
		{Secret{}, Secret{}, true},
	} {
		if got := tt.a.Equal(tt.b); got != tt.want {
			t.Errorf("Equal() = %v, want %v", got, tt.want)
		}
	}
}
