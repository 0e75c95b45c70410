package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"bearerd/credentials"
)

func TestRelocate(t *testing.T) {
	for _, tt := range []struct {
		name, base, prefix, location, want string
	}{
		{"a full URL of the upstream", "https://up.example", "/up", "https://up.example/v1/x?q=1#f", "/up/v1/x?q=1#f"},
		{"its default port spelled out", "https://up.example", "/up", "https://up.example:443/x", "/up/x"},
		{"its name in capitals", "https://up.example", "/up", "https://UP.example/x", "/up/x"},
		{"a path", "https://up.example", "/up", "/v1/x%2Fy?q", "/up/v1/x%2Fy?q"},
		{"a network path", "https://up.example", "/up", "//up.example/x", "/up/x"},
		{"the host alone", "https://up.example", "/up", "https://up.example", "/up/"},
		{"the host and a query", "https://up.example", "/up", "https://up.example?q=1", "/up/?q=1"},
		{"below a base path", "https://up.example/v1/", "/up", "https://up.example/v1/x", "/up/x"},
		{"the base path itself", "https://up.example/v1", "/up", "/v1", "/up"},
		{"outside the base path", "https://up.example/v1", "/up", "/v2/x", "https://up.example/v2/x"},
		{"beside the base path", "https://up.example/v1", "/up", "/v10/x", "https://up.example/v10/x"},
		{"on a host route", "https://up.example", "", "https://up.example/x", "/x"},
		{"on a host route, the base itself", "https://up.example/v1", "", "/v1", "https://up.example/v1"},
		{"on a host route, a network path in disguise", "https://up.example/v1", "", "/v1//evil.example/x", "https://up.example/v1//evil.example/x"},
		{"relative", "https://up.example", "/up", "x/y", "x/y"},
		{"a query alone", "https://up.example", "/up", "?page=2", "?page=2"},
		{"another host", "https://up.example", "/up", "https://auth.globus.org/login?x=1", "https://auth.globus.org/login?x=1"},
		{"another port", "https://up.example", "/up", "https://up.example:8443/x", "https://up.example:8443/x"},
		{"another scheme", "https://up.example", "/up", "http://up.example/x", "http://up.example/x"},
		{"with user information", "https://up.example", "/up", "https://me@up.example/x", "https://me@up.example/x"},
		{"no URL", "https://up.example", "/up", "http://%zz", "http://%zz"},
		{"opaque", "https://up.example", "/up", "mailto:me@up.example", "mailto:me@up.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, err := url.Parse(tt.base)
			if err != nil {
				t.Fatal(err)
			}
			if got := (&Upstream{base: base}).relocate(tt.location, tt.prefix); got != tt.want {
				t.Errorf("relocate(%q) = %q, want %q", tt.location, got, tt.want)
			}
		})
	}
}

func TestRelocateThrough(t *testing.T) {
	for _, tt := range []struct{ base, sentTo, location, want string }{
		{"https://up.example", "http://up.example", "https://up.example/v1/x?q=1#f", "http://up.example/v1/x?q=1#f"},
		{"https://up.example", "http://up.example", "https://up.example:443/x", "http://up.example/x"},
		{"https://up.example", "http://up.example:80", "HTTPS://UP.example/x", "http://up.example:80/x"},
		{"https://up.example", "http://up.example", "https://up.example", "http://up.example"},
		{"https://up.example", "http://up.example", "https://up.example?q", "http://up.example?q"},
		{"https://up.example/v1", "http://up.example", "https://up.example/v2/x", "http://up.example/v2/x"},
		{"https://up.example", "https://up.example", "https://up.example/x", "https://up.example/x"},
		{"https://up.example:8443", "http://up.example:8443", "https://up.example:8443/x", "http://up.example:8443/x"},
		{"https://up.example:8443", "http://up.example:8443", "https://up.example/x", "https://up.example/x"},
		{"https://up.example", "http://up.example", "http://up.example/x", "http://up.example/x"},
		{"https://up.example", "http://up.example", "/v1/x%2Fy?q", "/v1/x%2Fy?q"},
		{"https://up.example", "http://up.example", "//up.example/x", "//up.example/x"},
		{"https://up.example", "http://up.example", "x/y", "x/y"},
		{"https://up.example", "http://up.example", "https://me@up.example/x", "https://me@up.example/x"},
		{"https://up.example", "http://up.example", "https://up.example.evil.example/x", "https://up.example.evil.example/x"},
		{"https://up.example", "http://up.example", "https://auth.globus.org/login", "https://auth.globus.org/login"},
		{"https://up.example", "http://up.example", "mailto:me@up.example", "mailto:me@up.example"},
		{"https://up.example", "http://up.example", "http://%zz", "http://%zz"},
	} {
		base, err := url.Parse(tt.base)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&Upstream{base: base}).relocateThrough(tt.location, tt.sentTo); got != tt.want {
			t.Errorf("%s, at %s: relocateThrough(%q) = %q, want %q", tt.base, tt.sentTo, tt.location, got, tt.want)
		}
	}
}

