package proxy

import (
	"net/http"
	"sync"
	"sync/atomic"
)

// http2 is the wire to an upstream that may speak HTTP/2: net/http's Transport, which
// takes HTTP/1 where that is all there is.
type http2 struct {
	transport atomic.Pointer[http.Transport]

	mu  sync.Mutex // guards the field below and what is stored in transport
	cfg TransportConfig
}

func newHTTP2(cfg TransportConfig) *http2 {
	h := &http2{cfg: cfg}
	h.transport.Store(NewTransport(cfg))
	return h
}

func (h *http2) RoundTrip(req *http.Request) (*http.Response, error) {
	t, followed := follow(req)
	transport := h.transport.Load()
	resp, err := transport.RoundTrip(followed)
	if err != nil {
		broke := req.Context().Err() == nil && faultOf(err) == faultBroken
		if broke && t.kept {
			transport.CloseIdleConnections() // the others are as old, and would break under the next attempt
		}
		if !t.connected.Load() || broke && t.sentNothing() || !t.kept && isRefusedCertificate(err) {
			err = &unsentError{err}
		}
		return nil, err
	}
	h.learn(resp)
	return resp, nil
}

// learn heeds an upstream in HTTP/1 that announces to close idle connections earlier
// than they would be let go of here: see http1. Those opened so far are not used again.
func (h *http2) learn(resp *http.Response) {
	idle, ok := announcedIdle(resp)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if idle >= h.cfg.Tuning.Idle {
		return
	}
	h.cfg.Tuning.Idle = idle
	h.transport.Swap(NewTransport(h.cfg)).CloseIdleConnections()
}

func (h *http2) retire() { h.transport.Load().CloseIdleConnections() }
