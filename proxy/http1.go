package proxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// http1 is one upstream's connections in HTTP/1: a RoundTripper whose errors say, by
// isUnsent, whether the upstream heard of the request. Each connection is written to
// and read from by who asks. net/http's Transport has two goroutines for each, which
// cost nearly a quarter of all CPU that a request took here; and it closes idle ones by
// a clock that runs on when they are taken, and forgets the answer that it has.
type http1 struct {
	connect func(to *url.URL) (s *socket, over net.Conn, whole *url.URL, err error) // see dialer
	tuning  TuningConfig
	most    int // idle connections that are kept

	mu       sync.Mutex    // guards the fields below
	to       *url.URL      // whose scheme and host they lead to, the first request's
	idle     []*http1Conn  // the one used last is the last
	patience time.Duration // that those are kept for
	timer    *time.Timer   // closes the first of them; nil until there was one
	runs     bool          // the timer
	waiting  []chan arrival
	opening  int // connections that are on the way, as many as wait or more
	retired  bool
}

// arrival is a connection for somebody who waits, or why there is none.
type arrival struct {
	conn *http1Conn
	err  error
}

func newHTTP1(cfg TransportConfig) *http1 {
	return &http1{connect: newDialer(cfg).connect, tuning: cfg.Tuning, most: cfg.Idle, patience: cfg.Tuning.Idle}
}

// errAnotherPlace is that a connection would have been used for another host.
var errAnotherPlace = errors.New("a request was about to leave for another host than its connection's, and was stopped; this is a bug")

func (h *http1) RoundTrip(req *http.Request) (*http.Response, error) {
	err := context.Cause(req.Context()) // they may have left while there was no token
	if err == nil && !isWellFormed(req) {
		err = errIllFormed
	}
	if err != nil {
		closeBody(req)
		return nil, &unsentError{err}
	}
	for {
		c, err := h.take(req)
		if err != nil {
			closeBody(req)
			return nil, &unsentError{err}
		}
		kept := c.used
		resp, err := c.exchange(req)
		if err == nil {
			h.learn(resp)
			return resp, nil
		}
		broke := req.Context().Err() == nil && faultOf(err) == faultBroken
		if broke && kept {
			h.closeUsed() // the others are as old, and would break under the next attempt
		}
		if !(broke && !c.socket.sent.Load() || !kept && isRefusedCertificate(err)) {
			return nil, err
		}
		again, able := rewound(req, kept)
		if !able {
			return nil, &unsentError{err}
		}
		req = again
	}
}

// errIllFormed is that a request would have been another on the wire.
var errIllFormed = errors.New("a request was about to leave that is none in HTTP/1, and was stopped; this is a bug")

// isWellFormed reports whether a request can leave as it is. net/http's writer looks at
// no method, leaves out names of headers that are none, and alters such values.
func isWellFormed(req *http.Request) bool {
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return false
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return false
			}
		}
	}
	return httpguts.ValidHeaderFieldName(req.Method) // it is a token, too
}

// rewound is a request of which nothing was sent, for another connection if the one that
// broke was kept; false if it was new, or if the body is gone.
func rewound(req *http.Request, kept bool) (*http.Request, bool) {
	switch {
	case !kept:
		return nil, false
	case req.Body == nil || req.Body == http.NoBody:
		return req, true
	case req.GetBody == nil:
		return nil, false
	}
	body, err := req.GetBody()
	again := new(http.Request)
	*again = *req
	again.Body = body
	return again, err == nil
}

// take returns a connection for a request: an idle one, one that somebody is done with,
// or a new one.
func (h *http1) take(req *http.Request) (*http1Conn, error) {
	for {
		c, isNew, err := h.next(req)
		if err != nil {
			return nil, err
		}
		if err = c.usable(); err == nil {
			return c, nil
		}
		c.close()
		if isNew {
			return nil, err
		}
		if errors.Is(err, errSpoke) {
			warnOfUnasked(req)
		}
	}
}

// warnOfUnasked has the log tell of an upstream that says what could have been taken for
// the answer to another request.
func warnOfUnasked(req *http.Request) {
	if x, known := req.Context().Value(exchangeKey{}).(*Exchange); known {
		x.Warning = cmp.Or(x.Warning, "the upstream sent an answer that nobody asked for; its connection was closed")
	}
}

// next returns an idle connection, or waits for one.
func (h *http1) next(req *http.Request) (c *http1Conn, isNew bool, err error) {
	h.mu.Lock()
	if h.to == nil {
		h.to = &url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host}
	}
	n := len(h.idle) - 1
	switch {
	case (req.URL.Scheme != h.to.Scheme || req.URL.Host != h.to.Host) && originOf(req.URL) != originOf(h.to):
		err = errAnotherPlace
	case n < 0:
		here := h.queue()
		h.mu.Unlock()
		c, err = h.wait(req.Context(), here)
		return c, err == nil && !c.used, err
	default:
		c = h.idle[n]
		h.idle[n] = nil
		h.idle = h.idle[:n]
	}
	h.mu.Unlock()
	return c, false, err
}

