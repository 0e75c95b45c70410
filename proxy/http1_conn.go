package proxy

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// wholeWrite is how long a body, which is here as a whole, may be to be written by
	// who then reads the answer: that much an idle connection takes at once, whether
	// anybody reads it or not.
	wholeWrite = 4 << 10
	// continueTimeout is how long an upstream may take to say whether it wants a body.
	continueTimeout = time.Second
	// lastWords is how long an answer may take to be read that came before the
	// connection broke under the request.
	lastWords = time.Second
	// uploadEnd is how long the writer of a request may take to notice its end, once
	// its answer was read.
	uploadEnd = 50 * time.Millisecond
)

// http1Conn is a connection in HTTP/1 to an upstream. It is one request's at a time,
// until the answer was read to its end.
type http1Conn struct {
	pool    *http1
	socket  *socket
	over    net.Conn // that is spoken over: the socket, or TLS around it
	through *url.URL // the forward proxy that takes whole URLs; nil for none
	host    string   // see plainHost
	in      *bufio.Reader
	out     *bufio.Writer
	headers int   // bytes of an answer's headers that may still come; -1: any
	failed  error // why nothing more can be read
	severed error // why nothing more can be written

	leave func()    // is called when the caller leaves
	used  bool      // by a request
	until time.Time // it may be taken
	taken time.Time // when it was

	// Of the exchange under way:
	req    *http.Request
	closes bool        // it is the last
	upload *upload     // nil if the request was written at once
	stay   func() bool // has leave not called, or reports that it was
	left   atomic.Bool // the caller has
}

// upload is a request that is written while its answer is awaited.
type upload struct {
	wanted chan bool     // has one element once it is known whether the body is; nil: it is
	ended  chan struct{} // closed when the fields below are known
	whole  bool          // all was written
	cut    error         // what writing it failed of
	broke  error         // why the body broke off
}

func newHTTP1Conn(pool *http1, s *socket, over net.Conn, to, through *url.URL) *http1Conn {
	c := &http1Conn{pool: pool, socket: s, over: over, through: through, host: plainHost(to, through)}
	c.in, c.out = bufio.NewReader(reading{c}), bufio.NewWriter(writing{c})
	c.leave = func() {
		c.left.Store(true)
		_ = c.socket.Close() // below TLS, which might wait to say so
	}
	return c
}

// usable is nil if it can be used.
func (c *http1Conn) usable() error {
	c.taken = time.Now()
	if c.taken.Round(0).After(c.until.Round(0)) { // the machine may have slept, which timers do not notice
		return errTooOld
	}
	return c.socket.quiet(c.over)
}

// errTooOld is that a connection was idle for too long.
var errTooOld = errors.New("the connection was idle for too long")

// close closes it. TLS takes leave of the upstream, who may be reading no more.
func (c *http1Conn) close() { _ = c.over.Close() }

// exchange sends a request and returns its answer, whose body is to be closed. The
// connection comes back to the pool when that was read to its end.
func (c *http1Conn) exchange(req *http.Request) (*http.Response, error) {
	c.req, c.closes, c.upload, c.used = req, req.Close, nil, true
	c.socket.sent.Store(false)
	c.stay = context.AfterFunc(req.Context(), c.leave)
	resp, err := c.ask()
	if err != nil {
		c.stay()
		err = c.why(err)
		_ = c.socket.Close() // whoever still writes cannot from now on, nor TLS take leave, which would count as sent
		return nil, err
	}
	c.closes = c.closes || resp.Close || resp.StatusCode < 200
	if resp.Body == http.NoBody {
		c.end()
		return resp, nil
	}
	body := &http1Body{ReadCloser: resp.Body}
	body.conn.Store(c)
	resp.Body = body
	return resp, nil
}

// why is what an exchange failed of.
func (c *http1Conn) why(err error) error {
	if c.left.Load() {
		return context.Cause(c.req.Context())
	}
	if c.upload != nil {
		select {
		case <-c.upload.ended:
			if c.upload.cut != nil && errors.Is(err, os.ErrDeadlineExceeded) { // of lastWords
				return c.upload.cut
			}
			return cmp.Or(c.upload.broke, err)
		default:
		}
	}
	return err
}

