package credentials

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/emulator"
)

func TestEndpoint_FollowsNoRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			var asked, followed atomic.Int32
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				followed.Add(1)
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, tokenIn(nil))
			}))
			defer target.Close()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				http.Redirect(w, r, target.URL, status)
			}))
			defer server.Close()
			wire := &http.Transport{}
			defer wire.CloseIdleConnections()
			e := endpoint(wire)
			e.URL = server.URL
			tokens, err := e.Grant(t.Context(), nil)
			if tokens != nil || err == nil || !strings.Contains(err.Error(), "redirect") {
				t.Errorf("Grant() = %d tokens, %v; want none and an error about the redirect", len(tokens), err)
			}
			if asked.Load() != 1 || followed.Load() != 0 {
				t.Errorf("%d requests to the endpoint and %d to the redirect's target, want 1 and 0", asked.Load(), followed.Load())
			}
		})
	}
}

// counter counts what is read of an endless answer.
type counter struct{ read int }

func (c *counter) Read(p []byte) (int, error) { c.read += len(p); return len(p), nil }
func (c *counter) Close() error               { return nil }

func TestEndpoint_ReadsAtMost64KiB(t *testing.T) {
	endless := &counter{}
	_, err := endpoint(transport(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: endless}, nil
	})).Grant(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "longer than 64 KiB") {
		t.Errorf("error %v, want one about the length", err)
	}
	if endless.read > maxAnswerBytes+1 {
		t.Errorf("%d bytes were read, want no more than one over 64 KiB", endless.read)
	}
	padded := func(size int) string {
		body := tokenIn(map[string]string{"pad": `""`})
		return strings.Replace(body, `"pad":"`, `"pad":"`+strings.Repeat("x", size-len(body)), 1)
	}
	if _, err := grant(t, padded(64<<10)); err != nil {
		t.Errorf("an answer of 64 KiB: %v, want a token", err)
	}
	if _, err := grant(t, padded(64<<10+1)); err == nil {
		t.Error("an answer of 64 KiB and one byte was taken")
	}
}

// piped is a transport without a network: serve answers each connection once its
// request has come.
func piped(t *testing.T, serve func(net.Conn)) *http.Transport {
	wire := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() { // ends when the transport closes here
			defer func() { _ = there.Close() }()
			req, err := http.ReadRequest(bufio.NewReader(there))
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			if err == nil {
				serve(there)
			}
		}()
		return here, nil
	}}
	t.Cleanup(wire.CloseIdleConnections)
	return wire
}

func TestEndpoint_GivesUpAfter10Seconds(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"no answer comes": func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"the header drips": func(conn net.Conn) {
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Slow: ")
			for ; err == nil; _, err = io.WriteString(conn, "x") {
				time.Sleep(100 * time.Millisecond)
			}
		},
		"the body drips": func(conn net.Conn) {
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
			for ; err == nil; _, err = io.WriteString(conn, " ") {
				time.Sleep(100 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := endpoint(piped(t, serve))
				e.URL = "http://auth.example.org/token"
				start := time.Now()
				_, err := e.Grant(t.Context(), nil)
				if got := time.Since(start); got != grantTimeout {
					t.Errorf("Grant() took %v, want %v", got, grantTimeout)
				}
				if failed, ok := errors.AsType[*Error](err); !ok || failed.Class.Permanent() || !strings.Contains(err.Error(), "no answer in time") {
					t.Errorf("error %v, want a temporary one about time", err)
				}
				time.Sleep(time.Second) // for the drip to notice that nobody listens
			})
		})
	}
}

func TestEndpoint_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlobus()
		g.SetTokenDelay(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := endpoint(g).Grant(ctx, nil)
		if took := time.Since(start); took != time.Second || err == nil || !strings.Contains(err.Error(), "given up") {
			t.Errorf("Grant() = %v after %v, want the request to be given up after 1s", err, took)
		}
	})
}

