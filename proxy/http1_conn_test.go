package proxy

import (
	"bufio"
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/test/harness"
)

const (
	up   = "http://up.example/"
	okay = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nokay"
)

// headOf is the head of an answer that is so long.
func headOf(length int) string {
	begin, end := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Long: ", "\r\n\r\n"
	return begin + strings.Repeat("x", length-len(begin)-len(end)) + end
}

func TestHTTP1_HeadsOfAnswersHaveABoundInAll(t *testing.T) {
	hints := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 1000)
	for _, tt := range []struct {
		name, answer string
		passes       bool
	}{
		{"of one", headOf(maxResponseHeader) + "okay", true},
		{"of one that is a byte longer", headOf(maxResponseHeader+1) + "okay", false},
		{"after others", hints + headOf(maxResponseHeader-len(hints)) + "okay", true},
		{"after others, a byte longer", hints + headOf(maxResponseHeader-len(hints)+1) + "okay", false},
		{"without an end", "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 2*maxResponseHeader), false},
		{"in the status", "HTTP/1.1 200 " + strings.Repeat("x", 2*maxResponseHeader), false},
		{"of others without an end", strings.Repeat(hints, 10), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, accepted := serving(t, answerTo(func(*http.Request) string { return tt.answer }))
			w := made(t, TransportConfig{Private: true})
			for n := range 2 { // the second has a bound of its own
				status, body, err := told(w, asking(t, "GET", "http://"+address+"/", nil))
				switch {
				case tt.passes && (status != 200 || body != "okay" || err != nil || accepted.Load() != 1):
					t.Errorf("%d %q, %v, on %d connections", status, body, err, accepted.Load())
				case !tt.passes && (faultOf(err) != faultInvalid || int(accepted.Load()) != n+1):
					t.Errorf("%d, %v, on %d connections, want it refused", status, err, accepted.Load())
				}
			}
		})
	}
}

func TestHTTP1_WhatComesBeforeTheAnswerIsDropped(t *testing.T) {
	address, accepted := serving(t, answerTo(func(r *http.Request) string {
		if r.URL.Path == "/switch" {
			return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
		}
		return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Hint: a\r\n\r\n" + okay
	}))
	w := made(t, TransportConfig{Private: true})
	for _, method := range []string{"GET", "POST"} {
		resp, err := w.RoundTrip(asking(t, method, "http://"+address+"/", strings.NewReader("a body")))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || string(body) != "okay" || resp.Header.Get("X-Hint") != "" || err != nil || accepted.Load() != 1 {
			t.Errorf("%s: %d %q %v, %v", method, resp.StatusCode, body, resp.Header, err)
		}
		_ = resp.Body.Close()
	}
	if status, body, err := told(w, asking(t, "GET", "http://"+address+"/switch", nil)); status != 101 || body != "" || err != nil {
		t.Errorf("other protocols: %d %q, %v", status, body, err)
	}
	if status, _, err := told(w, asking(t, "GET", "http://"+address+"/", nil)); status != 200 || err != nil || accepted.Load() != 2 {
		t.Errorf("after other protocols: %d, %v, on %d connections, want another", status, err, accepted.Load())
	}
}

// dribbled is a body that comes by a byte a second, for so many seconds.
type dribbled struct{ left int }

func (d *dribbled) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Second)
	d.left--
	return copy(p, "x"), nil
}

// The deadline is rarely moved, but is exact.
func TestHTTP1_TheTimeForAnAnswerIsExact(t *testing.T) {
	const patience = 10 * time.Second
	for _, exchanges := range []int{0, 1, 7, 300} {
		for _, silent := range []string{"GET", "POST", "upload"} {
			t.Run(fmt.Sprintf("%s after %d", silent, exchanges), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, opened := piped(t, TuningConfig{ResponseHeader: patience}, func(c net.Conn) {
						_ = conversed(c, func(r *http.Request) string {
							wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
							time.Sleep(wait)
							return okay
						})
					})
					ask := func(method string, wait time.Duration) (uploads time.Duration, err error) {
						req := asking(t, method, up+"?wait="+wait.String(), nil)
						switch method {
						case "POST":
							req.Body, req.ContentLength = small("a body"), 6
						case "upload": // for longer than an answer may take
							uploads = 3 * patience
							req.Method, req.Body = "POST", io.NopCloser(&dribbled{int(uploads / time.Second)})
						}
						_, _, err = told(w, req)
						return uploads, err
					}
					for n := range exchanges {
						time.Sleep(time.Duration(n%17) * time.Second)
						method := []string{"GET", "POST", "upload"}[n%3]
						if _, err := ask(method, patience*time.Duration(n%11)/11); err != nil {
							t.Fatalf("the exchange %d, by %s: %v", n, method, err)
						}
					}
					begun := time.Now()
					uploads, err := ask(silent, time.Hour)
					if took := time.Since(begun); took != uploads+patience || faultOf(err) != faultTimeout || opened() != 1 {
						t.Errorf("%v after %v, on %d connections; want a timeout after %v", err, took, opened(), uploads+patience)
					}
				})
			})
		}
	}
}

