package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A Recorder is an upstream that keeps every byte it is sent, and beside them
// what net/http's own parser makes of them. It answers each request with 200 and
// a body that names the request's method and target.
type Recorder struct {
	URL  string // http://HOST:PORT
	Addr string // HOST:PORT

	listener net.Listener
	serving  sync.WaitGroup
	mu       sync.Mutex // guards the fields below
	conns    map[net.Conn]bool
	arrivals []Arrival
}

// An Arrival is what one request was on the wire.
type Arrival struct {
	Raw     []byte        // head and body, as they came
	Request *http.Request // as net/http reads it; nil if it reads none. Its body has been read
	Body    []byte        // without its framing
	Err     error         // why there is no Request, or not all of its body
}

// Whole reports whether the request came to its end.
func (a Arrival) Whole() bool { return a.Err == nil }

// Line returns the request line as it came.
func (a Arrival) Line() string {
	line, _, _ := strings.Cut(string(a.Raw), "\n")
	return strings.TrimSuffix(line, "\r")
}

// Target returns the request target as it came.
func (a Arrival) Target() string {
	_, rest, _ := strings.Cut(a.Line(), " ")
	if at := strings.LastIndexByte(rest, ' '); at >= 0 {
		return rest[:at]
	}
	return rest
}

// NewRecorder starts one on loopback; it ends with the test.
func NewRecorder(t testing.TB) *Recorder {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	r := &Recorder{URL: "http://" + addr, Addr: addr, listener: l, conns: map[net.Conn]bool{}}
	r.serving.Go(r.accept) // until the listener closes
	t.Cleanup(r.close)
	return r
}

// Take returns what arrived since the last call. A request is there before its
// answer is.
func (r *Recorder) Take() []Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.arrivals
	r.arrivals = nil
	return taken
}

// Answer is the body of the answer to a request.
func Answer(method, target string) string {
	return fmt.Sprintf("{\"recorded\": %q}\n", method+" "+target)
}

func (r *Recorder) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns[conn] = true
		r.mu.Unlock()
		r.serving.Go(func() { r.serve(conn) }) // until either side closes
	}
}

func (r *Recorder) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.serving.Wait()
}

func (r *Recorder) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
	}()
	var wire bytes.Buffer // what was read of the connection, from the current request on
	in := bufio.NewReader(io.TeeReader(conn, &wire))
	for {
		a := arrival(conn, in)
		read := wire.Len() - in.Buffered()
		a.Raw = bytes.Clone(wire.Next(read))
		if len(a.Raw) == 0 {
			return // the connection's end, between two requests
		}
		r.mu.Lock()
		r.arrivals = append(r.arrivals, a)
		r.mu.Unlock()
		if a.Err != nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if !answer(conn, a) {
			return
		}
	}
}

// arrival reads a request, all but the bytes themselves.
func arrival(conn net.Conn, in *bufio.Reader) (a Arrival) {
	a.Request, a.Err = http.ReadRequest(in)
	if a.Err != nil {
		return a
	}
	if strings.EqualFold(a.Request.Header.Get("Expect"), "100-continue") {
		_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	a.Body, a.Err = io.ReadAll(a.Request.Body)
	return a
}

// answer reports whether the connection stays open.
func answer(conn net.Conn, a Arrival) bool {
	body := Answer(a.Request.Method, a.Target())
	length := len(body)
	if a.Request.Method == http.MethodHead {
		body = ""
	}
	connection := "keep-alive"
	if a.Request.Close {
		connection = "close"
	}
	_, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s", length, connection, body)
	return err == nil && !a.Request.Close
}
