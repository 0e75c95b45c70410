package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bearerd/credentials"
	"bearerd/proxy"
)

// TestLinger_NoBodyIsTakenForTheNextRequest answers uploads before their end, in each
// way there is, with the next request right behind the body: it is answered, or the
// connection is at its end. And nothing waits for what will not come.
func TestLinger_NoBodyIsTakenForTheNextRequest(t *testing.T) {
	early := func(status int, closes bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				return
			}
			if closes {
				w.Header().Set("Connection", "close")
			}
			w.WriteHeader(status)
		}
	}
	for _, tt := range []struct {
		name     string
		path     string
		limit    proxy.Limit
		upstream http.HandlerFunc
		status   int
	}{
		{"too long", "/up/a", 1 << 10, early(200, false), 413},
		{"no upstream", "/none", 0, early(200, false), 404},
		{"denied", "/up/secret", 0, early(200, false), 403},
		{"refused by the upstream", "/up/a", 0, early(403, false), 403},
		{"refused by the upstream, which closes", "/up/a", 0, early(413, true), 413},
		{"accepted by the upstream unread", "/up/a", 0, early(200, false), 200},
		{"refused token", "/up/a", 0, early(401, false), 401},
	} {
		for _, size := range []int{100, 100 << 10, 2 << 20} {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %d bytes, chunked %v", tt.name, size, chunked), func(t *testing.T) {
					t.Parallel()
					s := limited(to(t, upstream(t, tt.upstream)), proxy.LimitsConfig{Body: tt.limit})
					s.rules[0].Paths = []string{"/a"}
					r := newRig(t, s)
					conn, err := net.Dial("tcp4", r.addr)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = conn.Close() }()
					_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
					body := "Content-Length: " + fmt.Sprint(size) + "\r\n\r\n" + strings.Repeat("b", size)
					if chunked {
						body = "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, strings.Repeat("b", size))
					}
					var sending sync.WaitGroup
					sending.Go(func() {
						_, _ = io.WriteString(conn, "PUT "+tt.path+" HTTP/1.1\r\nHost: localhost\r\n"+body+"GET /up/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
					})
					in := bufio.NewReader(conn)
					begun := time.Now()
					first := next(t, in)
					if first == nil {
						t.Fatal("the upload was not answered")
					}
					limit := tt.status == 413 && tt.limit > 0 && size <= 1<<10
					if want := tt.status; first.StatusCode != want && !limit {
						t.Errorf("the upload was answered %d, want %d", first.StatusCode, want)
					}
					if second := next(t, in); second != nil && second.StatusCode != 200 {
						t.Errorf("the next request was answered %d", second.StatusCode)
					} else if second == nil && !first.Close {
						t.Error("the connection ended, and nobody had said so")
					}
					if took := time.Since(begun); took > 4*time.Second {
						t.Errorf("it took %v", took)
					}
					sending.Wait()
				})
			}
		}
	}
}

// next reads an answer; nil if the connection is at its end.
func next(t *testing.T, in *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	if err != nil {
		t.Logf("the connection: %v", err)
		return nil
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

// Many uploads whose token is refused at their start cost one renewal, and each is sent
// once.
func TestStream_ManyRefusedAtOnceAreEachSentOnce(t *testing.T) {
	const uploads, size = 40, 2 << 20
	var received, bodies atomic.Int64
	var good atomic.Value
	good.Store("Bearer " + stamped + "1")
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != good.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		received.Add(n)
		bodies.Add(1)
	})
	s := to(t, url)
	s.authorizers["up"] = &renewedOnce{}
	r := newRig(t, s)
	var group sync.WaitGroup
	for range uploads {
		group.Go(func() {
			if got := r.upload(size, false); got.status != 200 {
				t.Errorf("answered %d %s", got.status, got.code())
			}
		})
	}
	group.Wait()
	if received.Load() != uploads*size || bodies.Load() != uploads {
		t.Errorf("the upstream received %d bodies of %d bytes in all, want %d of %d", bodies.Load(), received.Load(), uploads, uploads*size)
	}
}

// renewedOnce is an Authorizer whose first token is refused, by however many.
type renewedOnce struct{ renewed atomic.Bool }

func (a *renewedOnce) Authorize(req *http.Request) (credentials.Token, error) {
	value := stamped + "0"
	if a.renewed.Load() {
		value = stamped + "1"
	}
	static, err := credentials.AccessToken(credentials.NewSecret(value))
	if err != nil {
		return credentials.Token{}, err
	}
	return static.Authorize(req)
}

func (a *renewedOnce) Rejected(credentials.Token) bool {
	a.renewed.Store(true)
	return true
}