func TestHTTP1_ReadingABodyHasNoBoundHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened := piped(t, TuningConfig{ResponseHeader: 10 * time.Second}, func(c net.Conn) {
			in := bufio.NewReader(c)
			for {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				time.Sleep(9 * time.Second)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
				for range 10 {
					time.Sleep(time.Minute)
					_, _ = io.WriteString(c, "x")
				}
			}
		})
		for range 2 {
			begun := time.Now()
			_, body, err := told(w, asking(t, "GET", up, nil))
			if took := time.Since(begun); body != "xxxxxxxxxx" || err != nil || took != 10*time.Minute+9*time.Second || opened() != 1 {
				t.Errorf("%q, %v, after %v on %d connections", body, err, took, opened())
			}
		}
	})
}

// What comes first is all that is there, and not as much as comes with the head: each
// piece costs a write to the caller.
func TestHTTP1_TheFirstOfAnAnswerIsAllThatIsThere(t *testing.T) {
	authority := harness.NewAuthority(t)
	secured := &tls.Config{Certificates: []tls.Certificate{authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})}}
	const whole, first = 20_000, 12_000
	all := make([]byte, whole)
	_, _ = cryptorand.Read(all)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", whole)
	for _, scheme := range []string{"http", "https"} {
		for _, tt := range []struct {
			name    string
			there   int
			then    func(over, socket net.Conn)
			wantEnd error
			want    int
		}{
			{"and the rest comes later", first, func(over, _ net.Conn) { _, _ = over.Write(all[first:]) }, nil, whole},
			{"and no more comes", first, func(over, _ net.Conn) { _ = over.Close() }, io.ErrUnexpectedEOF, first},
			{"which is the whole of it", whole, nil, nil, whole},
		} {
			t.Run(scheme+" "+tt.name, func(t *testing.T) {
				config := secured
				if scheme == "http" {
					config = nil
				}
				address, tell, _ := spoiling(t, config, head+string(all[:tt.there]), "", tt.then)
				w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}})
				resp, err := w.RoundTrip(asking(t, "GET", scheme+"://"+address+"/", nil))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				room := make([]byte, 32<<10)
				n, err := resp.Body.Read(room) // which waits for nothing, or this takes for ever
				if least := 8 << 10; n < least || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("first %d bytes (%v), want %d at the least", n, err, least)
				}
				tell()
				rest, err := io.ReadAll(resp.Body)
				got := append(room[:n], rest...)
				if !errors.Is(err, tt.wantEnd) || !bytes.Equal(got, all[:tt.want]) {
					t.Errorf("in all %d bytes (%v), want %d (%v)", len(got), err, tt.want, tt.wantEnd)
				}
			})
		}
	}
}

// stalled is a body that has some bytes, and then none for long.
func stalled() io.ReadCloser {
	return io.NopCloser(io.MultiReader(strings.NewReader("some"), &dribbled{1000}))
}