// queue is for who waits for a connection. The caller holds mu. What is opened for one
// outlives the wait, up to the time that it may take: callers with less patience than
// that would never get any.
func (h *http1) queue() (here chan arrival) {
	here = make(chan arrival, 1)
	h.waiting = append(h.waiting, here)
	if h.opening < max(h.most, len(h.waiting)) { // for each his own: another's may have met a lost packet
		h.opening++
		go h.open(h.to) // as long as it takes to connect
	}
	return here
}

// wait waits in the queue.
func (h *http1) wait(ctx context.Context, here chan arrival) (*http1Conn, error) {
	select {
	case got := <-here:
		return got.conn, got.err
	case <-ctx.Done():
	}
	h.mu.Lock()
	h.waiting = slices.DeleteFunc(h.waiting, func(other chan arrival) bool { return other == here })
	h.mu.Unlock()
	select {
	case got := <-here:
		if got.conn != nil {
			h.done(got.conn)
		}
	default:
	}
	return nil, context.Cause(ctx)
}

// open opens a connection for the first who waits.
func (h *http1) open(to *url.URL) {
	s, over, through, err := h.connect(to)
	h.mu.Lock() // once for both: who looks in between would find none on the way
	h.opening--
	if err == nil {
		h.put(newHTTP1Conn(h, s, over, to, through))
		return
	}
	defer h.mu.Unlock()
	if len(h.waiting) > h.opening { // or there is another for each
		h.first() <- arrival{err: err}
	}
}

// done is for who is done with a connection.
func (h *http1) done(c *http1Conn) {
	h.mu.Lock()
	h.put(c)
}

// first is who waits for the longest. The caller holds mu.
func (h *http1) first() chan arrival {
	first := h.waiting[0]
	h.waiting = slices.Delete(h.waiting, 0, 1)
	return first
}

// put gives a connection to who waits for one, or keeps it. The caller holds mu, which is
// let go of.
func (h *http1) put(c *http1Conn) {
	if len(h.waiting) == 0 && (h.retired || len(h.idle) >= h.most) {
		h.mu.Unlock()
		c.close()
		return
	}
	defer h.mu.Unlock()
	c.until = time.Now().Add(h.patience)
	if len(h.waiting) > 0 {
		h.first() <- arrival{conn: c}
		return
	}
	h.idle = append(h.idle, c)
	if !h.runs {
		h.sweepIn(h.patience)
	}
}

// sweepIn has the idle connections looked at then. The caller holds mu.
func (h *http1) sweepIn(d time.Duration) {
	h.runs = true
	if h.timer == nil {
		h.timer = time.AfterFunc(d, h.sweep)
		return
	}
	h.timer.Reset(d)
}

// sweep closes what was idle for long enough.
func (h *http1) sweep() {
	h.mu.Lock()
	now, old := time.Now(), 0
	for old < len(h.idle) && !h.idle[old].until.After(now) {
		old++
	}
	gone := slices.Clone(h.idle[:old])
	h.idle = slices.Delete(h.idle, 0, old)
	h.runs = false
	if len(h.idle) > 0 {
		h.sweepIn(h.idle[0].until.Sub(now))
	}
	h.mu.Unlock()
	closeAll(gone)
}

func closeAll(conns []*http1Conn) {
	for _, c := range conns {
		c.close()
	}
}

// drop closes the idle connections of which that is true.
func (h *http1) drop(of func(*http1Conn) bool) {
	var gone []*http1Conn
	h.mu.Lock()
	h.idle = slices.DeleteFunc(h.idle, func(c *http1Conn) bool {
		drops := of(c)
		if drops {
			gone = append(gone, c)
		}
		return drops
	})
	h.mu.Unlock()
	closeAll(gone)
}

// closeUsed closes the idle connections but those that are new.
func (h *http1) closeUsed() { h.drop(func(c *http1Conn) bool { return c.used }) }

// retire closes the idle connections, and the others as soon as they are left.
func (h *http1) retire() {
	h.mu.Lock()
	h.retired = true
	h.mu.Unlock()
	h.drop(func(*http1Conn) bool { return true })
}

// learn heeds an upstream that announces to close idle connections earlier than they
// would be let go of here: a request that meets its closing is lost, and of some nobody
// could tell.
func (h *http1) learn(resp *http.Response) {
	patience, ok := announcedIdle(resp)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if patience < h.patience {
		for _, c := range h.idle {
			c.until = c.until.Add(patience - h.patience)
		}
		h.patience = patience
		h.sweepIn(0)
	}
}
