package credentials

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// dripping gives one byte of text each interval, and then no end.
type dripping struct {
	ctx      context.Context
	text     string
	interval time.Duration
	endless  bool
}

func (d *dripping) Read(p []byte) (int, error) {
	select {
	case <-time.After(d.interval):
	case <-d.ctx.Done():
		return 0, context.Cause(d.ctx)
	}
	switch {
	case d.endless:
		return copy(p, strings.Repeat(" ", len(p))), nil
	case d.text == "":
		return 0, io.EOF
	}
	n := copy(p[:1], d.text)
	d.text = d.text[n:]
	return n, nil
}

func (*dripping) Close() error { return nil }

// TestEngine_NoMalformedAnswerIsAcceptedWedgesOrPrints goes through everything
// that a token endpoint, or what stands before it, may say instead of a token.
func TestEngine_NoMalformedAnswerIsAcceptedWedgesOrPrints(t *testing.T) {
	header := func(contentType string) http.Header { return http.Header{"Content-Type": {contentType}} }
	good := tokenIn(nil)
	with := func(name, value string) transport {
		return answers(http.StatusOK, nil, tokenIn(map[string]string{name: value}))
	}
	body := func(text string) transport { return answers(http.StatusOK, nil, text) }
	drip := func(d dripping) transport {
		return func(req *http.Request) (*http.Response, error) {
			d.ctx = req.Context()
			return &http.Response{StatusCode: http.StatusOK, Header: header("application/json"), Body: &d, Request: req}, nil
		}
	}
	kinds := map[string]transport{
		// I4: long, slow
		"without end":       drip(dripping{endless: true}),
		"a byte per 100 ms": drip(dripping{text: good, interval: 100 * time.Millisecond}),
		"65 KiB of spaces":  body(good + strings.Repeat(" ", 65<<10)),
		// I5: expires_in
		"expires_in 0": with("expires_in", "0"), "expires_in -1": with("expires_in", "-1"), "expires_in -3600": with("expires_in", "-3600"),
		"expires_in true": with("expires_in", "true"), "expires_in soon": with("expires_in", `"soon"`), "expires_in a list": with("expires_in", "[3600]"),
		"expires_in Inf": with("expires_in", `"Inf"`), "expires_in in hex": with("expires_in", `"0x10p8"`), "expires_in 1_000": with("expires_in", `"1_000"`),
		"expires_in 0.5": with("expires_in", "0.5"), "expires_in NaN": with("expires_in", `"NaN"`), "expires_in -inf": with("expires_in", `"-Inf"`),
		// I6: access_token
		"token with CRLF": with("access_token", `"`+canary+`\r\nX-Smuggled: 1"`), "token with a space": with("access_token", `"`+canary+` b"`),
		"token with NUL": with("access_token", `"`+canary+`\u0000"`), "token beyond ASCII": with("access_token", `"`+canary+`é"`),
		"token empty": with("access_token", `""`), "token a number": with("access_token", "123456"), "token missing": with("access_token", ""),
		"token null": with("access_token", "null"), "token of 9 KiB": with("access_token", `"`+strings.Repeat("a", 9<<10)+`"`),
		// I7: token_type
		"mac": with("token_type", `"mac"`), "DPoP": with("token_type", `"DPoP"`), "no token_type": with("token_type", ""),
		"token_type with CRLF": with("token_type", `"Bearer\r\nX: y"`),
		// I8: what is around it
		"HTML":                     answers(http.StatusOK, header("text/html"), "<html>"+canary+"</html>"),
		"HTML called JSON":         body("<html>" + canary + "</html>"),
		"a form":                   answers(http.StatusOK, header("text/plain"), "access_token="+canary+"&token_type=bearer&expires_in=3600"),
		"a form called a form":     answers(http.StatusOK, header("application/x-www-form-urlencoded"), "access_token="+canary+"&token_type=bearer"),
		"JSON called text":         answers(http.StatusOK, header("text/plain"), good),
		"201":                      answers(http.StatusCreated, nil, good),
		"204":                      answers(http.StatusNoContent, nil, ""),
		"206":                      answers(http.StatusPartialContent, nil, good),
		"a redirect":               answers(http.StatusTemporaryRedirect, http.Header{"Location": {"https://elsewhere.example.org"}}, good),
		"access_token twice":       body(strings.Replace(good, "{", `{"access_token":"`+canary+`",`, 1)),
		"access_token in capitals": body(strings.Replace(good, "{", `{"ACCESS_TOKEN":"`+canary+`",`, 1)),
		"only in capitals":         body(strings.Replace(good, "access_token", "Access_Token", 1)),
		"with a long s":            body(strings.Replace(good, "{", `{"acceſs_token":"`+canary+`",`, 1)),
		"in capitals in others":    with("other_tokens", `[{"access_token":"a","Access_Token":"b","token_type":"bearer","resource_server":"x"}]`),
		"an error beside a token":  with("error", `"server_error"`),
		"ERROR beside a token":     with("ERROR", `"server_error"`),
		"twice in other_tokens":    with("other_tokens", `[{"access_token":"a","access_token":"b","token_type":"bearer","resource_server":"x"}]`),
		"an error":                 body(`{"error":"invalid_client","error_description":"` + canary + `"}`),
		"half":                     body(good[:len(good)/2]),
		"100 000 brackets":         body(strings.Repeat("[", 60_000)),
		"null":                     body("null"), "a list": body("[" + good + "]"), "a text": body(`"` + canary + `"`), "empty": body(""),
		"two documents": body(good + good),
	}
	for name, malformed := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGlobus()
				var now atomic.Value
				now.Store(transport(g.RoundTrip))
				c := transferCredential(transport(func(req *http.Request) (*http.Response, error) { return now.Load().(transport)(req) }))
				defer running(t, c)()
				first := mustToken(t, c)
				now.Store(malformed)
				time.Sleep(47 * time.Hour) // every renewal gets it
				synctest.Wait()
				if !mustToken(t, c).Same(first) {
					t.Error("it was accepted")
				}
				c.mu.Lock()
				err := c.lastError
				c.mu.Unlock()
				if err == nil || c.status(time.Now()).Class == "" {
					t.Fatal("it was not told")
				}
				wantNothingOf(t, "the error", err.Error(), canary)
				wantNothingOf(t, "the status", printed(t, c.status(time.Now())), canary)
				now.Store(transport(g.RoundTrip))
				time.Sleep(longestProbe)
				synctest.Wait()
				if mustToken(t, c).Same(first) {
					t.Error("it wedged: no new token within 5 minutes of a good answer")
				}
			})
		})
	}
	t.Logf("%d kinds of malformed answers: none accepted, none wedged, none printed", len(kinds))
}
