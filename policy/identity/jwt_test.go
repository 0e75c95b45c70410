package identity

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bearerd/policy"
)

func TestJWT_TakesWhatEveryAlgorithmSigned(t *testing.T) {
	p256, p384, p521, ed := ecKey(elliptic.P256()), ecKey(elliptic.P384()), ecKey(elliptic.P521()), edKey()
	i := newIssuer(published("r", "", rsaKey().Public()), published("256", "ES256", p256.Public()), published("384", "ES384", p384.Public()),
		published("521", "ES512", p521.Public()), published("ed", "EdDSA", ed.Public()))
	v := i.verifier(i.serves(t))
	taken := 0
	for _, tt := range []struct {
		algorithm, id string
		key           any
	}{
		{"RS256", "r", rsaKey()}, {"RS384", "r", rsaKey()}, {"RS512", "r", rsaKey()},
		{"PS256", "r", rsaKey()}, {"PS384", "r", rsaKey()}, {"PS512", "r", rsaKey()},
		{"ES256", "256", p256}, {"ES384", "384", p384}, {"ES512", "521", p521}, {"EdDSA", "ed", ed},
		{"RS256", "", rsaKey()}, {"ES256", "", p256}, {"EdDSA", "", ed}, // any key that fits
	} {
		t.Run(tt.algorithm+" by the key "+tt.id, func(t *testing.T) {
			token := signedBy(tt.algorithm, tt.id, i.claims(object{"groups": []string{"a", "b"}, "run": 7, "protected": true}), tt.key)
			if !v.Claims(token) {
				t.Error("Claims() = false")
			}
			proof, err := v.Verify(context.Background(), token)
			if err != nil {
				t.Fatal(err)
			}
			if proof.Issuer != "corp" || proof.Claims["sub"] != "someone" || proof.Claims["run"] != json.Number("7") || proof.Claims["protected"] != true {
				t.Errorf("proof = %+v", proof)
			}
			taken++
		})
	}
	if asked := i.count(keysPath); asked != 1 {
		t.Errorf("the keys were asked for %d times, want once", asked)
	}
	t.Logf("JWT: %d kinds of signature taken, keys asked for %d time", taken, i.count(keysPath))
}

// publicAsSecret are ways to write an RSA public key that a confused verifier would
// take for the secret of an HMAC.
func publicAsSecret() map[string][]byte {
	der := must(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	return map[string][]byte{
		"PEM":     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"PKCS #1": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)}),
		"DER":     der,
		"modulus": rsaKey().N.Bytes(),
		"JWK":     must(json.Marshal(published("r", "", rsaKey().Public()))),
	}
}

// forged is a token that must be refused.
type forged struct {
	name   string
	token  string
	onFace bool // without any request
}

