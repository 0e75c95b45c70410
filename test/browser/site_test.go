package browser_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A site is the pages' own server, and beside it an address that is the same site
// until a page asks to rebind, and then somebody else's.
type site struct {
	server  *httptest.Server
	turn    net.Listener
	rebound atomic.Bool
	reports chan []byte // what pages report at their end
}

func newSite(t *testing.T, other string) *site {
	t.Helper()
	page, err := os.ReadFile("page.html")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{reports: make(chan []byte, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("POST /rebind", func(http.ResponseWriter, *http.Request) { s.rebound.Store(true) })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("to"), http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("POST /done", func(_ http.ResponseWriter, r *http.Request) {
		report, _ := io.ReadAll(r.Body) // one that breaks off is no JSON
		s.reports <- report
	})
	s.server = httptest.NewUnstartedServer(mux)
	s.server.Config.SetKeepAlivesEnabled(false) // so that none of its connections outlives the turn
	s.server.Start()
	t.Cleanup(s.server.Close)
	if s.turn, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { s.forward(&serving, other) }) // until the listener closes
	t.Cleanup(func() {
		_ = s.turn.Close()
		serving.Wait()
	})
	return s
}

// url is the site's by a name of this machine.
func (s *site) url(name string) string {
	return "http://" + name + s.server.URL[strings.LastIndexByte(s.server.URL, ':'):]
}

// turning is the URL of what is this site at first, by a name of this machine.
func (s *site) turning(name string) string {
	address := s.turn.Addr().String()
	return "http://" + name + address[strings.LastIndexByte(address, ':'):]
}

// forward takes connections to the site, or once it is rebound to the other address.
func (s *site) forward(serving *sync.WaitGroup, other string) {
	for {
		conn, err := s.turn.Accept()
		if err != nil {
			return
		}
		to := s.server.Listener.Addr().String()
		if s.rebound.Load() {
			to = other
		}
		serving.Go(func() { splice(conn, to) }) // until either side closes; the browser is ended before this is waited for
	}
}

func splice(conn net.Conn, to string) {
	defer func() { _ = conn.Close() }()
	out, err := net.Dial("tcp4", to)
	if err != nil {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(out, conn)
		_ = out.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(conn, out)
	_ = conn.Close()
	copying.Wait()
	_ = out.Close()
}
