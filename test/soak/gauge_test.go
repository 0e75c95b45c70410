//go:build soak

package soak

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// metrics are bearerd's without labels, by name.
type metrics map[string]float64

func read(t *testing.T, adminURL string) metrics {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Get(adminURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	found := metrics{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = n
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// settled returns the metrics of a bearerd that nobody asks anything of, once it has
// let go of its connections and of what each of them holds: when there is no more than
// before, or it gets no less any more. To be asked costs it a goroutine that some looks
// see and others do not, so the least counts.
func settled(t *testing.T, adminURL string, before *metrics) metrics {
	t.Helper()
	const still = 40 // looks, half a second apart: longer than any connection is kept
	least, same := read(t, adminURL), 0
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for same < still {
		<-ticker.C
		same++
		for name, n := range read(t, adminURL) {
			if held := name == "go_goroutines" || name == "process_open_fds"; held && n < least[name] {
				least[name], same = n, 0
			}
		}
		if before != nil && least["go_goroutines"] <= (*before)["go_goroutines"] && least["process_open_fds"] <= (*before)["process_open_fds"] {
			break
		}
	}
	return least
}

// sample is what was read, so long after the beginning.
type sample struct {
	at time.Duration
	metrics
}

func (s sample) of(name string) float64 { return s.metrics[name] }

const resident = "process_resident_memory_bytes"

// fit lays the line of least squares through memory: bytes an hour, and bytes from
// the first sample to the last.
func fit(samples []sample) (slope, rise float64) {
	var x, y, xx, xy, n float64
	for _, s := range samples {
		at, bytes := s.at.Hours(), s.of(resident)
		x, y, xx, xy, n = x+at, y+bytes, xx+at*at, xy+at*bytes, n+1
	}
	if n < 2 {
		return 0, 0
	}
	slope = (n*xy - x*y) / (n*xx - x*x)
	return slope, slope * (samples[len(samples)-1].at - samples[0].at).Hours()
}

func most(samples []sample) (bytes float64) {
	for _, s := range samples {
		bytes = max(bytes, s.of(resident))
	}
	return bytes
}

const notReloaded = "config not reloaded, the old one stays"

// log is bearerd's, counted and searched for secrets, but not kept.
type log struct {
	in, out  *os.File
	ended    chan struct{}
	lines    int
	messages map[string]int
	errors   []string // lines that want somebody to act
	secrets  []string // where there were some
}

func newLog(t *testing.T) *log {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return &log{in: in, out: out, ended: make(chan struct{}), messages: map[string]int{}}
}

// follow reads on until bearerd ends, which has the other end by now.
func (l *log) follow() {
	_ = l.in.Close()
	go func() { // ends with bearerd, which end waits for
		defer close(l.ended)
		var some []byte
		lines := bufio.NewScanner(l.out)
		for lines.Scan() {
			l.count(lines.Bytes())
			if some = append(append(some, lines.Bytes()...), '\n'); len(some) > 1<<20 {
				l.search(some)
				some = some[:0]
			}
		}
		l.search(some)
	}()
}

func (l *log) count(text []byte) {
	var line struct{ Level, Message string }
	if json.Unmarshal(text, &line) != nil {
		line.Level, line.Message = "error", string(text)
	}
	l.lines++
	l.messages[line.Message]++
	if line.Level == "error" && line.Message != notReloaded && line.Message != "config mistake" && len(l.errors) < 20 {
		l.errors = append(l.errors, string(text))
	}
}

func (l *log) search(some []byte) {
	l.secrets = append(l.secrets, harness.FindSecrets(some, emulator.DemoClientSecret, token)...)
}

// end waits until bearerd has.
func (l *log) end() { <-l.ended }

// check fails the test if the log says more than was to be expected.
func (l *log) check(t *testing.T, reloads int) {
	t.Helper()
	for _, found := range slices.Concat(l.secrets, l.errors) {
		t.Errorf("the log: %s", found)
	}
	if good, bad := l.messages["config reloaded"], l.messages[notReloaded]; good != (reloads+1)/2 || bad != reloads/2 {
		t.Errorf("%d configurations were put in force and %d were not, want %d and %d", good, bad, (reloads+1)/2, reloads/2)
	}
}
