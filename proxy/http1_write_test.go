package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// onTheWire is what a request looks like on the wire: the first line, the header's in
// order, and the body.
func onTheWire(t *testing.T, raw []byte) (first string, header []string, body string) {
	t.Helper()
	head, body, whole := strings.Cut(string(raw), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	if !whole || len(lines) < 2 {
		t.Fatalf("%q is no request", raw)
	}
	slices.Sort(lines[1:])
	return lines[0], lines[1:], body
}

func TestHTTP1_WritesPlainlyWhatNetHTTPWrites(t *testing.T) {
	compared := 0
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		for _, body := range []string{"", "x", strings.Repeat("body", 1000)} {
			for _, target := range []string{"http://up.example", "http://up.example:8080/a%2Fb?c=%20d&e", "http://[::1]:8080/a?", "https://up.example//a;b=c/../d"} {
				for _, header := range []http.Header{
					{},
					{"Authorization": {"Bearer x"}, "Accept": {"a", "b"}, "X-Empty": {""}, "X-None": {}, "User-Agent": {""}},
					{"User-Agent": {"tool/1"}, "Content-Length": {"7"}, "Host": {"other.example"}, "Transfer-Encoding": {"chunked"}, "Trailer": {"X"}, "Content-Type": {"text/plain"}},
				} {
					make := func() *http.Request {
						to, err := url.Parse(target)
						if err != nil {
							t.Fatal(err)
						}
						req := &http.Request{Method: method, URL: to, Header: header.Clone(), Body: http.NoBody}
						if header["User-Agent"] == nil {
							req.Header["User-Agent"] = []string{""} // as ReverseProxy does
						}
						if body != "" {
							sending := &counted{x: &Exchange{}}
							sending.bytes.Reset([]byte(body))
							req.Body, req.ContentLength = sending, int64(len(body))
						}
						return req
					}
					var theirs, ours bytes.Buffer
					if err := make().Write(&theirs); err != nil {
						t.Fatal(err)
					}
					req := make()
					c := &http1Conn{host: plainHost(req.URL, nil), out: bufio.NewWriter(&ours)}
					if !c.isPlain(req) {
						t.Fatalf("%s %s is not written plainly", method, target)
					}
					if err := c.writePlainly(req); err != nil {
						t.Fatal(err)
					}
					first, head, sent := onTheWire(t, ours.Bytes())
					wantFirst, wantHead, wantSent := onTheWire(t, theirs.Bytes())
					if first != wantFirst || !slices.Equal(head, wantHead) || sent != wantSent {
						t.Errorf("wrote\n%s\nwant\n%s", ours.Bytes(), theirs.Bytes())
					}
					compared++
				}
			}
		}
	}
	t.Logf("%d requests written as net/http writes them", compared)
}

func TestHTTP1_WritesOnlyPlainlyWhatItKnows(t *testing.T) {
	to := &url.URL{Scheme: "http", Host: "up.example"}
	c := &http1Conn{host: plainHost(to, nil)}
	for name, req := range map[string]*http.Request{
		"the last of its connection": {URL: to, Close: true},
		"a body of unknown length":   {URL: to, ContentLength: -1},
		"a body in chunks":           {URL: to, TransferEncoding: []string{"chunked"}},
		"trailers":                   {URL: to, Trailer: http.Header{"X": nil}},
		"another Host":               {URL: to, Host: "other.example"},
		"another spelling":           {URL: &url.URL{Scheme: "http", Host: "UP.example"}},
	} {
		if c.isPlain(req) {
			t.Errorf("%s: would be written plainly", name)
		}
	}
	for host, through := range map[string]*url.URL{"bücher.example": nil, "[fe80::1%25eth0]": nil, "up.example": {Scheme: "http", Host: "proxy.example"}} {
		if plainHost(&url.URL{Host: host}, through) != "" {
			t.Errorf("%s, through %v: would be written plainly", host, through)
		}
	}
}

func TestHTTP1_StopsTargetsThatWouldBeTwo(t *testing.T) {
	for _, query := range []string{"a b", "a\r\nX: y", "a\x00", "a\x7f"} {
		var out bytes.Buffer
		to := &url.URL{Scheme: "http", Host: "up.example", Path: "/", RawQuery: query}
		c := &http1Conn{host: "up.example", out: bufio.NewWriter(&out)}
		body := &touched{Reader: strings.NewReader("a body")}
		if err := c.writePlainly(&http.Request{Method: "POST", URL: to, Body: body, ContentLength: 6}); err == nil || out.Len() != 0 || body.closes != 1 {
			t.Errorf("query %q: wrote %q, %v; the body was closed %d times", query, out.Bytes(), err, body.closes)
		}
	}
	var out bytes.Buffer
	c := &http1Conn{host: "up.example", out: bufio.NewWriter(&out)}
	short := &http.Request{Method: "POST", URL: &url.URL{Scheme: "http", Host: "up.example"}, Body: io.NopCloser(strings.NewReader("short")), ContentLength: 10}
	if err := c.writePlainly(short); err == nil || out.Len() != 0 {
		t.Errorf("a body that is too short: wrote %q, %v", out.Bytes(), err)
	}
}