func TestEndpoint_RefusalsBecomeCodes(t *testing.T) {
	globusError := func(code string) string { return `{"errors":[{"code":` + code + `}],"error":"unauthorized"}` }
	for _, tt := range []struct {
		name      string
		status    int
		body      string
		code      string
		temporary bool
		reason    string
	}{
		{"Globus: wrong secret", 401, globusError(`"UNAUTHORIZED"`), "UNAUTHORIZED", false, "check client_id and client_secret"},
		{"Globus: unknown scope", 400, globusError(`"UNKNOWN_SCOPE_ERROR"`), "UNKNOWN_SCOPE_ERROR", false, "check the scopes"},
		{"Globus: a number for a code", 400, globusError("7"), "unauthorized", false, "refused"},
		{"RFC 6749: wrong client as 400", 400, `{"error":"invalid_client"}`, "invalid_client", false, "check client_id and client_secret"},
		{"RFC 6749: wrong scope", 400, `{"error":"invalid_scope","error_description":"x"}`, "invalid_scope", false, "check the scopes"},
		{"RFC 6749: a client that may not", 400, `{"error":"unauthorized_client"}`, "unauthorized_client", false, "refused the client"},
		{"401 without a body", 401, "", "", false, "check client_id and client_secret"},
		{"401 with a page", 401, "\n<html>", "", true, "another service may stand in between"},
		{"400 for now", 400, `{"error":"temporarily_unavailable"}`, "temporarily_unavailable", true, "cannot answer now"},
		{"400 for now, of the server", 400, `{"error":"server_error"}`, "server_error", true, "cannot answer now"},
		{"400 too fast", 400, `{"error":"slow_down"}`, "slow_down", true, "cannot answer now"},
		{"400 that is nobody's word", 400, "<html>", "", true, "refused the request"},
		{"403 of a firewall", 403, `{"error":{"code":"x"}}`, "", true, "refused the request"},
		{"429 with a code", 429, `{"error":"slow_down"}`, "slow_down", true, "cannot answer now"},
		{"500", 500, "", "", true, "cannot answer now"},
		{"503 with a code", 503, globusError(`"SERVICE_UNAVAILABLE"`), "SERVICE_UNAVAILABLE", true, "cannot answer now"},
		{"502 of a load balancer", 502, emulator.HTML().Body, "", true, "cannot answer now"},
		{"an empty list of errors", 400, `{"errors":[],"error":"invalid_request"}`, "invalid_request", false, "refused"},
		{"code of two cases", 400, `{"error":"invalidClient"}`, "", true, "refused"},
		{"code with a digit", 400, `{"error":"error1"}`, "", true, "refused"},
		{"code with a space", 400, `{"error":"invalid client"}`, "", true, "refused"},
		{"code with a line break", 400, `{"error":"invalid\n"}`, "", true, "refused"},
		{"a secret of letters alone, echoed", 400, `{"error":"correcthorsebatterystaple"}`, "", true, "refused"},
		{"the same as Globus would", 400, `{"errors":[{"code":"CORRECT_HORSE"}]}`, "", true, "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := endpoint(answers(tt.status, nil, tt.body)).Grant(t.Context(), nil)
			got, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("error is a %T, want an *Error", err)
			}
			if got.Status != tt.status || got.Code != tt.code || got.Class.Permanent() == tt.temporary {
				t.Errorf("status %d, code %q, temporary %v; want %d, %q, %v", got.Status, got.Code, !got.Class.Permanent(), tt.status, tt.code, tt.temporary)
			}
			if !strings.Contains(err.Error(), tt.reason) || !strings.HasPrefix(err.Error(), "token endpoint "+tokenURL+": ") {
				t.Errorf("error %q, want the endpoint and %q", err, tt.reason)
			}
			if want := strings.TrimSpace(fmt.Sprintf("%d %s", tt.status, tt.code)); !strings.HasSuffix(err.Error(), " ("+string(got.Class)+", "+want+")") {
				t.Errorf("error %q, want (%s) at its end", err, want)
			}
		})
	}
}

