package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// alertBytes is longer than what TLS writes by itself, such as at the end of a
// connection, and shorter than the head of any request.
const alertBytes = 64

// early is a connection to an upstream that may answer before it has all of a request,
// and close: with 413, say. The transport would give up on the first write that fails,
// whatever there is to be read. Here such a write waits until all that was read.
type early struct {
	net.Conn
	once sync.Once
	over chan struct{} // closed when there is no more to read
	sent atomic.Int64  // writes longer than alertBytes, with one under way
}

func newEarly(c net.Conn) *early { return &early{Conn: c, over: make(chan struct{})} }

func (c *early) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.once.Do(func() { close(c.over) })
	}
	return n, err
}

func (c *early) Write(p []byte) (int, error) {
	if len(p) > alertBytes {
		c.sent.Add(1) // while it is being written, who reads cannot know
	}
	n, err := c.Conn.Write(p)
	if n == 0 && len(p) > alertBytes {
		c.sent.Add(-1)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		timer := time.NewTimer(lastWords)
		defer timer.Stop()
		select {
		case <-c.over:
		case <-timer.C:
		}
	}
	return n, err
}

func (c *early) Close() error {
	c.once.Do(func() { close(c.over) })
	return c.Conn.Close()
}
