package daemon

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"bearerd/proxy"
)

func TestGrace_ShorterThanADrainIsToldWithWhatToWrite(t *testing.T) {
	usual := proxy.Default().Drain
	for _, tt := range []struct {
		name, grace string
		drain       proxy.DrainConfig
		want        []string // none: no line
	}{
		{"nobody has said", "", usual, nil},
		{"Kubernetes's own", "30", usual, nil},
		{"as a duration", "30s", usual, nil},
		{"just enough", "20.5s", usual, nil},
		{"too short", "15", usual, []string{`"drain_ms":20500`, `"grace_ms":15000`, `"write":"proxy.drain.timeout: 13.5s, or a grace of 22s where bearerd is stopped"`}},
		{"a longer drain", "1m", proxy.DrainConfig{Delay: time.Minute, Timeout: time.Minute}, []string{`"write":"a grace of 2m1s where bearerd is stopped"`}},
		{"no time", "soon\x1b", usual, []string{`"found":"soon·"`, "write seconds or a duration such as 30s"}},
		{"no time at all", "0", usual, []string{"is no time"}},
		{"negative", "-5s", usual, []string{"is no time"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			l := newLogger(LogConfig{Level: "info", Format: "json"}, &out)
			checkGrace(l, tt.grace, tt.drain)
			l.out.flush()
			if (out.Len() > 0) != (tt.want != nil) {
				t.Errorf("logged is %q", out.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("logged is %q, want %s in it", out.String(), want)
				}
			}
		})
	}
}