func TestHTTP1_WhoLeavesEndsTheirConnectionAlone(t *testing.T) {
	errLeft := errors.New("left")
	silent := func(c net.Conn, _ <-chan struct{}) { _, _ = io.Copy(io.Discard, c) }
	deaf := func(_ net.Conn, left <-chan struct{}) { <-left }
	half := func(c net.Conn, _ <-chan struct{}) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, okay[:len(okay)-2])
		}
	}
	whole := func() io.ReadCloser { return small("a body") }
	none := func() io.ReadCloser { return http.NoBody }
	for _, tt := range []struct {
		name  string
		does  func(c net.Conn, left <-chan struct{}) // the upstream, until the caller leaves
		body  func() io.ReadCloser
		heads bool // the caller has the head of the answer
	}{
		{"writing", deaf, none, false},
		{"writing a whole body", deaf, whole, false},
		{"writing a stream", deaf, stalled, false},
		{"waiting for the answer", silent, none, false},
		{"waiting for the answer to a whole body", silent, whole, false},
		{"waiting for the answer to a stream", silent, stalled, false},
		{"reading the answer", half, none, true},
		{"reading the answer to a stream", half, stalled, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Time, 1)
				ctx, leave := context.WithCancelCause(t.Context())
				var conns atomic.Int32
				w, opened := piped(t, TuningConfig{}, func(c net.Conn) {
					if conns.Add(1) <= 2 {
						_ = conversed(c, func(*http.Request) string { time.Sleep(time.Second); return okay })
						return
					}
					tt.does(c, ctx.Done())
					_, _ = io.Copy(io.Discard, c)
					ended <- time.Now()
				})
				var others sync.WaitGroup
				ask := func() {
					others.Go(func() {
						if _, _, err := told(w, asking(t, "GET", up, nil)); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				ask()
				ask() // both are done before the third leaves
				req := asking(t, "POST", up, nil).WithContext(ctx)
				if req.Body = tt.body(); req.Body != http.NoBody {
					req.ContentLength = 6
				}
				begun := time.Now()
				time.AfterFunc(5*time.Second, func() { leave(errLeft) })
				status, _, err := told(w, req)
				if took := time.Since(begun); !errors.Is(err, errLeft) || isUnsent(err) || (status == 200) != tt.heads || took != 5*time.Second {
					t.Errorf("%d, %v, after %v, unsent %v; want the cause after 5s", status, err, took, isUnsent(err))
				}
				if at := <-ended; at.Sub(begun) != 5*time.Second {
					t.Errorf("the upstream's connection ended after %v", at.Sub(begun))
				}
				ask()
				ask()
				others.Wait()
				if opened() != 3 {
					t.Errorf("%d connections, want 3: those of others are kept", opened())
				}
				time.Sleep(time.Hour) // for who reads the body
			})
		})
	}
}

func TestHTTP1_AnExchangeThatFailsEndsItsConnection(t *testing.T) {
	const patience = 10 * time.Second
	for _, tt := range []struct{ name, answer string }{
		{"no answer", ""},
		{"half a head", "HTTP/1.1 200 OK\r\nX-"},
		{"a head that is none", "nonsense\r\n\r\n"},
		{"a chunk that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nokay\r\nnonsense\r\n"},
	} {
		for _, body := range []io.ReadCloser{http.NoBody, small("a body"), io.NopCloser(strings.NewReader("a body"))} {
			t.Run(fmt.Sprintf("%s, %T", tt.name, body), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ended := make(chan time.Time, 1)
					w, _ := piped(t, TuningConfig{ResponseHeader: patience}, func(c net.Conn) {
						in := bufio.NewReader(c)
						req, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						_, _ = io.Copy(io.Discard, req.Body)
						_, _ = io.WriteString(c, tt.answer)
						_, _ = io.Copy(io.Discard, in)
						ended <- time.Now()
					})
					req := asking(t, "POST", up, nil)
					if req.Body = body; body != http.NoBody {
						req.ContentLength = 6
					}
					begun := time.Now()
					if _, _, err := told(w, req); err == nil || isUnsent(err) || len(w.idle) != 0 {
						t.Errorf("%v, unsent %v; %d connections are kept", err, isUnsent(err), len(w.idle))
					}
					if at := <-ended; at.Sub(begun) > patience {
						t.Errorf("the connection ended after %v", at.Sub(begun))
					}
				})
			})
		}
	}
}

// halfway is an upstream that answers with the beginning of a body, and reports when its
// connection ends.
func halfway(t *testing.T) (w *http1, ended chan struct{}) {
	ended = make(chan struct{}, 1)
	w, _ = piped(t, TuningConfig{}, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome")
			_, _ = io.Copy(io.Discard, c)
			ended <- struct{}{}
		}
	})
	return w, ended
}

func TestHTTP1_ABodyThatIsClosedWhileItIsReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ended := halfway(t)
		resp, err := w.RoundTrip(asking(t, "GET", up, nil))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { _ = resp.Body.Close() })
		body, err := io.ReadAll(resp.Body)
		if string(body) != "some" || err == nil {
			t.Errorf("%q, %v; want an error", body, err)
		}
		<-ended
		if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("after that: %d, %v; want an error that is no end", n, err)
		}
		if err := resp.Body.Close(); err != nil || len(w.idle) != 0 {
			t.Errorf("closed again: %v; %d connections are kept", err, len(w.idle))
		}
	})
}

