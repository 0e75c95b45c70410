//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is bench itself where that starts itself anew.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestBench_MeasuresEveryContender in next to no time: that it runs, not how fast.
func TestBench_MeasuresEveryContender(t *testing.T) {
	r, err := measure(t.Context(), settings{
		workloads: []string{"small", "tls", "tls2", "rate", "growth", "down", "up", "cold", "endpoint-down", "expiry", "start"},
		rounds:    2, slice: 20 * time.Millisecond, rate: 2000, stream: 8, tokenDelay: 40 * time.Millisecond, renewals: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	// It is 0, but that net/http lets go of a connection whose writer had no CPU for 50 ms.
	const mostOpened = 100
	seen := map[string]int{}
	for _, row := range r.Rows {
		seen[row.Contender]++
		if row.Requests == 0 || row.CPU <= 0 || row.Ratio <= 0 || row.MiB <= 0 || row.P50 <= 0 || row.P99 < row.P50 {
			t.Errorf("%s, %s: %+v", row.Workload, row.Contender, row)
		}
		if streams := row.Workload == "down" || row.Workload == "up"; streams && (row.MBPerSecond <= 0 || row.CPUPerGiB <= 0 || row.PeakMiB > 8) {
			t.Errorf("%s, %s: %+v", row.Workload, row.Contender, row)
		}
		if pools := row.Contender == tunedName || row.Contender == tunedAgainName || row.Contender == bearerdName; pools && row.Opened > mostOpened {
			t.Errorf("%s, %s opened %v connections per 1000 of %d requests once it was warm, want 0", row.Workload, row.Contender, row.Opened, row.Requests)
		} else if row.Contender == naiveName && row.Workload == "tls" && row.Opened < 3*mostOpened {
			t.Errorf("%s, %s opened %v connections per 1000 requests, which cannot be all", row.Workload, row.Contender, row.Opened)
		}
	}
	for name, want := range map[string]int{tunedName: 6 + len(growth), tunedAgainName: 6 + len(growth), naiveName: 6, bearerdName: 6 + len(growth)} {
		if seen[name] != want {
			t.Errorf("%s has %d rows, want %d", name, seen[name], want)
		}
	}
	crowd, refused := "500 first requests at once", "100 requests at once, and the token endpoint answers 503"
	for _, want := range []struct {
		fact, contender string
		least, most     float64
	}{
		{crowd + ": token requests", bearerdName, 1, 1},
		{crowd + ": token requests", oauth2Name, 1, 1},
		{crowd + ": the last answer, of tokens after 40ms", bearerdName, 40, 10_000},
		{refused + ": token requests", bearerdName, 1, 1},
		{refused + ": token requests", oauth2Name, 100, 100},
		{refused + ": the last answer, of tokens after 40ms", oauth2Name, 4000, 60_000},
		{expiryTells + ": renewals", bearerdName, 1, 2},
		{expiryTells + ": the slowest request", bearerdName, 0, 900}, // who waits for a token waits a second
		{expiryTells + ": the slowest request", oauth2Name, 500, 10_000},
		{expiryTells + ": requests that took 50ms more than the median", oauth2Name, 1, 1000},
		{"the binary, stripped", bearerdName, 1, 20},
		{"from exec to the first answer, its token in the store (median)", bearerdName, 1, 10_000},
	} {
		at := slices.IndexFunc(r.Facts, func(f fact) bool { return f.Name == want.fact && f.Contender == want.contender })
		if at < 0 {
			t.Errorf("nothing of %q, %s", want.fact, want.contender)
			continue
		}
		got := r.Facts[at]
		if got.Value < want.least || got.Value > want.most {
			t.Errorf("%s, %s: %s, want %v to %v", got.Name, got.Contender, got.amount(), want.least, want.most)
		}
		t.Logf("bench: %s: %s: %s", got.Contender, got.Name, got.amount())
	}

	path := filepath.Join(t.TempDir(), "report")
	text, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	var out strings.Builder
	if err == nil {
		err = compare(&out, path, path)
	}
	if err != nil || strings.Count(out.String(), "| +0.00 |") != len(r.Rows) || !strings.Contains(out.String(), "| bearerd | 1 | 1 |") {
		t.Errorf("compared with itself (%v): %s", err, out.String())
	}
}

// oneCaller is connected to an upstream.
func oneCaller(t *testing.T) *caller {
	t.Helper()
	p, err := startChild(t.Context(), "upstream", "1608", "plain")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	callers, err := dial(p.addr, "/", 1, 1608)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(callers) })
	return callers[0]
}

func TestSend_AllocatesNothing(t *testing.T) {
	one := oneCaller(t)
	if allocations := testing.AllocsPerRun(100, func() { one.send(time.Time{}) }); allocations > 0 || one.err != nil {
		t.Errorf("a request allocates %v times (%v), want 0", allocations, one.err)
	}
	if allocations := testing.AllocsPerRun(100, func() { one.pace(time.Now(), time.Now().Add(1), time.Second) }); allocations > 0 || one.err != nil {
		t.Errorf("a paced request allocates %v times (%v), want 0", allocations, one.err)
	}
}

func TestPace_CountsFromWhenARequestWasDue(t *testing.T) {
	one := oneCaller(t)
	due := time.Now().Add(-time.Minute)
	one.pace(due, due.Add(5*time.Second), time.Second)
	if took := one.took; one.err != nil || took.count() != 5 || took.quantile(0) < 50e6 {
		t.Errorf("%d requests took at least %v µs (%v), want 5 and most of the minute that they were late", took.count(), took.quantile(0), one.err)
	}
}

func TestPeak_IsTheMostThatWasInMemory(t *testing.T) {
	before := memory(os.Getpid())
	if err := forgetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	much, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Munmap(much); err != nil {
		t.Fatal(err)
	}
	if grew := (peak(os.Getpid()) - before) * 1024; grew < size-mib || grew > 2*size {
		t.Errorf("grew by %.0f bytes at the most, want %d", grew, size)
	}
}

func TestHistogram_TellsQuantilesToASixtyFourth(t *testing.T) {
	h := new(histogram)
	for i := range 1000 {
		h.note(time.Duration(i+1) * time.Microsecond)
	}
	for share, want := range map[float64]float64{0.5: 500, 0.99: 990} {
		if got := h.quantile(share); got < want*63/64 || got > want*65/64 {
			t.Errorf("quantile %v is %v µs, want %v to a 64th", share, got, want)
		}
	}
	if above := h.above(500); above < 492 || above > 508 {
		t.Errorf("%d of 1000 are above 500 µs, want 500 to a 64th", above)
	}
	if longest := h.longest(); longest < 984 || longest > 1000 {
		t.Errorf("the longest is %v µs, want 1000 to a 64th", longest)
	}
}
