package harness_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestFindSecrets_FindsEveryFormOfASecretAndAToken(t *testing.T) {
	secret, token := emulator.DemoClientSecret, "AgEMU"+strings.Repeat("0aZ9", 12)
	texts := map[string]string{
		"secret":                secret,
		"secret in a form":      url.Values{"client_secret": {secret}}.Encode(),
		"secret in a path":      "/" + url.PathEscape(secret),
		"secret in base64":      base64.StdEncoding.EncodeToString([]byte(secret)),
		"secret in base64url":   base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"secret in HTTP Basic":  "Basic " + base64.StdEncoding.EncodeToString([]byte(emulator.DemoClientID+":"+secret)),
		"secret in hex":         strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"secret in JSON by PHP": strings.ReplaceAll(secret, "/", `\/`),
		"token":                 `{"access_token":"` + token + `"}`,
		"token in hex":          hex.EncodeToString([]byte(token)),
	}
	for i := range 3 {
		before := strings.Repeat("x", i)
		texts[fmt.Sprintf("secret in base64 after %d bytes and before others", i)] = base64.StdEncoding.EncodeToString([]byte(before + secret + "tail"))
		texts[fmt.Sprintf("token in base64 after %d bytes", i)] = base64.StdEncoding.EncodeToString([]byte(before + token))
	}
	for name, text := range texts {
		found := harness.FindSecrets([]byte("first line\n"+text+"\nlast line"), secret)
		if len(found) == 0 {
			t.Errorf("%s: not found", name)
		}
		for _, message := range found {
			if !strings.HasPrefix(message, "line 2 holds ") || strings.Contains(message, text) {
				t.Errorf("%s: reported wrongly", name)
			}
		}
	}
}

func TestFindSecrets_LeavesFingerprintsAlone(t *testing.T) {
	for _, text := range []string{"", "AgEMU", "sha256:1a2b3c4d", "[redacted]", "client_secret: file:secret", emulator.DemoClientID} {
		if found := harness.FindSecrets([]byte(text), emulator.DemoClientSecret); len(found) > 0 {
			t.Errorf("%q: %v", text, found)
		}
	}
}
