package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// idleBody is how long a body may bring nothing, where nobody says otherwise.
	idleBody = 30 * time.Second
	// minRate is how few bytes of a body may come in a second, on average, once
	// slowAfter was spent waiting for it.
	minRate   = 64
	slowAfter = 60 * time.Second
	// expectBytes is how long a body is that an upstream is asked for whether it
	// wants it (RFC 9110 §10.1.1), so that a refused token costs no upload.
	expectBytes = 1 << 20
)

// errBegun is that a body would have to be sent again of which something is gone.
var errBegun = errors.New("the request's body is too long to keep, and was begun")

// stream is a body that is too long to be kept. It is lent to one attempt after the
// other, until one has read of it: from then on nobody else can send it.
type stream struct {
	io.Reader // what was read ahead of it, and then the connection
	x         *Exchange
	left      int64 // bytes it may still have
	expects   bool  // the upstream is asked whether it wants it
	ended     atomic.Bool

	mu    sync.Mutex // guards the fields below
	lent  *loan
	begun bool
}

func newStream(w http.ResponseWriter, r *http.Request, x *Exchange) *stream {
	rest := &idle{Reader: r.Body, connection: http.NewResponseController(w), x: x, patience: x.line.patience}
	return &stream{
		Reader: io.MultiReader(bytes.NewReader(x.body.head), rest), x: x, left: int64(x.line.limits.Body),
		expects: r.ContentLength < 0 || r.ContentLength > expectBytes,
	}
}

// lend gives the body to an attempt, or errBegun.
func (s *stream) lend() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return nil, errBegun
	}
	s.lent = &loan{s}
	return s.lent, nil
}

// reclaim takes the body back from who has it, and reports whether it is untouched.
func (s *stream) reclaim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lent = nil
	return !s.begun
}

func (s *stream) isBegun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// loan is the body in the hands of one attempt.
type loan struct{ *stream }

func (l *loan) Read(p []byte) (int, error) {
	l.mu.Lock()
	mine := l.lent == l
	l.begun = l.begun || mine
	l.mu.Unlock()
	if !mine {
		return 0, errBegun
	}
	n, err := l.Reader.Read(p)
	l.x.sent.Add(int64(n))
	l.left -= int64(n)
	switch {
	case l.left < 0:
		e := l.x.tooLong()
		l.x.fault.CompareAndSwap(nil, e)
		err = e
	case errors.Is(err, io.EOF) && len(l.x.in.Trailer) > 0:
		err = errTrailers // or the upstream would take the message for whole
	}
	if errors.Is(err, io.EOF) {
		l.ended.Store(true)
	} else if err != nil {
		l.x.broken.Store(true)
	}
	return n, err
}

// Close gives it back. What nobody reads of it is left to the server.
func (l *loan) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lent == l {
		l.lent = nil
	}
	return nil
}

var errTrailers = errors.New("the request has trailers, which are not forwarded")

// idle is a body that may bring nothing for so long and no longer, and not next to
// nothing for ever. While nobody reads, since the upstream is slow, no time passes
// for it.
type idle struct {
	io.Reader
	connection *http.ResponseController
	x          *Exchange
	patience   time.Duration

	waited time.Duration
	got    int64
}

func (i *idle) Read(p []byte) (int, error) {
	asked := time.Now()
	i.until(asked.Add(i.patience))
	n, err := i.Reader.Read(p)
	i.until(time.Time{})
	i.waited += time.Since(asked)
	i.got += int64(n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // for which net/http cancels the request, as if the caller had left
		err = i.x.stalls("nothing came of the request's body for " + i.patience.String())
	case err == nil && i.waited > slowAfter && float64(i.got) < minRate*i.waited.Seconds():
		err = i.x.stalls("the request's body comes by fewer than 64 bytes a second")
	}
	return n, err
}

// until sets the connection's deadline, but not once the request has ended: the
// transport may still read then, and the next request has deadlines of its own.
func (i *idle) until(deadline time.Time) {
	i.x.ending.Lock()
	defer i.x.ending.Unlock()
	if !i.x.ended {
		_ = i.connection.SetReadDeadline(deadline) // not every ResponseWriter has a connection
	}
}

// stalls notes that the caller's body does not come.
func (x *Exchange) stalls(detail string) *Error {
	e := &Error{Code: "body_unreadable", Detail: detail, Err: errReadingBody}
	x.fault.CompareAndSwap(nil, e)
	return e
}

// errReadingBody is for the log.
var errReadingBody = errors.New("reading the caller's body")

// refuseLength is for a body that is longer than the upstream's may be. What comes of
// it is not read, and the connection with it at an end.
func (x *Exchange) refuseLength() error {
	x.closes = true
	return x.tooLong()
}

func (x *Exchange) tooLong() *Error {
	return &Error{Code: "body_too_large", Key: "proxy.upstreams.limits.body",
		Detail: "the request's body is longer than " + x.line.limits.Body.String() + ", which is as much as upstream " + x.Upstream + " is sent; to send more, write limits: {body: ...} there"}
}
