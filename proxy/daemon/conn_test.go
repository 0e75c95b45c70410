package daemon

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// reader reads so many bytes of the other end each second until it closes.
func reader(c net.Conn, each int) {
	p := make([]byte, each)
	for {
		time.Sleep(time.Second)
		if _, err := io.ReadFull(c, p); err != nil {
			return
		}
	}
}

func TestConn_OnlyAReaderThatStopsIsCutOff(t *testing.T) {
	for _, tt := range []struct {
		name    string
		each    int // bytes that the caller reads a second
		answer  int
		wantErr error
		atLeast time.Duration
	}{
		{"a slow one has all the time of the world", 2 << 10, 8 << 20, nil, time.Hour},
		{"one below the least rate is cut off", 512, 8 << 20, os.ErrDeadlineExceeded, writeIdle},
		{"one that stops at once is cut off", 0, 1, os.ErrDeadlineExceeded, writeIdle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				closed := 0
				c := &conn{Conn: ours, closed: func() { closed++ }}
				if tt.each > 0 {
					go reader(theirs, tt.each) // until the pipe closes
				}
				start := time.Now()
				n, err := c.Write(make([]byte, tt.answer))
				if took := time.Since(start); !errors.Is(err, tt.wantErr) || took < tt.atLeast || tt.wantErr != nil && took > 2*writeIdle {
					t.Errorf("wrote %d bytes in %v: %v; want %v after %v", n, took, err, tt.wantErr, tt.atLeast)
				}
				if tt.wantErr == nil && n != tt.answer {
					t.Errorf("wrote %d bytes of %d", n, tt.answer)
				}
				_, _ = c.Close(), c.Close()
				_ = theirs.Close()
				time.Sleep(2 * time.Second) // the reader's end
				if closed != 1 {
					t.Errorf("closing was told %d times, want once", closed)
				}
			})
		})
	}
}

func TestConn_KeepsTheDeadlineThatWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer func() { _ = theirs.Close() }()
		c := &conn{Conn: ours, closed: func() {}}
		defer func() { _ = c.Close() }()
		took := func() time.Duration {
			start := time.Now()
			if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: %v, want a timeout", err)
			}
			return time.Since(start)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if got := took(); got != 5*time.Second {
			t.Errorf("with a deadline of 5 s a write took %v", got)
		}
		_ = c.SetWriteDeadline(time.Time{})
		if got := took(); got != writeIdle {
			t.Errorf("with the deadline taken back a write took %v, want %v", got, writeIdle)
		}
		go func() { // ends within the bubble
			time.Sleep(time.Second)
			_ = c.SetWriteDeadline(time.Now())
		}()
		if got := took(); got != time.Second {
			t.Errorf("a deadline set meanwhile ended a write after %v, want 1s", got)
		}
	})
}

func TestConn_LeavesOnlyWhereNothingHasCome(t *testing.T) {
	for _, tt := range []struct {
		name      string
		idle      bool
		streams   bool   // in HTTP/2
		first     string // is sent, and read
		then      string // is sent, and waits to be read
		wantLeave bool
		wantRead  string // "" for none, at once
	}{
		{"one that waits for a request", true, false, "", "", true, ""},
		{"one whose request is there and not read yet", true, false, "", "GET", true, "GET"},
		{"one whose request has begun", true, false, "G", "ET", false, "ET"},
		{"one with a request under way", false, false, "", "GET", false, "GET"},
		{"one that is told to in HTTP/2", true, true, "", "frame", false, "frame"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ours, theirs := pair(t, "tcp4", "127.0.0.1:0")
			c := &conn{Conn: ours, closed: func() {}}
			defer func() { _ = c.Close() }()
			c.setIdle(tt.idle)
			if tt.streams {
				c.setStreams(func() {})
			}
			got := make([]byte, 16)
			if tt.first != "" {
				_, _ = io.WriteString(theirs, tt.first)
				if n, err := c.Read(got); err != nil || string(got[:n]) != tt.first {
					t.Fatalf("read %q (%v), want %q", got[:n], err, tt.first)
				}
			}
			_, _ = io.WriteString(theirs, tt.then)
			if tt.then != "" {
				arrives(t, ours, something)
			}
			c.leave()
			if c.leaving != tt.wantLeave {
				t.Errorf("it leaves: %v, want %v", c.leaving, tt.wantLeave)
			}
			n, err := c.Read(got)
			if string(got[:n]) != tt.wantRead || (err == nil) != (tt.wantRead != "") {
				t.Errorf("then read %q (%v), want %q", got[:n], err, tt.wantRead)
			}
		})
	}
}
