package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"bearerd/test/harness"
)

func TestWire_HeedsHowLongAnUpstreamKeepsConnections(t *testing.T) {
	for _, tt := range []struct {
		announced string
		want      time.Duration
		ok        bool
	}{
		{"timeout=5", 4 * time.Second, true},          // Node
		{"timeout=5, max=100", 4 * time.Second, true}, // Apache
		{"max=100, Timeout = 15", 12 * time.Second, true},
		{"timeout=60", 48 * time.Second, true},
		{"timeout=2", time.Second, true},
		{"timeout=1", 500 * time.Millisecond, true},
		{"timeout=0", 0, false},
		{"timeout=-5", 0, false},
		{"timeout=99999999999999999999", 0, false},
		{"timeout", 0, false},
		{"max=100", 0, false},
		{"", 0, false},
	} {
		if got, ok := idleOf(tt.announced); got != tt.want || ok != tt.ok {
			t.Errorf("Keep-Alive: %s: %v %v, want %v %v", tt.announced, got, ok, tt.want, tt.ok)
		}
	}
	said := "60"
	address, accepted := serving(t, answerTo(func(*http.Request) string {
		return "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\nKeep-Alive: timeout=" + said + "\r\n\r\n"
	}))
	w := made(t, TransportConfig{Private: true, Tuning: TuningConfig{Idle: 10 * time.Second}})
	for _, step := range []struct {
		says string
		idle time.Duration
	}{
		{"60", 10 * time.Second}, // longer than here
		{"5", 4 * time.Second},   // learned from this answer
		{"30", 4 * time.Second},  // others behind the same name keep them as shortly
		{"2", time.Second},
	} {
		said = step.says
		if _, err := post(t, w, "http://"+address+"/"); err != nil {
			t.Fatal(err)
		}
		if got := w.(*http1).patience; got != step.idle || accepted.Load() != 1 {
			t.Errorf("after timeout=%s: connections kept for %v, %d in all; want %v, one", step.says, got, accepted.Load(), step.idle)
		}
	}
}

func TestWire_SpeaksHTTP2WhereWanted(t *testing.T) {
	authority := harness.NewAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.Version < tls.VersionTLS12 {
			t.Errorf("asked with %s", tls.VersionName(r.TLS.Version))
		}
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})}}
	server.StartTLS()
	t.Cleanup(server.Close)
	for want, wanted := range map[int]bool{1: false, 2: true} {
		w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}, Tuning: TuningConfig{HTTP2: wanted}})
		resp, err := post(t, w, server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != want {
			t.Errorf("http2: %v: answered in HTTP/%d", wanted, resp.ProtoMajor)
		}
	}
}

func TestWire_KeepsAsManyConnectionsAsItIsTold(t *testing.T) {
	const all = 300 // more than net/http's usual, and than 256
	arrived, answered := make(chan struct{}, all), make(chan struct{})
	address, accepted := serving(t, answerTo(func(r *http.Request) string {
		arrived <- struct{}{}
		<-answered
		return noContent(r)
	}))
	w := made(t, TransportConfig{Private: true, Idle: all})
	for range 3 {
		done := make(chan error, all)
		for range all {
			go func() { // ends with the round
				_, err := post(t, w, "http://"+address+"/")
				done <- err
			}()
		}
		for range all {
			<-arrived
		}
		for range all {
			answered <- struct{}{}
		}
		for range all {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("3 rounds of %d requests at once: %d connections", all, accepted.Load())
	if accepted.Load() != all {
		t.Errorf("%d connections for 3 rounds of %d requests at once, want one for each", accepted.Load(), all)
	}
}

// The transport for HTTP/2 is another one than for HTTP/1.1, and tells of its
// connections by itself.
func TestWire_WhatAnHTTP2UpstreamTookIsNotUnsent(t *testing.T) {
	authority := harness.NewAuthority(t)
	var server *httptest.Server
	var taken atomic.Int32
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		taken.Add(1)
		switch r.URL.Path {
		case "/reset":
			panic(http.ErrAbortHandler)
		case "/close":
			server.CloseClientConnections()
		}
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Pair(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})}}
	server.StartTLS()
	t.Cleanup(server.Close)
	w := made(t, TransportConfig{Private: true, TLS: &tls.Config{RootCAs: authority.Pool()}, Tuning: TuningConfig{HTTP2: true}})
	for i, path := range []string{"/close", "/reset", "/", "/reset", "/close"} { // on new connections, and on used ones
		_, err := post(t, w, server.URL+path)
		if (err == nil) != (path == "/") || isUnsent(err) || taken.Load() != int32(i+1) {
			t.Errorf("%s: %v, unsent %v, %d taken; want it sent once", path, err, isUnsent(err), taken.Load())
		}
	}
}
