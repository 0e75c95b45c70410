package proxy

import (
	"net/http"
	"testing"
)

func TestDataAccess_IsOneCollectionsUnderAScopeThatIsHeld(t *testing.T) {
	const (
		id     = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
		upper  = "3F2504E0-4F89-41D3-9A0C-0305E82C3301"
		access = globusScopes + id + "/data_access"
		timer  = globusScopes + "524230d7-ea86-4a52-8312-86065a9e0417/timer"
	)
	asked := []string{transferScope + "[*" + access + "]", timer}
	for _, tt := range []struct{ name, text, want string }{ // want "" is none
		{"optional", transferScope + "[*" + access + "]", transferScope + "[*" + access + "]"},
		{"not optional", transferScope + "[" + access + "]", transferScope + "[" + access + "]"},
		{"upper case", transferScope + "[" + globusScopes + upper + "/data_access]", transferScope + "[" + access + "]"},
		{"below Timers", timer + "[" + transferScope + "[*" + access + "]]", timer + "[" + transferScope + "[*" + access + "]]"},
		{"Timers, both optional", timer + "[*" + transferScope + "[*" + access + "]]", timer + "[*" + transferScope + "[*" + access + "]]"},
		{"empty", "", ""},
		{"no dependent", transferScope, ""},
		{"empty brackets", transferScope + "[]", ""},
		{"data_access alone", access, ""},
		{"two", transferScope + "[" + access + " " + access + "]", ""},
		{"optional root", "*" + transferScope + "[" + access + "]", ""},
		{"two stars", transferScope + "[**" + access + "]", ""},
		{"a space before", " " + transferScope + "[" + access + "]", ""},
		{"a space inside", transferScope + "[ " + access + "]", ""},
		{"another after it", transferScope + "[" + access + "] openid", ""},
		{"brackets after brackets", transferScope + "[" + access + "][" + access + "]", ""},
		{"brackets open", transferScope + "[" + access, ""},
		{"a bracket too many", transferScope + "[" + access + "]]", ""},
		{"something below it", transferScope + "[" + access + "[openid]]", ""},
		{"Transfer below Transfer", transferScope + "[" + transferScope + "[" + access + "]]", ""},
		{"another between", timer + "[openid[" + access + "]]", ""},
		{"a fourth", timer + "[" + timer + "[" + transferScope + "[" + access + "]]]", ""},
		{"a root that is not held", "openid[" + access + "]", ""},
		{"part of a root", transferScope[:len(transferScope)-1] + "[" + access + "]", ""},
		{"no UUID", transferScope + "[" + globusScopes + "x/data_access]", ""},
		{"a path in it", transferScope + "[" + globusScopes + id + "/x/data_access]", ""},
		{"another scope of it", transferScope + "[" + globusScopes + id + "/https]", ""},
		{"http", transferScope + "[http" + access[len("https"):] + "]", ""},
		{"another host", transferScope + "[https://auth.globus.org.example/scopes/" + id + "/data_access]", ""},
		{"a line break", transferScope + "[" + access + "\n]", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scope, collection := dataAccess(tt.text, asked)
			if wantID := map[bool]string{true: id}[tt.want != ""]; scope != tt.want || collection != wantID {
				t.Errorf("got %q of %q, want %q", scope, collection, tt.want)
			}
		})
	}
}

func TestIsRefusal_IsWhatANewTokenMayHelp(t *testing.T) {
	head := func(status int, header ...string) *http.Response {
		resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}
		for i := 0; i+1 < len(header); i += 2 {
			resp.Header.Add(header[i], header[i+1])
		}
		return resp
	}
	const login = "https://auth.globus.org/v2/oauth2/authorize?client_id=x"
	for _, tt := range []struct {
		name          string
		resp          *http.Response
		loginRedirect bool
		want          bool
	}{
		{"401", head(401), false, true},
		{"401 for an invalid token", head(401, "WWW-Authenticate", `Bearer error="invalid_token"`), false, true},
		{"401 for insufficient scope", head(401, "WWW-Authenticate", `Bearer realm="x", error="insufficient_scope"`), false, false},
		{"the same without quotes", head(401, "WWW-Authenticate", `bearer Error = insufficient_scope`), false, false},
		{"the same in a second header", head(401, "WWW-Authenticate", "Basic", "WWW-Authenticate", `Bearer error="insufficient_scope"`), false, false},
		{"401 that describes it only", head(401, "WWW-Authenticate", `Bearer error_description="insufficient_scope"`), false, true},
		{"403", head(403, "WWW-Authenticate", `Bearer error="invalid_token"`), false, false},
		{"a redirect to log in", head(302, "Location", login), true, true},
		{"303", head(303, "Location", login), true, true},
		{"307", head(307, "Location", login), true, true},
		{"301", head(301, "Location", login), true, false},
		{"308", head(308, "Location", login), true, false},
		{"of preview", head(302, "Location", "https://auth.preview.globus.org/v2/oauth2/authorize"), true, true},
		{"of an upstream that has no such habit", head(302, "Location", login), false, false},
		{"elsewhere at Auth", head(302, "Location", "https://auth.globus.org/v2/oauth2/authorize/x"), true, false},
		{"another host", head(302, "Location", "https://auth.example.org/v2/oauth2/authorize"), true, false},
		{"deeper", head(302, "Location", "https://auth.a.b.globus.org/v2/oauth2/authorize"), true, false},
		{"no name between", head(302, "Location", "https://auth..globus.org/v2/oauth2/authorize"), true, false},
		{"http", head(302, "Location", "http://auth.globus.org/v2/oauth2/authorize"), true, false},
		{"with a user", head(302, "Location", "https://me@auth.globus.org/v2/oauth2/authorize"), true, false},
		{"a redirect to nowhere", head(302), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := isRefusal(tt.resp, tt.loginRedirect); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
