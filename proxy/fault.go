package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"slices"
	"strings"
)

// fault is what went wrong between here and the upstream, as far as it matters to
// whether the request may be sent again.
type fault int

const (
	faultBroken  fault = iota // the connection broke; the upstream may have done what was asked
	faultUnsent               // nothing of the request left
	faultRefused              // the upstream did not take the request, of whose body something is gone
	faultTimeout              // no answer in time
	faultInvalid              // an answer that is none
)

// faultOf tells what an error of the transport is. What nobody knows is broken:
// of that it is assumed that the upstream may have done what was asked.
func faultOf(err error) fault {
	var (
		timeout  interface{ Timeout() bool }
		protocol textproto.ProtocolError
	)
	switch {
	case errors.Is(err, errBegun):
		return faultRefused
	case isUnsent(err):
		return faultUnsent
	case errors.As(err, &timeout) && timeout.Timeout():
		return faultTimeout
	case errors.As(err, &protocol), slices.ContainsFunc(invalidTexts, func(text string) bool { return strings.Contains(err.Error(), text) }):
		return faultInvalid
	}
	return faultBroken
}

// invalidTexts are in what net/http says of answers that it cannot read, and in no
// type of error: of a status line or a header, framing, and a head that is too long.
var invalidTexts = []string{"malformed", "Content-Length", "transfer encoding", "response headers exceeded", "response header list larger", "header list too large", "1xx informational"}

// unsentDetail says why a request could not even be sent.
func unsentDetail(err error) string {
	var (
		dns     *net.DNSError
		badCert *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &dns):
		return ": its host name was not found; check the network and the url"
	case errors.As(err, &badCert):
		return ": its TLS certificate is not trusted"
	case isRefusedCertificate(err):
		return " refused bearerd's TLS certificate, or wants one; see tls"
	}
	return " cannot be reached; check the network, the url and proxy_url"
}

// mayPass reports whether what kept a request from being sent may be gone in a moment.
func mayPass(err error) bool {
	var (
		dns     *net.DNSError
		badCert *tls.CertificateVerificationError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &dns):
		return !dns.IsNotFound && !dns.IsTimeout
	case errors.Is(err, errAddressRefused), errors.As(err, &badCert), isRefusedCertificate(err), errors.As(err, &timeout) && timeout.Timeout():
		return false
	}
	return true
}
