package daemon

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// writeIdle is how long a caller may take to let a piece of an answer go out.
	writeIdle = 30 * time.Second
	// writePiece is how long such a piece is at most. With writeIdle it is the least
	// rate at which an answer must be read: some 1 KiB a second.
	writePiece = 32 << 10
	// writeSlack is how much of writeIdle may be missing: to set a deadline with each
	// piece costs more than that is worth.
	writeSlack = time.Second
)

// conn is a caller's connection. One that takes nothing of an answer for writeIdle
// fails, but there is no limit on one that moves.
type conn struct {
	net.Conn
	closed func()                            // told once
	ask    func() (answered func(), ok bool) // asked for each request in HTTP/2
	watch  watch                             // in plain HTTP/1

	once    sync.Once
	mu      sync.Mutex // guards the fields below, and the order of deadlines
	until   time.Time  // of writing, as was asked for; zero: no deadline
	set     time.Time  // the deadline of writing
	idle    bool       // no request is under way
	begun   bool       // something of one was read since it is idle
	leaving bool       // it is to end if none comes
	used    bool       // a request has come
	opened  time.Time  // in HTTP/2
	away    func()     // tells a caller in HTTP/2 to send nothing new; nil in HTTP/1
}

// Read reads. While the connection is leaving, it ends where nothing has come; that
// it was told to in the same moment as something came does not count.
func (c *conn) Read(p []byte) (int, error) {
	if c.watch.replaces(p) {
		return 0, nil
	}
	for {
		n, err := c.Conn.Read(p)
		if !c.again(n, err) {
			return n, err
		}
	}
}

// again notes what was read, and reports whether to try once more.
func (c *conn) again(n int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = c.begun || n > 0
	if !c.leaving || !c.idle || c.begun || !errors.Is(err, os.ErrDeadlineExceeded) || peek(c.Conn) != something {
		return false
	}
	c.leaving = false
	return c.Conn.SetReadDeadline(time.Now().Add(readHeaderTimeout)) == nil
}

// setIdle notes whether a request is under way.
func (c *conn) setIdle(idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = c.used || c.idle && !idle
	c.idle, c.begun, c.leaving = idle, false, false
}

// setStreams notes that it is in HTTP/2, and how its caller is told to send nothing new.
func (c *conn) setStreams(away func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened, c.away = time.Now(), away
}

// goAway tells a caller in HTTP/2 to send nothing new, but for one that has just come:
// its first request may be on its way, and some clients would not send it again.
func (c *conn) goAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away != nil && (c.used || time.Since(c.opened) > readHeaderTimeout) {
		c.away()
	}
}

// leave ends a connection that waits for a request, by ending the wait: closing it
// here could meet one that has just been read. In HTTP/2 the caller is told, and the
// connection ends when what had come by then is answered.
func (c *conn) leave() {
	c.goAway()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle && !c.begun && c.away == nil {
		c.leaving = true
		_ = c.Conn.SetReadDeadline(time.Now()) // fails where Read does
	}
}

// Write writes piece by piece, each with a time of its own, but never beyond the
// deadline that was set.
func (c *conn) Write(p []byte) (n int, err error) {
	for {
		c.roll()
		wrote, err := c.Conn.Write(p[n:min(len(p), n+writePiece)])
		n += wrote
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

func (c *conn) roll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := c.deadline(); c.set.IsZero() || end.Before(c.set) || end.Sub(c.set) > writeSlack {
		_ = c.setWriteDeadline(end) // fails where Write does
	}
}

// deadline returns that of a piece that is written now. The caller holds mu.
func (c *conn) deadline() time.Time {
	end := time.Now().Add(writeIdle)
	if !c.until.IsZero() && c.until.Before(end) {
		return c.until
	}
	return end
}

// setWriteDeadline sets it. The caller holds mu.
func (c *conn) setWriteDeadline(t time.Time) error {
	c.set = t
	return c.Conn.SetWriteDeadline(t)
}

// SetWriteDeadline sets a deadline beside that of each piece. It holds for a Write
// under way, too; taking it back leaves that Write the time of one piece.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.IsZero() && c.until.IsZero() {
		return nil // net/http takes back after each answer what it never set
	}
	c.until = t
	return c.setWriteDeadline(c.deadline())
}

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// CloseWrite tells the caller that nothing more comes. net/http does so before it
// closes, so that what the caller still sends does not take the answer away from it.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the socket, which TLS and this were put around.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Close closes the connection, which then counts no more.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.watch.close()
	c.once.Do(c.closed)
	return err
}
