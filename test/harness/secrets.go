package harness

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"bearerd/test/emulator"
)

const tokenPrefix = "AgEMU" // of every token an emulator issues

// CheckNoSecrets fails the test if data holds a token of an emulator, or the
// secret of one of them (the demo's too), in any usual form: as it is, in
// base64, escaped for a URL or JSON, in hex. It never prints what it found.
func CheckNoSecrets(t testing.TB, data []byte, globus ...*Globus) {
	t.Helper()
	secrets := []string{emulator.DemoClientSecret}
	for _, g := range globus {
		secrets = append(secrets, g.Secret)
	}
	for _, found := range FindSecrets(data, secrets...) {
		t.Error(found)
	}
}

// FindSecrets returns where data holds a token of an emulator or one of secrets,
// in words that do not repeat it.
func FindSecrets(data []byte, secrets ...string) []string {
	var found []string
	note := func(what string, offset int) {
		line := 1 + strings.Count(string(data[:offset]), "\n")
		found = append(found, fmt.Sprintf("line %d holds %s", line, what))
	}
	for what, pattern := range tokenPatterns {
		for _, at := range pattern.FindAllIndex(data, -1) {
			note("a token, "+what, at[0])
		}
	}
	text := string(data)
	for _, secret := range secrets {
		for what, form := range secretForms(secret) {
			if i := strings.Index(text, form); i >= 0 {
				note("a client secret, "+what, i)
			}
		}
	}
	return found
}

// tokenPatterns find tokens by their beginning and enough after it not to be chance.
var tokenPatterns = func() map[string]*regexp.Regexp {
	patterns := map[string]*regexp.Regexp{
		"as it is": regexp.MustCompile(tokenPrefix + `[A-Za-z0-9]{20,}`),
		"in hex":   regexp.MustCompile(`(?i)` + hex.EncodeToString([]byte(tokenPrefix)) + `[0-9a-f]{40,}`),
	}
	for shift, form := range base64Forms(tokenPrefix, base64.StdEncoding) {
		patterns[fmt.Sprintf("in base64, %d bytes in", shift)] = regexp.MustCompile(regexp.QuoteMeta(form) + `[A-Za-z0-9+/_-]{20,}`)
	}
	return patterns
}()

// secretForms are the ways a secret is likely to be written.
func secretForms(secret string) map[string]string {
	quoted, _ := json.Marshal(secret) // of a string, which cannot fail
	forms := map[string]string{
		"as it is":           secret,
		"escaped in a query": url.QueryEscape(secret),
		"escaped in a path":  url.PathEscape(secret),
		"in JSON":            strings.Trim(string(quoted), `"`),
		"in escaped JSON":    strings.ReplaceAll(secret, "/", `\/`),
		"in hex":             hex.EncodeToString([]byte(secret)),
		"in upper-case hex":  strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
		// Alone, or behind "id:" of any length as in HTTP Basic: what stands before it shifts it by 0 to 2 bytes.
		for shift, form := range base64Forms(secret, encoding) {
			forms[fmt.Sprintf("in %s, %d bytes in", name, shift)] = form
		}
	}
	return forms
}

// base64Forms returns what of base64 depends on text alone, for each way that
// text can lie across groups of three bytes.
func base64Forms(text string, encoding *base64.Encoding) [3]string {
	var forms [3]string
	for shift := range forms {
		encoded := encoding.WithPadding(base64.NoPadding).EncodeToString([]byte(strings.Repeat("\x00", shift) + text))
		first := (shift*8 + 5) / 6          // characters that what stands before has a part in
		last := (shift + len(text)) * 8 / 6 // characters whole before what comes after
		forms[shift] = encoded[first:min(last, len(encoded))]
	}
	return forms
}
