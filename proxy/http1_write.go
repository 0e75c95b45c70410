package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// wholeWrite is how long a body, which is here as a whole, may be to be written by
// who then reads the answer: that much an idle connection takes at once, whether
// anybody reads it or not.
const wholeWrite = 4 << 10

// isWhole reports whether a request can be written at once.
func isWhole(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	_, here := req.Body.(*counted)
	return here && req.ContentLength <= wholeWrite && req.Header.Get("Expect") == ""
}

// writeWhole writes a request whose body is here as a whole, if it fits by one write.
func (c *http1Conn) writeWhole(req *http.Request) error {
	if c.isPlain(req) {
		return c.writePlainly(req)
	}
	return c.write(req, atOnce{c.out})
}

// write writes a request.
func (c *http1Conn) write(req *http.Request, to io.Writer) error {
	write := req.Write
	if c.through != nil {
		write = introduced(req, c.through).WriteProxy
	}
	if err := write(to); err != nil {
		return err
	}
	return c.out.Flush()
}

// introduced is a request as a forward proxy that takes whole URLs wants it: with who
// asks, if its URL says so. The request itself stays, since it may be sent another way
// next.
func introduced(req *http.Request, through *url.URL) *http.Request {
	login := loginOf(through)
	if login == "" {
		return req
	}
	with := new(http.Request)
	*with = *req
	with.Header = req.Header.Clone()
	with.Header.Set("Proxy-Authorization", login)
	return with
}

// atOnce hides from net/http that a writer has a buffer, which it would flush before it
// reads the body.
type atOnce struct{ *bufio.Writer }

// isPlain reports whether a request is one that writePlainly can write.
func (c *http1Conn) isPlain(req *http.Request) bool {
	return req.URL.Host == c.host && (req.Host == "" || req.Host == c.host) &&
		!req.Close && req.ContentLength >= 0 && len(req.TransferEncoding)+len(req.Trailer) == 0
}

// plainHost is what such a request says as Host; "" where there are none, since the host
// would have to be written otherwise, or the whole URL.
func plainHost(to, through *url.URL) string {
	if through != nil || strings.ContainsFunc(to.Host, func(r rune) bool { return r == '%' || r > unicode.MaxASCII }) {
		return ""
	}
	return to.Host
}

// writePlainly writes a request whose body is here as a whole. It does what net/http
// does, which writes more kinds of requests, at less cost.
func (c *http1Conn) writePlainly(req *http.Request) error {
	defer closeBody(req)
	target := req.URL.RequestURI()
	if strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errIllFormed
	}
	c.line(req.Method, " ", target, " HTTP/1.1")
	c.line("Host: ", req.URL.Host)
	if req.ContentLength > 0 || req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
		c.line("Content-Length: ", strconv.FormatInt(req.ContentLength, 10))
	}
	c.headerLines(req.Header)
	c.line()
	if req.ContentLength > 0 {
		if n, err := c.out.ReadFrom(req.Body); err == nil && n != req.ContentLength {
			return fmt.Errorf("the request's body has %d bytes and not %d", n, req.ContentLength)
		}
	}
	return c.out.Flush() // or what failed before
}

// headerLines writes headers but those that are about the message, in order, so that a
// request is the same each time.
func (c *http1Conn) headerLines(h http.Header) {
	names := make([]string, 0, 32)
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		}
		for _, value := range h[name] {
			if value != "" || name != "User-Agent" { // with which ReverseProxy says that there is none
				c.line(name, ": ", value)
			}
		}
	}
}

// line writes a line of a head. That it failed is told by Flush.
func (c *http1Conn) line(parts ...string) {
	for _, part := range parts {
		_, _ = c.out.WriteString(part)
	}
	_, _ = c.out.WriteString("\r\n")
}