// ask writes the request and reads the head of the answer.
func (c *http1Conn) ask() (*http.Response, error) {
	patience := c.pool.tuning.ResponseHeader
	if isWhole(c.req) {
		err := c.writeWhole(c.req)
		if err != nil {
			if !c.socket.sent.Load() {
				return nil, err
			}
			patience = time.Since(c.taken) + lastWords
		}
		c.socket.await(c.taken.Add(patience))
		resp, answerErr := c.answer()
		if err != nil && errors.Is(answerErr, os.ErrDeadlineExceeded) { // of lastWords
			return nil, err
		}
		c.closes = c.closes || err != nil
		return resp, answerErr
	}
	u := &upload{ended: make(chan struct{})}
	if c.req.Header.Get("Expect") != "" {
		u.wanted = make(chan bool, 1)
	}
	c.upload = u
	c.socket.await(time.Time{})
	go c.send(u, c.req) // until the request is written, or the connection closed
	resp, err := c.answer()
	u.want(false) // or it knows already
	return resp, err
}

// isWhole reports whether a request can be written at once.
func isWhole(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	_, here := req.Body.(*counted)
	return here && req.ContentLength <= wholeWrite && req.Header.Get("Expect") == ""
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

// answer reads the head of the answer. Interim ones (1xx) are dropped, within the bound
// on that.
func (c *http1Conn) answer() (*http.Response, error) {
	c.headers = maxResponseHeader
	for {
		resp, err := http.ReadResponse(c.in, c.req)
		if err != nil {
			return nil, cmp.Or(c.failed, err) // a line that breaks off is malformed to net/http, whatever it broke off for
		}
		if resp.StatusCode == http.StatusContinue && c.upload != nil {
			c.upload.want(true)
		}
		if resp.StatusCode < 100 || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			c.headers = -1
			c.socket.within(0)
			return resp, nil
		}
	}
}

// end is for when the answer was read to its end.
func (c *http1Conn) end() {
	if c.in.Buffered() > 0 {
		warnOfUnasked(c.req)
	}
	if !c.stay() || c.closes || c.in.Buffered() > 0 || c.upload != nil && !c.upload.isDone() {
		_ = c.socket.Close() // TLS might wait for who reads no more
		return
	}
	c.socket.within(0)
	c.req, c.upload, c.stay = nil, nil, nil
	c.pool.done(c)
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

// http1Body is the body of an answer.
type http1Body struct {
	io.ReadCloser
	patience time.Duration             // that a read may take; 0: any
	conn     atomic.Pointer[http1Conn] // nil when it was read to its end, or closed
	end      error                     // what every Read returns since then
}

func (b *http1Body) Read(p []byte) (int, error) {
	c := b.conn.Load()
	if c == nil {
		return 0, cmp.Or(b.end, http.ErrBodyReadAfterClose)
	}
	c.socket.within(b.patience)
	n, err := b.ReadCloser.Read(p)
	if err == nil || !b.conn.CompareAndSwap(c, nil) {
		return n, err
	}
	if errors.Is(err, io.EOF) {
		c.end()
	} else {
		c.stay()
		err = c.why(err)
		c.close()
	}
	b.end = err
	return n, err
}

// Close lets go of the connection unless all was read. It may be called during Read,
// which then ends.
func (b *http1Body) Close() error {
	if c := b.conn.Swap(nil); c != nil {
		c.stay()
		return c.socket.Close() // below TLS, whose upstream may be in the middle of a record
	}
	return nil
}

// errHeadersTooLong is that the head of an answer, with all interim ones, is.
var errHeadersTooLong = errors.New("response headers exceeded " + strconv.Itoa(maxResponseHeader) + " bytes")

// reading reads what was received.
type reading struct{ *http1Conn }

func (r reading) Read(p []byte) (n int, err error) {
	switch {
	case r.headers < 0:
		return r.over.Read(p)
	case r.headers == 0:
		err = errHeadersTooLong
	default:
		n, err = r.over.Read(p[:min(len(p), r.headers)])
		r.headers -= n
	}
	if err != nil {
		r.failed = err
	}
	return n, err
}

// writing writes what is to be sent.
type writing struct{ *http1Conn }

func (w writing) Write(p []byte) (int, error) {
	n, err := w.over.Write(p)
	w.severed = cmp.Or(w.severed, err)
	return n, err
}

// ReadFrom sends a body by more at once than a buffer of bufio holds.
func (w writing) ReadFrom(body io.Reader) (int64, error) {
	room := buffers.Get()
	defer buffers.Put(room)
	return io.CopyBuffer(struct{ io.Writer }{w}, body, room)
}
