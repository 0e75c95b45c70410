package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lastWords is how long an answer may take to be read that came before the connection
// broke under the request.
const lastWords = time.Second

// early is a connection to an upstream that may answer before it has all of a request,
// and close: with 413, say. The transport would give up on the first write that fails,
// whatever there is to be read. Here such a write waits until all that was read.
type early struct {
	net.Conn
	once sync.Once
	over chan struct{} // closed when there is no more to read
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
	n, err := c.Conn.Write(p)
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