func TestEndpoint_AnEchoedSecretStaysOutOfTheError(t *testing.T) {
	const secret = emulator.DemoClientSecret
	for _, status := range []int{200, 302, 400, 401, 500} {
		for _, body := range []string{
			secret,
			`{"error":"` + secret + `","error_description":"` + secret + `"}`,
			`{"errors":[{"code":"` + secret + `","detail":"` + secret + `"}]}`,
			tokenIn(map[string]string{"access_token": `"` + secret + ` "`}),
			tokenIn(map[string]string{"token_type": `"` + secret + `"`}),
			tokenIn(map[string]string{"expires_in": `"` + secret + `"`}),
			tokenIn(map[string]string{"resource_server": `"` + secret + `"`}),
		} {
			header := http.Header{"Location": {"https://example.org/" + secret}, "Retry-After": {secret}, "Www-Authenticate": {secret}}
			c := transferCredential(answers(status, header, body))
			_, err := c.Token(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			failed, _ := errors.AsType[*Error](err)
			wantNothingOf(t, "the error", fmt.Sprintf("%v %+v %#v", err, *failed, failed), secret)
		}
	}
}

func TestEndpoint_TransportErrorsAreToldInFixedWords(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "no answer in time"},
		{&net.OpError{Op: "read", Err: context.DeadlineExceeded}, "no answer in time"},
		{&net.DNSError{Err: canary, Name: "auth.example.org", IsNotFound: true}, "host auth.example.org was not found"},
		{&net.OpError{Op: "dial", Err: errors.New(canary)}, "cannot be reached"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Host: canary, Certificate: &x509.Certificate{}}}, "TLS certificate is not trusted"},
		{context.Canceled, "given up"},
		{errors.New("malformed HTTP response " + canary), "the connection broke"},
		{io.ErrUnexpectedEOF, "the connection broke"},
	} {
		for _, when := range []string{"before an answer", "inside an answer"} {
			_, err := endpoint(transport(func(*http.Request) (*http.Response, error) {
				if when == "before an answer" {
					return nil, tt.err
				}
				return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader(canary), failing{tt.err}))}, nil
			})).Grant(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%T %s: error %v, want %q", tt.err, when, err, tt.want)
			}
			wantNothingOf(t, "the error", fmt.Sprint(err), canary)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestEndpoint_ErrorNamesTheURLWithoutItsQuery(t *testing.T) {
	e := endpoint(answers(500, nil, ""))
	e.URL += "?key=" + canary
	_, err := e.Grant(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), tokenURL+":") {
		t.Errorf("error does not name the URL")
	}
	wantNothingOf(t, "the error", fmt.Sprint(err), canary)
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"0", 0}, {"1", time.Second}, {"30", 30 * time.Second}, {"600", 10 * time.Minute},
		{"601", 10 * time.Minute}, {"1000000000", 10 * time.Minute}, {"99999999999999999999", 10 * time.Minute},
		{"-5", 0}, {"-99999999999999999999", 0}, {"soon", 0}, {"1.5", 0}, {"0x10", 0}, {" 30", 0}, {"30 s", 0},
		{at(90 * time.Second), 90 * time.Second}, {at(time.Hour), 10 * time.Minute}, {at(-time.Hour), 0}, {at(0), 0},
		{"Fri, 31 Feb 2026 12:00:00 GMT", 0}, {now.Add(time.Minute).Format(time.RFC3339), 0},
	} {
		if got := parseRetryAfter(tt.value, now); got != tt.want {
			t.Errorf("parseRetryAfter(%q) = %v, want %v", tt.value, got, tt.want)
		}
	}
}

// What an answer says of scopes is printed, so only what was asked for is kept.
func TestEndpoint_KeepsNoScopeThatNobodyAskedFor(t *testing.T) {
	g := newGlobus()
	g.FailTokens(1, emulator.Failure{Status: 200, Body: `{"access_token":"AgEchoed","token_type":"Bearer","expires_in":60,` +
		`"resource_server":"transfer.api.globus.org","scope":"` + emulator.TransferScope + ` AgEchoed c2VjcmV0 \u001b[2J"}`})
	if got := mustToken(t, transferCredential(g)).Scopes; !slices.Equal(got, []string{emulator.TransferScope}) {
		t.Errorf("%d scopes kept, want only the one asked for", len(got))
	}
}

func TestIsAsked_IgnoresDependencies(t *testing.T) {
	asked := []string{"urn:x:all[*https://y/data_access]", "openid"}
	for scope, want := range map[string]bool{"urn:x:all": true, "openid": true, "urn:x": false, "https://y/data_access": false, "": false} {
		if got := isAsked(asked, scope); got != want {
			t.Errorf("isAsked(%q) = %v, want %v", scope, got, want)
		}
	}
}
