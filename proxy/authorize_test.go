package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"bearerd/credentials"
)

// numbered is an Authorizer that has another token each time.
type numbered struct {
	renewable
	n int
}

func (a *numbered) Authorize(req *http.Request) (credentials.Token, error) {
	a.n++
	one, err := credentials.AccessToken(credentials.NewSecret("AgToken" + strconv.Itoa(a.n)))
	if err != nil {
		return credentials.Token{}, err
	}
	return one.Authorize(req)
}

// TestAuthorize_LeavesTheRequestOfAnAttemptAlone, which the transport may still read
// when its answer is here: no other attempt writes to it, whoever makes that.
func TestAuthorize_LeavesTheRequestOfAnAttemptAlone(t *testing.T) {
	var sent []*http.Request
	var headers []http.Header // as they were when they were sent
	transport := roundTripper(func(req *http.Request) (*http.Response, error) {
		sent, headers = append(sent, req), append(headers, req.Header.Clone())
		status := http.StatusUnauthorized
		if len(sent) > 1 {
			status = http.StatusOK
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	})
	req, err := http.NewRequest("GET", "http://up.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	x := &Exchange{line: &Upstream{}, bound: bound{authorizer: &numbered{}, origin: "http://up.example:80"}}
	outbound := carrying(req, x)
	for range 2 { // the second as consent does
		if _, err := (authorize{next: transport}).RoundTrip(outbound); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for i, one := range sent {
		was, is := headers[i].Get("Authorization"), one.Header.Get("Authorization")
		if was != is || seen[was] || !strings.HasPrefix(was, "Bearer ") {
			t.Errorf("attempt %d was sent with %q and has %q now", i, was, is)
		}
		seen[was] = true
	}
	if len(sent) != 3 {
		t.Errorf("%d attempts, want 3", len(sent))
	}
}
