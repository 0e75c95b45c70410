package storetest

import (
	"io"
	"net/http"
	"strings"
)

// answering is a RoundTripper that always answers the same JSON.
type answering string

// RoundTrip is http.RoundTripper's.
func (a answering) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(a))), Request: req,
	}, nil
}
