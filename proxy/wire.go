package proxy

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// minIdle is the shortest that connections are kept for, whatever an upstream says.
const minIdle = 500 * time.Millisecond

// wire is one upstream's connections: a RoundTripper whose errors say, by isUnsent,
// whether the upstream heard of the request.
type wire interface {
	http.RoundTripper
	// retire is for a wire that no new request will take: idle connections close, and
	// the others as soon as they are left.
	retire()
}

func newWire(cfg TransportConfig) wire {
	cfg.fill()
	if cfg.Tuning.HTTP2 {
		return newHTTP2(cfg)
	}
	return newHTTP1(cfg)
}

// isRefusedCertificate reports whether the upstream turned bearerd's certificate, or
// the lack of one, away. With TLS 1.3 it says so when the request is on its way
// already; without the handshake it has not read it (RFC 8446 §4.4.2.4).
func isRefusedCertificate(err error) bool {
	var alert *net.OpError
	return errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Err.Error(), "certificate")
}

// announcedIdle is how long a connection may be kept by what an answer in HTTP/1 says of
// that, if it says anything.
func announcedIdle(resp *http.Response) (time.Duration, bool) {
	announced := resp.Header["Keep-Alive"]
	if len(announced) == 0 || resp.ProtoMajor != 1 {
		return 0, false
	}
	return idleOf(announced[0])
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
