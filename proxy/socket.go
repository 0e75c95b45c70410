package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// socket is a connection to an upstream in HTTP/1, beneath TLS. It knows whether
// anything of a request was written, and when reading is to end.
type socket struct {
	*outbound
	sent    atomic.Bool // something was written since it was cleared, or is being
	records *records    // of TLS, as they were read; nil without
	glances bool        // reads wait for nothing
	glance  glance

	reading sync.Mutex // guards the fields below and read deadlines
	awaits  bool       // the head of an answer
	due     time.Time  // when reading ends; zero: never
	set     time.Time  // the deadline. It is due or earlier: to move it for each answer costs more than to find once in a while that it was too early
}

func newSocket(out *outbound) *socket {
	s := &socket{outbound: out}
	s.glance.init(out.Conn)
	return s
}

func (s *socket) Write(p []byte) (int, error) {
	before := s.sent.Swap(true) // while it is being written, who reads cannot know
	n, err := s.outbound.Write(p)
	if n == 0 {
		s.sent.Store(before)
	}
	return n, err
}

// await is for when the head of an answer is to be read, until then; zero: there is no
// bound yet.
func (s *socket) await(until time.Time) {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.awaits = true
	s.bound(until)
}

// hurry bounds how long is still waited for the head of an answer that is being read.
func (s *socket) hurry(patience time.Duration) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.awaits {
		s.bound(time.Now().Add(patience))
	}
}

// bound has reading end then; zero: never. The caller holds reading.
func (s *socket) bound(until time.Time) {
	s.due = until
	if until.IsZero() {
		return
	}
	if s.set.IsZero() || s.due.Before(s.set) {
		s.move()
	}
}

// move sets the deadline. The caller holds reading.
func (s *socket) move() {
	s.set = s.due
	_ = s.Conn.SetReadDeadline(s.set) // fails where Read does
}

// SetReadDeadline sets when reading ends, for who has the connection before there is a
// request.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.due, s.set = t, t
	return s.Conn.SetReadDeadline(t)
}

// SetDeadline sets both deadlines.
func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// within is for when the head was read: what is read then has to come within so long;
// 0: there is no bound.
func (s *socket) within(patience time.Duration) {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.awaits = false
	if patience == 0 {
		s.bound(time.Time{})
		return
	}
	s.bound(time.Now().Add(patience))
}

// wasEarly reports whether reading ended before it was due. If so, it may go on.
func (s *socket) wasEarly() bool {
	s.reading.Lock()
	defer s.reading.Unlock()
	if !s.due.IsZero() && !time.Now().Before(s.due) {
		return false
	}
	s.move()
	return true
}

func (s *socket) Read(p []byte) (n int, err error) {
	for {
		if s.glances {
			n, err = s.readNow(p)
		} else {
			n, err = s.Conn.Read(p)
		}
		if s.records != nil {
			s.records.pass(p[:n])
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !s.wasEarly() {
			return n, err
		}
	}
}

// errSpoke is that something came that nobody had asked for: it could be taken for the
// answer to another request.
var errSpoke = errors.New("the upstream spoke before it was asked")

// quiet is nil if a connection, whose socket this is, is open and nothing has come over
// it that was not read. It waits for nothing. What has come is lost.
func (s *socket) quiet(over net.Conn) error {
	var one [1]byte
	s.glances = true
	n, err := over.Read(one[:])
	s.glances = false
	switch {
	case n > 0, s.records != nil && !s.records.between():
		return errSpoke
	case errors.Is(err, errNothingCame):
		return nil
	}
	return err
}

// records knows where those of TLS begin and end (RFC 8446 §5.1). Of one of which half
// has come nobody else would tell.
type records struct {
	head [5]byte
	n    int // bytes of head that have come
	left int // bytes of the record that have not
}

// pass is told what comes.
func (r *records) pass(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left, p = r.left-n, p[n:]
			continue
		}
		n := copy(r.head[r.n:], p)
		r.n, p = r.n+n, p[n:]
		if r.n == len(r.head) {
			r.n, r.left = 0, int(r.head[3])<<8|int(r.head[4])
		}
	}
}

// between reports whether all that came are whole records.
func (r *records) between() bool { return r.n == 0 && r.left == 0 }

// readWithin reads what comes within so long. It returns errNothingCame if nothing
// does.
func (s *socket) readWithin(patience time.Duration, p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	_ = s.Conn.SetReadDeadline(time.Now().Add(patience))
	n, err := s.Conn.Read(p)
	_ = s.Conn.SetReadDeadline(s.set)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNothingCame
	}
	return n, err
}

// errNothingCame has the form of a timeout, after which TLS can be read on.
var errNothingCame error = nothingCame{}

type nothingCame struct{}

func (nothingCame) Error() string   { return "nothing has come" }
func (nothingCame) Timeout() bool   { return true }
func (nothingCame) Temporary() bool { return true }
