package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// maxAnswer bounds what is read of any answer.
const maxAnswer = 1 << 20

const userAgent = "bearerd"

// answer is what came back, read whole.
type answer struct {
	status int
	body   []byte
}

// fetch makes one request, follows no redirect and reads a body of at most
// maxAnswer. Its errors are words about the other side, to follow its name.
func fetch(transport http.RoundTripper, req *http.Request) (answer, error) {
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, errors.New(describe(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, errors.New(describe(err))
	case len(body) > maxAnswer:
		return answer{}, errors.New("answered with more than 1 MiB")
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return answer{}, errors.New("answered with a redirect, which is not followed")
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return answer{status: resp.StatusCode}, errors.New("answered with " + strings.TrimSpace(strconv.Itoa(resp.StatusCode)+" "+http.StatusText(resp.StatusCode)))
	}
	return answer{resp.StatusCode, body}, nil
}

// describe says in fixed words why no answer came: errors of transports quote what
// the other side sent.
func describe(err error) string {
	var (
		dns     *net.DNSError
		op      *net.OpError
		badCert *tls.CertificateVerificationError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "did not answer in time"
	case errors.As(err, &dns):
		return "has a host name that was not found"
	case errors.As(err, &badCert):
		return "has a TLS certificate that is not trusted; check ca"
	case errors.As(err, &op) && op.Op == "dial":
		return "cannot be reached"
	}
	return "broke the connection before it had answered"
}
