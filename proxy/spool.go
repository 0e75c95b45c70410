package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// spoolBytes is how long a body is at most to be read whole before anything
	// is decided or sent; such a body can be sent again if the token is refused.
	spoolBytes = 64 << 10
	// spoolTime is how long a caller may take to send such a body.
	spoolTime = 30 * time.Second
)

// spool reads a small body whole, so that one that breaks off never reaches the
// upstream, and returns the request with a body that can be sent again. A larger
// one is left to stream, and will be sent once.
func spool(w http.ResponseWriter, r *http.Request, x *Exchange) (*http.Request, error) {
	if r.ContentLength == 0 {
		return r, nil
	}
	if r.ContentLength > spoolBytes {
		stream(w)
		return withBody(r, counted{r.Body, x}), nil
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(spoolTime)) // not every ResponseWriter has a connection
	head, err := io.ReadAll(io.LimitReader(r.Body, spoolBytes+1))
	_ = deadline.SetReadDeadline(time.Time{})
	if err != nil {
		return r, &Error{Code: "body_unreadable", Detail: "the request's body broke off or its framing is wrong", Err: errors.New("reading the caller's body")}
	}
	if len(head) > spoolBytes {
		stream(w)
		rest := struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), r.Body), r.Body}
		return withBody(r, counted{rest, x}), nil
	}
	x.spooled = head
	out := withBody(r, nil)
	out.GetBody = func() (io.ReadCloser, error) {
		return counted{io.NopCloser(bytes.NewReader(head)), x}, nil
	}
	out.Body, _ = out.GetBody()
	out.ContentLength = int64(len(head))
	out.TransferEncoding = nil
	if len(head) == 0 {
		out.Body, out.GetBody = http.NoBody, nil
	}
	return out, nil
}

// stream lets the body go on after the answer has begun. Without it net/http
// takes up to 256 KiB of the body away before it writes the answer's header, and
// the upstream would see a shorter body that ends well.
func stream(w http.ResponseWriter) { _ = http.NewResponseController(w).EnableFullDuplex() }

// withBody copies the request, which is the server's own, and sets the copy's body.
func withBody(r *http.Request, body io.ReadCloser) *http.Request {
	out := new(http.Request)
	*out = *r
	out.Body = body
	return out
}

// counted counts what the transport reads of a body, and notes if it breaks off.
type counted struct {
	io.ReadCloser
	x *Exchange
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.x.sent.Add(int64(n))
	if err != nil && err != io.EOF {
		c.x.broken.Store(true)
	}
	return n, err
}
