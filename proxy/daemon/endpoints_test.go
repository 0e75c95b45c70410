package daemon

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"bearerd/credentials"
)

// An issuer may name a token endpoint that the configuration has not seen.
func TestEndpoints_PrivateAddressesAreForClientsThatSaySo(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	to := newEndpoints(nil)
	t.Cleanup(to.closeIdle)
	own, err := ownTransport(nil)(nil, credentials.Secret{}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []http.RoundTripper{to.public, own} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL, nil)
		resp, err := way.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, credentials.ErrAddressRefused) || asked.Load() != 0 {
			t.Errorf("an address on this machine: %v, asked %d times; want it refused", err, asked.Load())
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL, nil)
	resp, err := to.private.RoundTrip(req)
	if err != nil || asked.Load() != 1 {
		t.Fatalf("with private: %v, asked %d times", err, asked.Load())
	}
	_ = resp.Body.Close()
}
