package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/credentials"
	"bearerd/proxy"
)

// written is what a logger of that configuration writes of one request and one
// failed renewal.
func written(t *testing.T, cfg LogConfig) string {
	t.Helper()
	var out bytes.Buffer
	l := newLogger(cfg, &out)
	l.request(&proxy.Exchange{ID: "id", Method: "GET", Target: "/transfer/\x1b[2J\u202ex", Status: 200, Caller: "local"})
	l.renewal(credentials.Renewal{Credential: "transfer", Err: errors.New("refused"), RetryIn: time.Second})
	if out.Len() != 0 {
		t.Error("a line was written at once, which costs a request a write(2)")
	}
	l.out.flush()
	return out.String()
}

func TestLog_JSONHasOneObjectALine(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(written(t, LogConfig{Level: "info", Format: "auto", Access: true})), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2: %q", len(lines), lines)
	}
	for _, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if at, err := time.Parse(time.RFC3339, fields["time"].(string)); err != nil || at.Location() != time.UTC {
			t.Errorf("time is %v, want RFC 3339 in UTC", fields["time"])
		}
	}
	if !strings.Contains(lines[1], `"retry_in_ms":1000`) || !strings.Contains(lines[0], `"path":"/transfer/·[2J·x"`) {
		t.Errorf("the lines are %q", lines)
	}
}

func TestLog_ConsoleIsForPeople(t *testing.T) {
	text := written(t, LogConfig{Level: "info", Format: "console", Access: true})
	if strings.Contains(text, "{") || strings.Contains(text, "\x1b") || !strings.Contains(text, "WRN token renewal failed") {
		t.Errorf("the console shows %q", text)
	}
}

func TestLog_LevelAndAccessChoose(t *testing.T) {
	if text := written(t, LogConfig{Level: "info", Format: "json"}); strings.Contains(text, "request_id") {
		t.Errorf("without access there is %q", text)
	}
	if text := written(t, LogConfig{Level: "error", Format: "json", Access: true}); text != "" {
		t.Errorf("at level error there is %q", text)
	}
}

func TestLog_TellsOfConsentAlsoWithoutAccessLines(t *testing.T) {
	for _, access := range []bool{false, true} {
		var out bytes.Buffer
		l := newLogger(LogConfig{Level: "info", Format: "json", Access: access}, &out)
		because := map[string]string{"request_id": "id", "caller": "local", "rule": "read", "collection": someID}
		l.consent(credentials.Consented{Credential: "transfer", Scope: "all", Because: because})
		l.consent(credentials.Consented{Credential: "transfer", Scope: "all", Because: because, Class: credentials.ClassScope, Err: errors.New("no")})
		l.request(&proxy.Exchange{ID: "id", Consent: someID})
		l.request(&proxy.Exchange{ID: "other"})
		l.out.flush()
		want := `"caller":"local","collection":"` + someID + `","request_id":"id","rule":"read","credential":"transfer","scope":"all"`
		if text := out.String(); strings.Count(text, want) != 2 || strings.Count(text, "consent granted") != 1 ||
			strings.Count(text, `"class":"scope","err":"no"`) != 1 || strings.Count(text, "consent not granted") != 1 ||
			strings.Contains(text, `"consent":"`+someID+`"`) != access || strings.Contains(text, `"consent":""`) {
			t.Errorf("access %v: %s", access, text)
		}
	}
}

func TestPrintable_BoundsAndDisarms(t *testing.T) {
	if got := printable(strings.Repeat("é", 1000)); len([]rune(got)) != maxLoggedPath {
		t.Errorf("%d characters of 1000, want %d", len([]rune(got)), maxLoggedPath)
	}
	if got := printable("a\nb\x00c\xffd"); got != "a·b·c\ufffdd" {
		t.Errorf("printable gives %q", got)
	}
}

func TestStamp_IsTheTimeToTheMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := LogConfig{Level: "info", Format: "json"}.logger(&out, false)
		for _, pause := range []time.Duration{0, time.Millisecond, 98 * time.Millisecond, 900*time.Millisecond + 999*time.Microsecond, time.Microsecond, time.Hour} {
			time.Sleep(pause)
			out.Reset()
			log.Info().Msg("x")
			if want := `"time":"` + time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + `"`; !strings.Contains(out.String(), want) {
				t.Errorf("after %v: %s, want %s", pause, out.String(), want)
			}
		}
	})
}
