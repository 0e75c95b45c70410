package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// spoolTime is how long a caller may take to send such a body, and mibTime how much
	// longer for each MiB that a rule wants to see.
	spoolTime = 30 * time.Second
	mibTime   = 2 * time.Second
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
	whole  bool    // head is all of it
	looked bool    // something of it was read ahead
	stream *stream // what it goes by if it is too long to be kept
	held   int64
	budget budget
}

// begun reports whether the caller was asked for it.
func (b *body) begun() bool { return b.looked || b.stream != nil && b.stream.isBegun() }

// isAhead reports whether it has yet to be sent, every byte of it.
func (b *body) isAhead() bool { return b.stream != nil && !b.stream.isBegun() }

// ended reports whether all of it was read.
func (b *body) ended() bool { return b.whole || b.stream != nil && b.stream.ended.Load() }

// release gives back what it holds, and lets go of it. Nothing reads it any more.
func (b *body) release() {
	b.head = nil
	if b.stream != nil {
		b.stream.reclaim()
	}
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
	x.body.looked = true
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(spoolTime + mibTime*time.Duration(upto>>20))) // not every ResponseWriter has a connection
	err := x.body.read(r.Body, r.ContentLength, upto)
	_ = deadline.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, errBudget):
		return err
	case err != nil:
		x.closes = true
		return &Error{Code: "body_unreadable", Detail: "the request's body broke off or its framing is wrong", Err: errReadingBody}
	case len(x.in.Trailer) > 0:
		x.closes = true
		return ambiguous("the request has trailers, which are not forwarded; send them as headers")
	}
	return nil
}

// withBody makes begin's copy of the request into the one that is forwarded, with a
// GetBody that each attempt has its body from. A small body is read whole first, so
// that one that breaks off never reaches the upstream; such a one can be sent again.
// Another is left to stream. One that is too long is refused, where that is known.
func withBody(w http.ResponseWriter, r *http.Request, x *Exchange) (*http.Request, error) {
	limits := x.line.limits
	if r.ContentLength > int64(limits.Body) {
		return nil, x.refuseLength()
	}
	if r.ContentLength <= int64(limits.Spool) {
		if err := spool(w, r, x, int64(limits.Spool)); err != nil && !errors.Is(err, errBudget) {
			return nil, err
		}
	}
	switch {
	case r.ContentLength == 0:
		return r, nil
	case int64(len(x.body.head)) > int64(limits.Body):
		return nil, x.refuseLength()
	case !x.body.whole:
		fullDuplex(w)
		x.body.stream = newStream(w, r, x)
	case len(x.body.head) == 0:
		r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
		return r, nil
	default:
		r.ContentLength, r.TransferEncoding = int64(len(x.body.head)), nil
	}
	r.GetBody = x.openBody
	return r, nil
}

// fullDuplex lets the body go on after the answer has begun. Without it net/http
// takes up to 256 KiB of the body away before it writes the answer's header, and
// the upstream would see a shorter body that ends well.
func fullDuplex(w http.ResponseWriter) { _ = http.NewResponseController(w).EnableFullDuplex() }

// openBody returns the body for an attempt, from its beginning, or errBegun. It is an
// http.Request's GetBody: the transport asks too, before it tries another connection.
func (x *Exchange) openBody() (io.ReadCloser, error) {
	if x.body.stream != nil {
		return x.body.stream.lend()
	}
	x.sentWhole.Store(false)
	c := &x.sending
	if c.x != nil { // an attempt before has it, and may still read
		c = new(counted)
	}
	c.x = x
	c.bytes.Reset(x.body.head)
	return c, nil
}

// canRepeat reports whether the body can be sent once more. If so, no attempt before
// reads it any more.
func (x *Exchange) canRepeat() bool { return x.body.stream == nil || x.body.stream.reclaim() }

// counted is a body that is here as a whole. It counts what the transport reads, which
// must have no other way to read it.
type counted struct {
	bytes bytes.Reader
	x     *Exchange
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.bytes.Read(p)
	c.x.sent.Add(int64(n))
	if c.bytes.Len() == 0 { // the answer may be here before the transport asks for more
		c.bytes.Reset(nil) // lets go of the bytes, which the answer may outlive
		c.x.sentWhole.Store(true)
	}
	return n, err
}

// Close does nothing: it can be opened again.
func (c *counted) Close() error { return nil }