func forgeries(i *issuer, elsewhere string) []forged {
	good := i.claims(nil)
	payload := string(must(json.Marshal(good)))
	header := func(more object) object {
		made := object{"alg": "RS256", "kid": "r"}
		for name, value := range more {
			made[name] = value
		}
		return made
	}
	claims := func(name string, changes object) forged { return forged{name, i.token(changes), true} }
	headed := func(name string, more object, onFace bool) forged {
		return forged{name, sign(header(more), good, rsaKey()), onFace}
	}
	strange := func(name string, more object) forged { return forged{name, sign(header(more), good, other()), false} }
	parts := strings.Split(i.token(nil), ".")
	evil := published("r", "RS256", other().Public())
	rows := []forged{
		{"alg none without a signature", part(header(object{"alg": "none"})) + "." + parts[1] + ".", true},
		{"alg none with a signature", sign(header(object{"alg": "none"}), good, rsaKey()), true},
		{"alg None", part(header(object{"alg": "None"})) + "." + parts[1] + ".", true},
		{"alg NONE", part(header(object{"alg": "NONE"})) + "." + parts[1] + ".", true},
		{"alg of nothing", part(object{"kid": "r"}) + "." + parts[1] + "." + parts[2], true},
		{"alg null", part(`{"alg":null,"kid":"r"}`) + "." + parts[1] + "." + parts[2], true},
		{"alg a list", part(`{"alg":["RS256"],"kid":"r"}`) + "." + parts[1] + "." + parts[2], true},
		{"alg in lower case", sign(header(object{"alg": "rs256"}), good, rsaKey()), true},
		{"alg with a space", sign(header(object{"alg": "RS256 "}), good, rsaKey()), true},
		{"alg twice", sign(`{"alg":"RS256","alg":"none","kid":"r"}`, good, rsaKey()), true},
		{"alg in another case too", sign(`{"alg":"RS256","Alg":"none","kid":"r"}`, good, rsaKey()), true},
		headed("PS256 said of an RS256 signature", object{"alg": "PS256"}, false),
		headed("ES256 said of an RSA signature", object{"alg": "ES256"}, false),

		claims("another audience", object{"aud": "somebody"}),
		claims("a list of other audiences", object{"aud": []string{"somebody", "else"}}),
		claims("an audience that begins the same", object{"aud": audience + ".example.org"}),
		claims("an audience in another case", object{"aud": strings.ToUpper(audience)}),
		claims("no audience", object{"aud": nil}),
		claims("an audience of nothing", object{"aud": ""}),
		claims("an empty list of audiences", object{"aud": []string{}}),
		claims("an audience that is a mapping", object{"aud": object{audience: true}}),
		claims("audiences within audiences", object{"aud": []any{[]string{audience}}}),
		claims("another issuer", object{"iss": "https://evil.example.org"}),
		claims("the issuer with a slash", object{"iss": i.url + "/"}),
		claims("the issuer in a list", object{"iss": []string{i.url}}),
		claims("no issuer", object{"iss": nil}),
		claims("expired a second ago", object{"exp": time.Now().Unix() - 1}),
		claims("expired long ago", object{"exp": 1}),
		claims("no exp", object{"exp": nil}),
		claims("exp null", object{"exp": json.RawMessage("null")}),
		claims("exp a text", object{"exp": "9999999999"}),
		claims("exp beyond all time", object{"exp": 1e300}),
		claims("exp beyond any number", object{"exp": json.RawMessage("1e999")}),
		claims("exp negative", object{"exp": -1}),
		claims("not yet good", object{"nbf": time.Now().Add(time.Minute).Unix()}),
		claims("nbf a text", object{"nbf": "0"}),
		{"aud twice", sign(header(nil), strings.Replace(payload, "{", `{"aud":"somebody",`, 1), rsaKey()), true},
		{"AUD beside aud", sign(header(nil), strings.Replace(payload, "{", `{"AUD":"somebody",`, 1), rsaKey()), true},
		{"iſs beside iss", sign(header(nil), strings.Replace(payload, "{", `{"iſs":"x",`, 1), rsaKey()), true},
		{"a name twice further in", sign(header(nil), strings.Replace(payload, "{", `{"a":{"b":1,"b":2},`, 1), rsaKey()), true},

		{"a changed payload", parts[0] + "." + part(i.claims(object{"sub": "somebody else"})) + "." + parts[2], false},
		{"a changed header", part(header(object{"typ": "JWT"})) + "." + parts[1] + "." + parts[2], false},
		{"half a signature", parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])/2-len(parts[2])/2%4], false},
		{"no signature", parts[0] + "." + parts[1] + ".", false},
		{"a signature of zeros", parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])-2) + "AA", false},
		{"another's key under the issuer's id", sign(header(nil), good, other()), false},
		{"another's key without an id", sign(object{"alg": "RS256"}, good, other()), false},

		strange("an id that is a path", object{"kid": "../../../../dev/null"}),
		strange("an id that is a URL", object{"kid": elsewhere}),
		strange("an id that is a query", object{"kid": "x' UNION SELECT 'key"}),
		strange("an id that is a command", object{"kid": "|touch /tmp/x"}),
		strange("an id of another case", object{"kid": "R"}),
		headed("the right key under an id that nobody knows", object{"kid": "unknown"}, false),
		headed("an id that is a number", object{"kid": 1}, true),
		headed("an id that is null", object{"kid": nil}, true),
		strange("jku of another", object{"jku": elsewhere}),
		strange("x5u of another", object{"x5u": elsewhere}),
		strange("jku and an id of another", object{"jku": elsewhere, "kid": "evil"}),
		strange("an embedded key", object{"jwk": evil}),
		strange("an embedded certificate", object{"x5c": []string{"AAAA"}}),
		headed("crit of what is known", object{"crit": []string{"exp"}, "exp": 1}, true),
		headed("crit of what is not", object{"crit": []string{"made-up"}, "made-up": true}, true),
		headed("crit of nothing", object{"crit": []string{}}, true),
		headed("crit null", object{"crit": nil}, true),
		headed("an unencoded payload (RFC 7797)", object{"crit": []string{"b64"}, "b64": false}, true),

		{"three parts of nothing", "..", true},
		{"two parts", parts[0] + "." + parts[1], true},
		{"five parts, as encrypted ones have", strings.Join(parts, ".") + ".AAAA.AAAA", true},
		{"the JSON form", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, true},
		{"padded base64", parts[0] + "=." + parts[1] + "." + parts[2], true},
		{"a line break within", parts[0] + "." + parts[1][:4] + "\n" + parts[1][4:] + "." + parts[2], true},
		{"a space before", " " + strings.Join(parts, "."), true},
		{"bits to spare in the signature", parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-1] + spare(parts[2]), true},
		{"a payload that is a list", sign(header(nil), `[{"iss":"`+i.url+`"}]`, rsaKey()), true},
		{"a payload that is null", sign(header(nil), `null`, rsaKey()), true},
		{"two payloads", sign(header(nil), payload+payload, rsaKey()), true},
		{"a deep payload", sign(header(nil), strings.Replace(payload, "{", `{"a":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+",", 1), rsaKey()), true},
		{"a huge one", i.token(object{"filler": strings.Repeat("x", maxToken)}), true},
	}
	for name, secret := range publicAsSecret() {
		rows = append(rows, forged{"HS256 with the public key as " + name, signedBy("HS256", "r", good, secret), true})
	}
	return rows
}

// spare returns the last character of base64 with a bit set that carries nothing.
func spare(text string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(digits[strings.IndexByte(digits, text[len(text)-1])|1])
}

func TestJWT_TakesNothingForged(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_ = json.NewEncoder(w).Encode(object{"keys": []any{published("evil", "RS256", other().Public())}})
	}))
	defer elsewhere.Close()
	i := newIssuer(published("r", "", rsaKey().Public()), published("e", "", ecKey(elliptic.P384()).Public()))
	transport := i.serves(t)
	rows := forgeries(i, elsewhere.URL)
	onFace := 0
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			v, before := i.verifier(transport), i.count(keysPath)+i.count(metadataPath)
			if got := refusal(t, v, tt.token); got != "not good" {
				t.Errorf("Verify() is %q, want not good", got)
			}
			requests := i.count(keysPath) + i.count(metadataPath) - before
			if tt.onFace && requests != 0 || requests > 2 {
				t.Errorf("%d requests", requests)
			}
			if got := refusal(t, v, i.token(nil)); got != "" {
				t.Errorf("a good token afterwards: %s", got)
			}
		})
		if tt.onFace {
			onFace++
		}
	}
	if asked != 0 {
		t.Errorf("%d requests went where a token said", asked)
	}
	t.Logf("JWT: %d forged tokens, 0 taken; %d of them without any request; %d requests went where a token said", len(rows), onFace, asked)
}

func TestJWT_TakesWhatIsNearlyRefused(t *testing.T) {
	i := newIssuer(published("r", "", rsaKey().Public()))
	v := i.verifier(i)
	for _, tt := range []struct {
		name  string
		token string
	}{
		{"a second before its end", i.token(object{"exp": time.Now().Unix() + 2})},
		{"an end with a fraction", i.token(object{"exp": float64(time.Now().Unix()) + 60.5})},
		{"a clock that is 20 s ahead", i.token(object{"nbf": time.Now().Unix() + 20})},
		{"several audiences", i.token(object{"aud": []string{"somebody", audience}})},
		{"jku of another and the issuer's own signature", sign(object{"alg": "RS256", "kid": "r", "jku": "https://evil.example.org"}, i.claims(nil), rsaKey())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := refusal(t, v, tt.token); got != "" {
				t.Error(got)
			}
		})
	}
}

func TestJWT_KeysAreForWhatTheyAreFor(t *testing.T) {
	secret := base64.RawURLEncoding.EncodeToString([]byte("of an HMAC, shown by mistake, and long enough"))
	p256 := ecKey(elliptic.P256())
	encryption := published("r", "", rsaKey().Public())
	encryption.Use = "enc"
	for _, tt := range []struct {
		name string
		keys any
		cfg  policy.JWTConfig
		make func(i *issuer) string
	}{
		{"a key of RS256 alone, for PS256", []any{published("r", "RS256", rsaKey().Public())}, policy.JWTConfig{},
			func(i *issuer) string { return signedBy("PS256", "r", i.claims(nil), rsaKey()) }},
		{"a key for encryption", []any{encryption}, policy.JWTConfig{}, func(i *issuer) string { return i.token(nil) }},
		{"an algorithm that the configuration leaves out", []any{published("r", "", rsaKey().Public())}, policy.JWTConfig{Algorithms: []string{"ES256"}},
			func(i *issuer) string { return i.token(nil) }},
		{"HS256, though the configuration names it", []any{object{"kty": "oct", "k": secret, "kid": "h"}}, policy.JWTConfig{Algorithms: []string{"HS256", "none"}},
			func(i *issuer) string {
				return signedBy("HS256", "h", i.claims(nil), []byte("of an HMAC, shown by mistake, and long enough"))
			}},
		{"a secret among the keys", []any{object{"kty": "oct", "k": secret, "kid": "r"}}, policy.JWTConfig{},
			func(i *issuer) string { return i.token(nil) }},
		{"no keys at all", []any{}, policy.JWTConfig{}, func(i *issuer) string { return i.token(nil) }},
		{"no audience configured", []any{published("r", "", rsaKey().Public())}, policy.JWTConfig{Audience: "-"},
			func(i *issuer) string { return i.token(object{"aud": ""}) }},
		{"a key under another id", []any{published("e", "", p256.Public())}, policy.JWTConfig{},
			func(i *issuer) string { return signedBy("ES256", "f", i.claims(nil), p256) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer()
			i.answer = func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(object{"keys": tt.keys}) }
			cfg := tt.cfg
			cfg.Issuer, cfg.JWKS = i.url, i.url+keysPath
			switch cfg.Audience {
			case "":
				cfg.Audience = audience
			case "-":
				cfg.Audience = ""
			}
			if got := refusal(t, NewJWT("corp", cfg, i), tt.make(i)); got != "not good" {
				t.Errorf("Verify() is %q, want not good", got)
			}
		})
	}
}

func TestJWT_ClaimsWhatNamesTheIssuer(t *testing.T) {
	i := newIssuer()
	v := i.verifier(i)
	for _, tt := range []struct {
		name  string
		token string
		want  bool
	}{
		{"the issuer's", i.token(nil), true},
		{"one that says it is the issuer's", sign(object{"alg": "none"}, object{"iss": i.url}, other()), true},
		{"another issuer's", i.token(object{"iss": "https://evil.example.org"}), false},
		{"a key", "3f1c8a2e9b", false},
		{"a Globus token", "Ag" + strings.Repeat("x", 90), false},
		{"nothing", "", false},
		{"a huge one", i.token(object{"filler": strings.Repeat("x", maxToken)}), true},
		{"one with padding", i.token(nil) + "=", true},
		{"one of an issuer whose URL begins alike", i.token(object{"iss": i.url + "2"}), false},
		{"another issuer's that is for this one", i.token(object{"iss": "https://evil.example.org", "aud": i.url}), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := v.Claims(tt.token); got != tt.want {
				t.Errorf("Claims() = %v, want %v", got, tt.want)
			}
		})
	}
	if n := i.count(keysPath) + i.count(metadataPath); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func FuzzToken_TwoReadersAgree(f *testing.F) {
	i := newIssuer()
	f.Add(string(must(base64.RawURLEncoding.DecodeString(strings.Split(i.token(nil), ".")[1]))))
	f.Add(`{"iss":"a","ISS":"b"}`)
	f.Add(`{"iss":"a","aud":["x",{"aud":1}],"exp":1e3}`)
	f.Add(`{"iss":"\ud800"}`)
	f.Fuzz(func(t *testing.T, payload string) {
		said, ok := parseToken(part(`{"alg":"RS256"}`) + "." + part(payload) + ".AAAA")
		if !ok {
			return
		}
		var lax struct { // matches names in any case, the last one wins
			Issuer any `json:"iss"`
			Expiry any `json:"exp"`
		}
		if err := json.Unmarshal([]byte(payload), &lax); err != nil {
			t.Fatalf("accepted, and encoding/json says %v", err)
		}
		if lax.Issuer != nil && lax.Issuer != said.claims["iss"] {
			if _, isText := lax.Issuer.(string); isText {
				t.Errorf("iss is %q and %q", lax.Issuer, said.claims["iss"])
			}
		}
		if (lax.Expiry == nil) != (said.claims["exp"] == nil) {
			t.Errorf("exp is %v and %v", lax.Expiry, said.claims["exp"])
		}
	})
}