func TestHTTP1_WhoHasReadABodyHasNothingMoreOfItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, opened := piped(t, TuningConfig{}, func(c net.Conn) {
			_ = conversed(c, func(*http.Request) string { time.Sleep(time.Second); return okay })
		})
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		before, err := w.RoundTrip(asking(t, "GET", up, nil).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(before.Body); string(body) != "okay" || err != nil {
			t.Fatalf("%q, %v", body, err)
		}
		for range 2 {
			resp, err := w.RoundTrip(asking(t, "GET", up, nil))
			if err != nil {
				t.Fatal(err)
			}
			leave()
			n, readErr := before.Body.Read(make([]byte, 1))
			if err := before.Body.Close(); n != 0 || readErr == nil || err != nil {
				t.Errorf("of the answer before: %d, %v, %v", n, readErr, err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "okay" || err != nil || opened() != 1 {
				t.Errorf("%q, %v, on %d connections, want 1", body, err, opened())
			}
			_ = resp.Body.Close()
		}
	})
}

// written is a connection that tells what each Write writes.
type written struct {
	net.Conn
	mu   sync.Mutex // guards the field below
	each [][]byte
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.each = append(w.each, bytes.Clone(p))
	w.mu.Unlock()
	return w.Conn.Write(p)
}

// writtenBy is a wire, and what is written by its one connection.
func writtenBy(t *testing.T) (w *http1, says *written) {
	w, _ = piped(t, TuningConfig{}, answerTo(func(*http.Request) string { return okay }))
	says = new(written)
	connect := w.connect
	w.connect = func(to *url.URL) (*socket, net.Conn, *url.URL, error) {
		s, over, through, err := connect(to)
		says.Conn = s.Conn
		s.outbound.Conn = says
		return s, over, through, err
	}
	return w, says
}

// Of a request whose head alone had left it would depend on chance whether it may be sent
// once more.
func TestHTTP1_NoHeadLeavesWithoutItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, says := writtenBy(t)
		body, comes := io.Pipe()
		req := asking(t, "POST", up, body)
		req.ContentLength = 11
		var asked sync.WaitGroup
		asked.Go(func() {
			if _, _, err := told(w, req); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if len(says.each) != 0 {
			t.Errorf("%q left before the body came", says.each)
		}
		for i, piece := range []string{"first", "second"} {
			_, _ = io.WriteString(comes, piece)
			synctest.Wait()
			if len(says.each) != i+1 || !bytes.HasSuffix(says.each[i], []byte(piece)) {
				t.Fatalf("%q left when %q had come", says.each, piece)
			}
		}
		_ = comes.Close()
		asked.Wait()
	})
}

func TestHTTP1_SmallRequestsLeaveInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, says := writtenBy(t)
		for _, body := range []string{"", "x", strings.Repeat("x", 2000)} {
			req := asking(t, "POST", up, nil)
			if body != "" {
				req.Body, req.ContentLength = small(body), int64(len(body))
			}
			says.each = nil
			if _, _, err := told(w, req); err != nil {
				t.Fatal(err)
			}
			if len(says.each) != 1 || !bytes.HasSuffix(says.each[0], []byte("\r\n\r\n"+body)) {
				t.Errorf("a body of %d bytes left in %d writes, want 1", len(body), len(says.each))
			}
		}
	})
}

func TestHTTP1_ChunksLeaveAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan string)
		w, _ := piped(t, TuningConfig{}, func(c net.Conn) {
			in := bufio.NewReader(c)
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				got <- fmt.Sprint(req.TransferEncoding)
				for err == nil {
					var n int
					piece := make([]byte, 100)
					n, err = req.Body.Read(piece)
					got <- string(piece[:n])
				}
				_, _ = io.WriteString(c, okay)
			}
		})
		body, pieces := io.Pipe()
		var asked sync.WaitGroup
		asked.Go(func() {
			if _, _, err := told(w, asking(t, "POST", up, body)); err != nil {
				t.Error(err)
			}
		})
		if head := <-got; head != "[chunked]" { // before there is any of the body
			t.Errorf("the upload's encoding is %s", head)
		}
		for n := range 5 {
			piece := fmt.Sprint("piece ", n)
			_, _ = io.WriteString(pieces, piece)
			if arrived := <-got; arrived != piece {
				t.Errorf("%q arrived, want %q", arrived, piece)
			}
		}
		_ = pieces.Close()
		if end := <-got; end != "" {
			t.Errorf("%q at the end", end)
		}
		asked.Wait()
	})
}

