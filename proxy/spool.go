package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// spoolBytes is how long a body is at most to be read whole before it is sent;
	// such a body can be sent again if the token is refused.
	spoolBytes = 64 << 10
	// spoolTime is how long a caller may take to send such a body, and mibTime how much
	// longer for each MiB that a rule wants to see.
	spoolTime = 30 * time.Second
	mibTime   = 2 * time.Second
	// idleBody is how long a body that streams may bring nothing.
	idleBody = 30 * time.Second
	// budgetBytes is how much of callers' bodies is held at once.
	budgetBytes = 64 << 20
)

// budget is what all requests together may hold of their bodies.
type budget struct{ *semaphore.Weighted }

func newBudget() budget { return budget{semaphore.NewWeighted(budgetBytes)} }

// errBudget is that the budget is spent.
var errBudget = errors.New("the budget for bodies is spent")

// body is a request's body as far as it was read ahead of the upstream.
type body struct {
	head   []byte
	whole  bool // head is all of it
	held   int64
	budget budget
}

// release gives back what it holds, and lets go of it. Nothing reads it any more.
func (b *body) release() {
	b.head = nil
	if b.held > 0 {
		b.budget.Release(b.held)
	}
	b.held = 0
}

// read reads on until the body has ended or more than upto bytes of it are here.
// It returns errBudget where they may not be held.
func (b *body) read(from io.Reader, length, upto int64) error {
	for !b.whole && int64(len(b.head)) <= upto {
		if len(b.head) == cap(b.head) {
			want := min(max(2*int64(cap(b.head)), 4<<10), upto+1)
			if 0 <= length && length < want {
				want = length + 1 // one more, to see the end
			}
			if want > b.held {
				if !b.budget.TryAcquire(want - b.held) {
					return errBudget
				}
				b.held = want
			}
			b.head = append(make([]byte, 0, want), b.head...)
		}
		n, err := from.Read(b.head[len(b.head):cap(b.head)])
		b.head = b.head[:len(b.head)+n]
		switch {
		case errors.Is(err, io.EOF):
			b.whole = true
		case err != nil:
			return err
		}
	}
	return nil
}

// spool reads a body ahead, up to that many bytes; what is longer is left to come.
func spool(w http.ResponseWriter, r *http.Request, x *Exchange, upto int64) error {
	if r.ContentLength == 0 {
		x.body.whole = true
	}
	if x.body.whole || int64(len(x.body.head)) > upto {
		return nil
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(spoolTime + mibTime*time.Duration(upto>>20))) // not every ResponseWriter has a connection
	err := x.body.read(r.Body, r.ContentLength, upto)
	_ = deadline.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, errBudget):
		return err
	case err != nil:
		x.closes = true
		return &Error{Code: "body_unreadable", Detail: "the request's body broke off or its framing is wrong", Err: errors.New("reading the caller's body")}
	case len(x.in.Trailer) > 0:
		x.closes = true
		return ambiguous("the request has trailers, which are not forwarded; send them as headers")
	}
	return nil
}

// withBody returns the request with what was read of its body in front of what was
// not. A body that is here as a whole can be sent again; another is left to
// stream, and will be sent once. A small one that nobody asked for is read whole
// first, so that one that breaks off never reaches the upstream.
func withBody(w http.ResponseWriter, r *http.Request, x *Exchange) (*http.Request, error) {
	if r.ContentLength <= spoolBytes {
		if err := spool(w, r, x, spoolBytes); err != nil && !errors.Is(err, errBudget) {
			return nil, err
		}
	}
	out := new(http.Request) // a copy: the request is the server's own
	*out = *r
	switch {
	case r.ContentLength == 0:
	case !x.body.whole:
		stream(w)
		out.Body = &counted{io.MultiReader(bytes.NewReader(x.body.head), idle{r.Body, http.NewResponseController(w), x}), r.Body, x}
	case len(x.body.head) == 0:
		out.Body, out.ContentLength, out.TransferEncoding = http.NoBody, 0, nil
	default:
		out.GetBody = func() (io.ReadCloser, error) {
			x.sentWhole.Store(false)
			return &counted{bytes.NewReader(x.body.head), nil, x}, nil
		}
		out.Body, _ = out.GetBody()
		out.ContentLength, out.TransferEncoding = int64(len(x.body.head)), nil
	}
	return out, nil
}

// stream lets the body go on after the answer has begun. Without it net/http
// takes up to 256 KiB of the body away before it writes the answer's header, and
// the upstream would see a shorter body that ends well.
func stream(w http.ResponseWriter) { _ = http.NewResponseController(w).EnableFullDuplex() }

// idle is a body that may bring nothing for so long and no longer. While nobody reads,
// since the upstream is slow, no time passes for it.
type idle struct {
	io.Reader
	connection *http.ResponseController
	x          *Exchange
}

func (i idle) Read(p []byte) (int, error) {
	i.until(time.Now().Add(idleBody))
	n, err := i.Reader.Read(p)
	i.until(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		i.x.stalled.Store(true) // for which net/http cancels the request, as if the caller had left
	}
	return n, err
}

// until sets the connection's deadline, but not once the request has ended: the
// transport may still read then, and the next request has deadlines of its own.
func (i idle) until(deadline time.Time) {
	i.x.ending.Lock()
	defer i.x.ending.Unlock()
	if !i.x.ended {
		_ = i.connection.SetReadDeadline(deadline) // not every ResponseWriter has a connection
	}
}

// counted counts what the transport reads of a body, and notes if it breaks off.
type counted struct {
	io.Reader
	stream io.Closer // the body it streams; nil for one that was read whole
	x      *Exchange
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.x.sent.Add(int64(n))
	if err == io.EOF && c.stream == nil {
		c.Reader = http.NoBody // lets go of the bytes, which the answer may outlive
		c.x.sentWhole.Store(true)
	}
	if err == io.EOF && c.stream != nil && len(c.x.in.Trailer) > 0 {
		err = errTrailers // or the upstream would take the message for whole
	}
	if err != nil && err != io.EOF {
		c.x.broken.Store(true)
	}
	return n, err
}

var errTrailers = errors.New("the request has trailers, which are not forwarded")

// Close lets go of a body that streams.
func (c *counted) Close() error {
	if c.stream == nil {
		return nil
	}
	return c.stream.Close()
}
