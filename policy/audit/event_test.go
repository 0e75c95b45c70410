package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestEvent_HasItsFieldsInOrder(t *testing.T) {
	at := time.Date(2026, 3, 1, 23, 30, 0, 123456789, time.FixedZone("", -3600))
	full := Event{
		at, Allowed, "id", "cron", "10.0.0.1", "transfer", "POST", "/v0.10/transfer?x=secret", "nightly", "transfer", "sha256:ab", "denied", "an error",
	}
	for _, tt := range []struct {
		name  string
		event Event
		want  string
	}{
		{"all of them", full, `{"time":"2026-03-02T00:30:00.123Z","event":"allowed","request_id":"id","caller":"cron","peer":"10.0.0.1","upstream":"transfer",` +
			`"method":"POST","path":"/v0.10/transfer","rule":"nightly","credential":"transfer","fingerprint":"sha256:ab","code":"denied","err":"an error"}`},
		{"none that is empty", Event{Time: at, Kind: Reload}, `{"time":"2026-03-02T00:30:00.123Z","event":"reload"}`},
		{"the time of now", Event{Kind: Renewal}, `{"time":"2026-03-01T22:30:00.000Z","event":"renewal"}`},
		{"signs that HTML would have", Event{Time: at, Kind: Refused, Path: "/<a>&'\"\\"}, `{"time":"2026-03-02T00:30:00.123Z","event":"refused","path":"/<a>&'\"\\"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.event.encode(time.Date(2026, 3, 1, 22, 30, 0, 0, time.UTC))
			if want := strings.ReplaceAll(tt.want, `'"\"`, `'\"\\"`) + "\n"; err != nil || string(got) != want {
				t.Errorf("encode() = %s%v, want %s", got, err, want)
			}
		})
	}
}

func TestEvent_IsOneLineWhateverItHolds(t *testing.T) {
	for _, text := range []string{
		"a\nb", "a\r\n{\"event\":\"allowed\"}", "\x00\x1b[2J", "\u202e\u2028\u2029\u200b", "\xff\xfe", "\ud7ff\ufffd", strings.Repeat("é", 5000), strings.Repeat("\"", 5000), strings.Repeat("x", 1<<20),
	} {
		got, err := Event{Kind: Denied, Path: "/" + text, Err: text, Method: text, Peer: text, Caller: text}.encode(time.Now())
		var line map[string]string
		if err != nil || json.Unmarshal(got, &line) != nil || strings.Count(string(got), "\n") != 1 || len(got) > 16<<10 {
			t.Errorf("%.20q is written as %.200s", text, got)
		}
		for name, value := range line {
			if len(value) > maxField || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsGraphic(r) }) {
				t.Errorf("%.20q: %s is %.100q, %d bytes", text, name, value, len(value))
			}
		}
	}
}