func TestHTTP1_UploadsArriveWhole(t *testing.T) {
	content := make([]byte, 10<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content)
	address, accepted := serving(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			sum := sha256.New()
			n, err := io.Copy(sum, req.Body)
			got := fmt.Sprintf("%d %x %v", n, sum.Sum(nil), err)
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(got), got)
		}
	})
	w := made(t, TransportConfig{Private: true})
	for _, size := range []int{1, 4095, 4096, 4097, 32 << 10, 1<<20 + 1, len(content)} {
		want := fmt.Sprintf("%d %x <nil>", size, sha256.Sum256(content[:size]))
		for _, chunked := range []bool{false, true} {
			req := asking(t, "PUT", "http://"+address+"/", struct{ io.Reader }{bytes.NewReader(content[:size])})
			if !chunked {
				req.ContentLength = int64(size)
			}
			if _, got, err := told(w, req); got != want || err != nil || accepted.Load() != 1 {
				t.Errorf("of %d bytes, chunked %v, arrived %s, %v, on %d connections", size, chunked, got, err, accepted.Load())
			}
		}
		if size > wholeWrite {
			continue
		}
		req := asking(t, "PUT", "http://"+address+"/", nil)
		req.Body, req.ContentLength = small(string(content[:size])), int64(size)
		if _, got, err := told(w, req); got != want || err != nil || accepted.Load() != 1 {
			t.Errorf("of %d bytes at once arrived %s, %v, on %d connections", size, got, err, accepted.Load())
		}
	}
}

func TestHTTP1_ABodyThatFailsIsNoWholeMessage(t *testing.T) {
	errBody := errors.New("the body broke")
	for _, length := range []int64{-1, 100, 1 << 20} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := make(chan error, 1)
				w, _ := piped(t, TuningConfig{}, func(c net.Conn) {
					req, err := http.ReadRequest(bufio.NewReader(c))
					if err != nil {
						return
					}
					_, err = io.Copy(io.Discard, req.Body)
					got <- err
					_, _ = io.WriteString(c, okay) // it may not be heard
				})
				body := io.MultiReader(strings.NewReader("some of it"), &dribbled{3}, failingBody{errBody})
				req := asking(t, "POST", up, struct{ io.Reader }{body})
				req.ContentLength = length
				if status, _, err := told(w, req); !errors.Is(err, errBody) || isUnsent(err) || len(w.idle) != 0 {
					t.Errorf("%d, %v, unsent %v, %d connections are kept; want the body's error", status, err, isUnsent(err), len(w.idle))
				}
				if err := <-got; !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("the upstream's message ended by %v, want it broken", err)
				}
			})
		})
	}
}

type failingBody struct{ error }

func (f failingBody) Read([]byte) (int, error) { return 0, f.error }

// steady is a body that goes on.
type steady struct{}

func (steady) Read(p []byte) (int, error) { time.Sleep(time.Millisecond); return len(p), nil }
func (steady) Close() error               { return nil }

// An upload need not end for its answer to be heard.
func TestHTTP1_AnAnswerInTheMiddleOfAnUploadIsHeard(t *testing.T) {
	const big = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n"
	for _, tt := range []struct {
		name, header string
		body         func() io.ReadCloser
	}{
		{"that goes on", "\r\nbig", func() io.ReadCloser { return steady{} }},
		{"that goes on, and the connection closes", "Connection: close\r\n\r\nbig", func() io.ReadCloser { return steady{} }},
		{"that stalls", "\r\nbig", stalled},
		{"that stalls, and the connection closes", "Connection: close\r\n\r\nbig", stalled},
	} {
		for _, length := range []int64{-1, 1 << 40} {
			t.Run(fmt.Sprint(tt.name, " ", length), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ended := make(chan struct{}, 1)
					var conns atomic.Int32
					w, opened := piped(t, TuningConfig{}, func(c net.Conn) {
						if conns.Add(1) > 1 {
							_ = conversed(c, func(*http.Request) string { return okay })
							return
						}
						if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
							return
						}
						_, _ = io.WriteString(c, big+tt.header)
						_, _ = io.Copy(io.Discard, c)
						ended <- struct{}{}
					})
					req := asking(t, "POST", up, nil)
					req.Body, req.ContentLength = tt.body(), length
					begun := time.Now()
					status, body, err := told(w, req)
					<-ended                                                                                                           // or the upload would go on
					if took := time.Since(begun); status != 413 || body != "big" || err != nil || took > uploadEnd+time.Millisecond { // for the first of the body
						t.Errorf("%d %q, %v; the connection ended after %v", status, body, err, took)
					}
					if status, body, err := told(w, asking(t, "GET", up, nil)); status != 200 || body != "okay" || err != nil || opened() != 2 {
						t.Errorf("the next: %d %q, %v, on %d connections, want another", status, body, err, opened())
					}
					time.Sleep(time.Hour) // for who reads the body
				})
			})
		}
	}
}