// tripper is a RoundTripper that counts.
type tripper struct {
	asked int
	do    func(*http.Request) (*http.Response, error)
}

func (r *tripper) RoundTrip(req *http.Request) (*http.Response, error) {
	r.asked++
	return r.do(req)
}

func answering(status int) *tripper {
	return &tripper{do: func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}, nil
	}}
}

// TestAuthorize_SendsACredentialOnlyToItsOwnOrigin moves a request that was
// decided on to every wrong place there is, just before it leaves.
func TestAuthorize_SendsACredentialOnlyToItsOwnOrigin(t *testing.T) {
	authorizer, err := credentials.AccessToken(credentials.NewSecret("AgStatic"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		url, host string
		leaves    bool
	}{
		{"https://up.example/x", "", true},
		{"https://up.example:443/x", "", true},
		{"https://UP.example/x", "", true},
		{"https://up.example/x", "up.example", true},
		{"https://up.example/x", "other.example", false},
		{"http://up.example/x", "", false},
		{"https://up.example:8443/x", "", false},
		{"https://up.example.evil.example/x", "", false},
		{"https://evil.example/x", "", false},
		{"https://169.254.169.254/", "", false},
		{"", "", false},
	} {
		next := answering(200)
		req, err := http.NewRequest("GET", tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		x := &Exchange{bound: bound{authorizer: authorizer, origin: "https://up.example:443"}}
		resp, err := authorize{next: next}.RoundTrip(carrying(req, x))
		if resp != nil {
			_ = resp.Body.Close()
		}
		if got := next.asked == 1 && err == nil; got != tt.leaves {
			t.Errorf("to %q with Host %q: left %v (%v), want %v", tt.url, tt.host, got, err, tt.leaves)
		}
	}
}

// carrying is a request as the RoundTrippers get it.
func carrying(req *http.Request, x *Exchange) *http.Request {
	x.in, x.Method = req, req.Method
	x.ctx = context.WithValue(req.Context(), exchangeKey{}, x)
	return req.WithContext(x.ctx)
}

// withExchange is one about which nothing is known.
func withExchange(t *testing.T) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://up.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return carrying(req, &Exchange{})
}

func TestBreaker_IsToldOfPanics(t *testing.T) {
	b := &breaker{&tripper{do: func(*http.Request) (*http.Response, error) { panic("transport") }}, newCircuit()}
	panicked, refused := 0, 0
	for range 2 * breakerMinimum {
		req := withExchange(t)
		func() {
			defer func() {
				if recover() != nil {
					panicked++
				}
			}()
			_, err := b.RoundTrip(req) //nolint:bodyclose // it panics or refuses
			var own *Error
			if errors.As(err, &own) && own.Code == "breaker_open" {
				refused++
			}
		}()
	}
	if panicked != breakerMinimum || refused != breakerMinimum {
		t.Errorf("%d requests panicked and %d were refused, want %d panics to open the breaker for the rest", panicked, refused, breakerMinimum)
	}
}

func TestBreaker_CountsWhatIsTheUpstreamsFault(t *testing.T) {
	for _, tt := range []struct {
		name  string
		next  *tripper
		opens bool
	}{
		{"500 is an answer", answering(500), false},
		{"429 is an answer", answering(429), false},
		{"401 is an answer", answering(401), false},
		{"502", answering(502), true},
		{"503", answering(503), true},
		{"504", answering(504), true},
		{"503 that says when to come back", &tripper{do: func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"1"}}, Body: http.NoBody}, nil
		}}, false},
		{"no answer", &tripper{do: func(*http.Request) (*http.Response, error) { return nil, errors.New("reset") }}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &breaker{tt.next, newCircuit()}
			for range 3 * breakerMinimum {
				req := withExchange(t)
				resp, err := b.RoundTrip(req)
				if err == nil {
					_ = resp.Body.Close()
				}
			}
			if opened := tt.next.asked < 3*breakerMinimum; opened != tt.opens {
				t.Errorf("after %d of %d requests the breaker is open: %v, want %v", tt.next.asked, 3*breakerMinimum, opened, tt.opens)
			}
		})
	}
}

// A listener on every address has no name of its own, and an empty Host is none.
func TestListenerConfig_OwnNames(t *testing.T) {
	for address, want := range map[string]string{
		"localhost:8080": "localhost 127.0.0.1 ::1", ":8080": "", "10.0.0.1:80": "10.0.0.1", "[2001:DB8::1]:80": "2001:db8::1",
	} {
		if got := strings.Join(ListenerConfig{Address: address}.ownNames(), " "); got != want {
			t.Errorf("%s: own names %q, want %q", address, got, want)
		}
	}
}
