package battery_test

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"bearerd/test/battery"
	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// forbidden are headers that never arrive, whatever was sent.
var forbidden = []string{
	"Cookie", "Proxy-Authorization", "Forwarded", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Remote-User", "X-Original-Url", "X-Original-Method", "X-Rewrite-Url",
	"Upgrade", "Http2-Settings", "Trailer", "Max-Forwards", "Early-Data", "Proxy-Connection", "Keep-Alive", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "Origin",
}

// forbiddenPrefixes are families of them.
var forbiddenPrefixes = []string{"X-Forwarded-", "X-Remote-", "X-Auth-Request-", "X-Webauth-", "Sec-Fetch-Site", "Sec-Websocket-"}

// violation says what is wrong with a request that arrived, whatever was wanted:
// it is what no request may be.
func violation(a harness.Arrival, ours map[string]bool) error {
	r := a.Request
	if r == nil {
		return errors.New("net/http reads no request in what arrived")
	}
	authorization := r.Header.Values("Authorization")
	if len(authorization) != 1 || !strings.HasPrefix(authorization[0], "Bearer ") || !ours["Bearer "+emulator.Fingerprint(authorization[0][len("Bearer "):])] {
		return fmt.Errorf("it has %d Authorization, and not exactly ours", len(authorization))
	}
	if r.RequestURI != a.Target() || !strings.HasPrefix(a.Line(), r.Method+" ") || strings.Count(a.Line(), " ") != 2 || !strings.HasSuffix(a.Line(), " HTTP/1.1") {
		return fmt.Errorf("the line %q is read as %s %s", a.Line(), r.Method, r.RequestURI)
	}
	raw, _, _ := strings.Cut(a.Target(), "?")
	for decoded, times := raw, 1; times <= 2; times++ {
		if once, err := url.PathUnescape(decoded); err == nil {
			decoded = once
		}
		if seen := leniently(decoded); !battery.Allowed(r.Method, seen) {
			return fmt.Errorf("%s %s is %s when decoded %d times, which no rule allows", r.Method, raw, seen, times)
		}
	}
	if len(r.TransferEncoding) > 0 && r.Header.Get("Content-Length") != "" {
		return errors.New("it has both lengths")
	}
	for name := range r.Header {
		if strings.Contains(name, "_") {
			return fmt.Errorf("it has %s", name)
		}
		for _, prefix := range forbiddenPrefixes {
			if strings.HasPrefix(name, prefix) {
				return fmt.Errorf("it has %s", name)
			}
		}
	}
	for _, name := range forbidden {
		if _, has := r.Header[name]; has {
			return fmt.Errorf("it has %s", name)
		}
	}
	if connection := strings.ToLower(r.Header.Get("Connection")); connection != "" && connection != "close" && connection != "keep-alive" {
		return fmt.Errorf("it has Connection: %s", connection)
	}
	return nil
}

// leniently is a path as the most lenient server resolves it: a backslash is a
// slash, what follows a ";" is none of a segment, dot segments are followed.
func leniently(text string) string {
	segments := strings.Split(strings.ReplaceAll(text, `\`, "/"), "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return path.Clean("/" + strings.Join(segments, "/"))
}

// mismatch says how a request that arrived differs from the one wanted.
func mismatch(a harness.Arrival, want battery.Want) error {
	switch {
	case a.Line() != want.Line:
		return fmt.Errorf("%.200q arrived, want %.200q", a.Line(), want.Line)
	case string(a.Body) != want.Body:
		return fmt.Errorf("a body of %d bytes arrived, want %d: %.100q", len(a.Body), len(want.Body), a.Body)
	}
	head, _, _ := strings.Cut(string(a.Raw), "\r\n\r\n")
	for _, line := range want.Has {
		if !strings.Contains(head+"\r\n", "\r\n"+line+"\r\n") {
			return fmt.Errorf("no header %q arrived", line)
		}
	}
	for _, name := range want.Lacks {
		if _, has := a.Request.Header[name]; has {
			return fmt.Errorf("header %s arrived", name)
		}
	}
	return nil
}