func TestHTTP1_ABodyThatHasToBeWantedWaits(t *testing.T) {
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	refusal := func(status string) string { return "HTTP/1.1 " + status + "\r\nContent-Length: 2\r\n\r\nno" }
	for _, tt := range []struct {
		name, first string // what the upstream says before it has the body, after so long
		after       time.Duration
		status      int
		body        string
		waited      time.Duration // before the body was read; 0: at once
		reads       bool
	}{
		{"wanted", goOn, 0, 200, "a body", 0, true},
		{"wanted, in time", goOn, 900 * time.Millisecond, 200, "a body", 900 * time.Millisecond, true},
		{"wanted, after others", "HTTP/1.1 103 Early Hints\r\n\r\n" + goOn, 500 * time.Millisecond, 200, "a body", 500 * time.Millisecond, true},
		{"refused by 417", refusal("417 Expectation Failed"), 0, 417, "no", 0, false},
		{"refused by 413", refusal("413 Too Large"), 500 * time.Millisecond, 413, "no", 0, false},
		{"of which nothing is said", "", 0, 200, "a body", time.Second, true},
	} {
		for _, length := range []int64{-1, 6} {
			t.Run(fmt.Sprint(tt.name, " ", length), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, opened := piped(t, TuningConfig{}, func(c net.Conn) {
						in := bufio.NewReader(c)
						for {
							req, err := http.ReadRequest(in)
							if err != nil {
								return
							}
							if req.Header.Get("Expect") != "" {
								time.Sleep(tt.after)
								_, _ = io.WriteString(c, tt.first)
							}
							body, err := io.ReadAll(req.Body)
							if err != nil {
								return
							}
							_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
						}
					})
					body := &when{Reader: strings.NewReader("a body")}
					req := asking(t, "POST", up, body)
					req.ContentLength = length
					req.Header.Set("Expect", "100-continue")
					begun := time.Now()
					status, got, err := told(w, req)
					if status != tt.status || got != tt.body || err != nil {
						t.Errorf("%d %q, %v", status, got, err)
					}
					if body.first.IsZero() == tt.reads || tt.reads && body.first.Sub(begun) != tt.waited {
						t.Errorf("the body was read after %v, want that after %v, or never", body.first.Sub(begun), tt.waited)
					}
					conns := 1
					if !tt.reads { // what the upstream waits for is the body
						conns++
					}
					if status, _, err := told(w, asking(t, "GET", up, nil)); status != 200 || err != nil || opened() != conns {
						t.Errorf("the next: %d, %v, on %d connections, want %d", status, err, opened(), conns)
					}
				})
			})
		}
	}
}

// when is a body that tells when it was read first.
type when struct {
	io.Reader
	first time.Time
}

func (w *when) Read(p []byte) (int, error) {
	if w.first.IsZero() {
		w.first = time.Now()
	}
	return w.Reader.Read(p)
}

// What the connection is closed for is told, and not that writing ended with that.
func TestHTTP1_TellsWhyTheAnswerFailedWhileTheRequestIsWritten(t *testing.T) {
	address, _ := serving(t, func(c net.Conn) {
		if _, err := readHead(bufio.NewReaderSize(c, 16)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 what\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}
	})
	w := made(t, TransportConfig{Private: true})
	for i := range 200 {
		endless, more := io.Pipe()
		go func() { // ends with the reading
			for {
				if _, err := io.WriteString(more, strings.Repeat("x", 32<<10)); err != nil {
					return
				}
			}
		}()
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/", endless)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			req.Header.Set("Expect", "100-continue")
		}
		if _, err := w.RoundTrip(req); err == nil || faultOf(err) != faultInvalid {
			t.Fatalf("%v, want that the answer is none", err)
		}
		_ = endless.Close()
	}
}
