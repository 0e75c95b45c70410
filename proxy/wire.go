package proxy

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// minIdle is the shortest that connections are kept for, whatever an upstream says.
const minIdle = 500 * time.Millisecond

// wire is one upstream's connections: a RoundTripper whose errors say, by isUnsent,
// whether the upstream heard of the request.
type wire struct {
	link atomic.Pointer[link]

	mu  sync.Mutex // guards the field below and what is stored in link
	cfg TransportConfig
}

// link is a transport and the pool of its connections; nil where they may be of
// HTTP/2, of which the transport takes care.
type link struct {
	*http.Transport
	pool *pool
}

func newWire(cfg TransportConfig) *wire {
	cfg.Tuning.fill()
	w := &wire{cfg: cfg}
	w.link.Store(newLink(cfg))
	return w
}

func newLink(cfg TransportConfig) *link {
	var p *pool
	if !cfg.Tuning.HTTP2 {
		p = newPool(cfg.Tuning.Idle)
	}
	return &link{newTransport(cfg, p), p}
}

// closeUsed closes the connections that are idle after a request.
func (l *link) closeUsed() {
	if l.pool == nil {
		l.CloseIdleConnections()
		return
	}
	l.pool.closeUsed()
}

// retire closes all that are idle, and for good: those in use close when they are left.
func (l *link) retire() {
	if l.pool == nil {
		l.CloseIdleConnections()
		return
	}
	l.pool.retire()
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	t, followed := follow(req)
	l := w.link.Load()
	resp, err := l.RoundTrip(followed)
	if err != nil {
		t.fail()
		broke := faultOf(err) == faultBroken
		if broke && t.kept {
			l.closeUsed() // the others are as old, and would break under the next attempt
		}
		if !t.connected.Load() || broke && t.sentNothing() || isRefusedCertificate(err) {
			err = &unsentError{err}
		}
		return nil, err
	}
	t.end()
	w.learn(resp)
	return resp, nil
}

// isRefusedCertificate reports whether the upstream turned bearerd's certificate, or
// the lack of one, away. With TLS 1.3 it says so when the request is on its way
// already; without the handshake it has not read it (RFC 8446 §4.4.2.4).
func isRefusedCertificate(err error) bool {
	var alert *net.OpError
	return errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Err.Error(), "certificate")
}

// learn heeds an upstream that announces to close idle connections earlier than
// they would be let go of here: a request that meets its closing is lost, and of
// some nobody could tell. Those opened so far are not used again.
func (w *wire) learn(resp *http.Response) {
	announced := resp.Header["Keep-Alive"]
	if len(announced) == 0 || resp.ProtoMajor != 1 {
		return
	}
	idle, ok := idleOf(announced[0])
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if idle >= w.cfg.Tuning.Idle {
		return
	}
	w.cfg.Tuning.Idle = idle
	w.link.Swap(newLink(w.cfg)).retire()
}

// idleOf is how long a connection may be kept whose server says Keep-Alive:
// timeout=SECONDS: a second less, for the time on the way, or of a long one a fifth.
func idleOf(announced string) (time.Duration, bool) {
	for parameter := range strings.SplitSeq(announced, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "timeout") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16)
		if err != nil || seconds == 0 { // which some mean to be no bound
			return 0, false
		}
		whole := time.Duration(seconds) * time.Second
		return max(whole-max(time.Second, whole/5), minIdle), true
	}
	return 0, false
}

// retire is for a wire that no request will take any more.
func (w *wire) retire() { w.link.Load().retire() }
