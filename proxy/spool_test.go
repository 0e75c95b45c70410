package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines is a ResponseWriter that keeps the deadlines set for reading.
type deadlines struct {
	http.ResponseWriter
	set []time.Duration // from then; 0 for none any more
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	if at.IsZero() {
		d.set = append(d.set, 0)
	} else {
		d.set = append(d.set, time.Until(at))
	}
	return nil
}

// stalling brings what it has, and then nothing until the deadline.
type stalling struct{ io.Reader }

func (s stalling) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func TestIdle_ABodyThatBringsNothingEndsAndIsAnsweredFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &deadlines{ResponseWriter: httptest.NewRecorder()}
		x, r := begin(httptest.NewRequest("PUT", "/", nil), newBudget())
		body := &idle{Reader: stalling{strings.NewReader("some")}, connection: http.NewResponseController(w), x: x, patience: idleBody}
		got, err := io.ReadAll(body)
		if string(got) != "some" || err == nil || x.fault.Load() == nil {
			t.Errorf("read %q, %v, fault: %v", got, err, x.fault.Load())
		}
		if len(w.set) != 4 || w.set[0] != idleBody || w.set[1] != 0 || w.set[2] != idleBody || w.set[3] != 0 {
			t.Errorf("deadlines %v, want %v before each read and none behind it", w.set, idleBody)
		}
		if e := asError(r, x, errors.New("canceled")); e == nil || e.Code != "body_unreadable" || !x.closes {
			t.Errorf("it is told as %v", e)
		}
		x.ended, w.set = true, nil
		_, _ = body.Read(make([]byte, 1))
		if len(w.set) > 0 {
			t.Errorf("deadlines %v on a connection whose next request may have begun", w.set)
		}
	})
}

// dripping brings a byte every so often.
type dripping struct{ every time.Duration }

func (d dripping) Read(p []byte) (int, error) {
	time.Sleep(d.every)
	return copy(p, "b"), nil
}

func TestIdle_ABodyThatDripsEndsAfterAMinute(t *testing.T) {
	for every, ends := range map[time.Duration]bool{29 * time.Second: true, 20 * time.Millisecond: true, 10 * time.Millisecond: false} {
		synctest.Test(t, func(t *testing.T) {
			x, r := begin(httptest.NewRequest("PUT", "/", nil), newBudget())
			body := &idle{Reader: dripping{every}, connection: http.NewResponseController(httptest.NewRecorder()), x: x, patience: idleBody}
			begun, err := time.Now(), error(nil)
			for err == nil && time.Since(begun) < 5*time.Minute {
				_, err = body.Read(make([]byte, 1))
				time.Sleep(time.Minute / 1000) // what the upstream takes is not the caller's time
			}
			if (err != nil) != ends {
				t.Errorf("a byte every %v: %v after %v", every, err, time.Since(begun))
			}
			if !ends {
				return
			}
			if e := asError(r, x, errors.New("canceled")); e.Code != "body_unreadable" || !strings.Contains(e.Detail, "64 bytes") {
				t.Errorf("it is told as %v", e)
			}
		})
	}
}

// The upstream may answer before the transport asks whether there is more.
func TestSpool_ABodyIsSentWithItsLastByte(t *testing.T) {
	x := &Exchange{body: body{head: []byte("body"), whole: true}}
	sending, err := x.openBody()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		if _, err := io.ReadFull(sending, make([]byte, 2)); err != nil || x.sentWhole.Load() != want {
			t.Errorf("after %d bytes (%v) it counts as sent: %v, want %v", 2*i+2, err, x.sentWhole.Load(), want)
		}
	}
	if n, err := sending.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at its end it has %d bytes more (%v)", n, err)
	}
}
