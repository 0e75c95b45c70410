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

// lastWords is how long an answer may take to be read that came before the
// connection broke under the request.
const lastWords = time.Second

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
	body := &http1Body{ReadCloser: resp.Body, begins: resp.ContentLength > 0}
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

// http1Body is the body of an answer.
type http1Body struct {
	io.ReadCloser
	patience time.Duration             // that a read may take; 0: any
	begins   bool                      // what came with the head is not read yet, and the length is known
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
	if b.begins && err == nil && n < len(p) && c.in.Buffered() == 0 {
		b.begins = false
		n, err = b.more(c, p, n)
	}
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

// more adds to the n bytes that p has what is there, too. With the head came no more than
// its buffer has room for; to pass that on alone costs another write to the caller.
func (b *http1Body) more(c *http1Conn, p []byte, n int) (_ int, err error) {
	c.socket.glances = true
	for added := 0; err == nil && n < len(p); n += added {
		added, err = b.ReadCloser.Read(p[n:])
	}
	c.socket.glances = false
	if errors.Is(err, errNothingCame) {
		err = nil
	}
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
