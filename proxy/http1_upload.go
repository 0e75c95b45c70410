package proxy

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// continueTimeout is how long an upstream may take to say whether it wants a body.
	continueTimeout = time.Second
	// uploadEnd is how long the writer of a request may take to notice its end, once
	// its answer was read.
	uploadEnd = 50 * time.Millisecond
)

// upload is a request that is written while its answer is awaited.
type upload struct {
	wanted chan bool     // has one element once it is known whether the body is; nil: it is
	ended  chan struct{} // closed when the fields below are known
	whole  bool          // all was written
	cut    error         // what writing it failed of
	broke  error         // why the body broke off
}

// want says whether the body is wanted.
func (u *upload) want(wanted bool) {
	if u.wanted == nil {
		return
	}
	select {
	case u.wanted <- wanted:
	default:
	}
}

// isDone reports whether the request was written. It waits a moment for that.
func (u *upload) isDone() bool {
	timer := time.NewTimer(uploadEnd)
	defer timer.Stop()
	select {
	case <-u.ended:
		return u.whole
	case <-timer.C:
		return false
	}
}

// send writes a request while its answer is awaited.
func (c *http1Conn) send(u *upload, req *http.Request) {
	body := &sending{ReadCloser: req.Body, wanted: u.wanted}
	out := new(http.Request)
	*out = *req
	out.Body = body
	var to io.Writer = c.out
	if u.wanted == nil && req.ContentLength > 0 {
		to = together{c.out, body}
	}
	err := c.write(out, to)
	u.whole = err == nil
	switch {
	case u.whole:
		c.socket.hurry(c.pool.tuning.ResponseHeader)
	case errors.Is(body.err, errNotWanted):
	case c.severed != nil:
		u.cut = c.severed // which net/http would wrap beyond recognition
		c.socket.hurry(lastWords)
	default:
		u.broke = cmp.Or(body.err, err)
	}
	close(u.ended)
	if u.broke != nil {
		_ = c.socket.Close() // or the upstream might take what it has for the whole
	}
}

// sending is a body that is read when it is known to be wanted.
type sending struct {
	io.ReadCloser
	wanted chan bool // nil once it is known
	begun  bool
	err    error // what reading it failed of
}

// errNotWanted is that the upstream answered in place of taking the body.
var errNotWanted = errors.New("the upstream does not want the request's body")

func (s *sending) Read(p []byte) (int, error) {
	if s.wanted != nil {
		timer := time.NewTimer(continueTimeout)
		defer timer.Stop()
		select {
		case wanted := <-s.wanted:
			if !wanted {
				s.err = errNotWanted
				return 0, s.err
			}
		case <-timer.C:
			if len(s.wanted) > 0 { // who is late has to look again
				return s.Read(p)
			}
		}
		s.wanted = nil
	}
	s.begun = true
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// together writes a head with the first piece of its body, and each further one as it
// comes. A head that leaves alone may be all that leaves, and of a request whose body was
// not begun it would depend on chance whether it is sent once more.
type together struct {
	out  *bufio.Writer
	body *sending
}

func (t together) Write(p []byte) (int, error) {
	n, err := t.out.Write(p)
	if err == nil && t.body.begun {
		err = t.out.Flush()
	}
	return n, err
}

func (t together) WriteByte(c byte) error { return t.out.WriteByte(c) }

func (t together) WriteString(s string) (int, error) { return t.out.WriteString(s) }
