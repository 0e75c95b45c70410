//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
)

// report is everything that one run measured.
type report struct {
	Machine string `json:"machine"`
	Rounds  int    `json:"rounds"`
	Slice   string `json:"slice"`
	Rows    []row  `json:"rows"`
	Facts   []fact `json:"facts"`
}

// row is what one contender did under one workload. Ratio is of CPU to the mean of both
// tuned ones in the same round: the median of all rounds, and its quartiles.
type row struct {
	Workload  string  `json:"workload"`
	Contender string  `json:"contender"`
	Requests  int     `json:"requests"`
	CPU       float64 `json:"cpu_us_per_request"`
	Ratio     float64 `json:"cpu_ratio"`
	Low       float64 `json:"cpu_ratio_first_quartile"`
	High      float64 `json:"cpu_ratio_third_quartile"`
	PerSecond float64 `json:"requests_per_second"`

	PerSecondRatio float64 `json:"requests_per_second_ratio"`

	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P50Ratio float64 `json:"p50_ratio"`
	MiB      float64 `json:"rss_mib"`
	Opened   float64 `json:"upstream_connections_per_1000_requests"`

	// Of a long body alone. PeakMiB is beside what the process had before the first.
	CPUPerGiB   float64 `json:"cpu_s_per_gib,omitempty"`
	MBPerSecond float64 `json:"mb_per_second,omitempty"`
	PeakMiB     float64 `json:"peak_rss_mib,omitempty"`
}

// fact is a figure that is no load's.
type fact struct {
	Name      string  `json:"name"`
	Contender string  `json:"contender"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"` // "": it is counted
}

// amount is to a tenth; what is counted is whole.
func (f fact) amount() string {
	if f.Unit == "" {
		return strconv.FormatFloat(f.Value, 'f', 0, 64)
	}
	return fmt.Sprintf("%.1f %s", f.Value, f.Unit)
}

func (r *report) print(out io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }
	say("%s; %d rounds of %s, and %d of small, sequential and tls\n", r.Machine, r.Rounds, r.Slice, r.Rounds*boundedRounds)
	workload := ""
	for _, row := range r.Rows {
		first := row.Workload != workload
		workload = row.Workload
		if row.MBPerSecond > 0 {
			row.printStream(say, first)
			continue
		}
		if first {
			say("\n| %s | CPU to tuned (quartiles) | µs CPU | requests/s | p50 µs | to tuned | p99 µs | RSS MiB | new upstream connections/1000 |\n|---|---|---|---|---|---|---|---|---|\n", workload)
		}
		say("| %s | **%.2f** (%.2f–%.2f) | %.0f | %.0f | %.0f | %.2f | %.0f | %.0f | %.4g |\n",
			row.Contender, row.Ratio, row.Low, row.High, row.CPU, row.PerSecond, row.P50, row.P50Ratio, row.P99, row.MiB, row.Opened)
	}
	if len(r.Facts) > 0 {
		say("\n| | | |\n|---|---|---|\n")
	}
	for _, f := range r.Facts {
		say("| %s | %s | %s |\n", f.Name, f.Contender, f.amount())
	}
}

func (r row) printStream(say func(format string, args ...any), first bool) {
	if first {
		say("\n| %s | CPU to tuned (quartiles) | s CPU/GiB | MB/s | to tuned | peak RSS over rest, MiB |\n|---|---|---|---|---|---|\n", r.Workload)
	}
	say("| %s | **%.2f** (%.2f–%.2f) | %.2f | %.0f | %.2f | %.1f |\n", r.Contender, r.Ratio, r.Low, r.High, r.CPUPerGiB, r.MBPerSecond, r.PerSecondRatio, r.PeakMiB)
}

func readReport(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// compare prints what changed from one run to another, by ratios. What is within the
// quartiles that two equal programs had is noise.
func compare(out io.Writer, before, after string) error {
	was, err := readReport(before)
	if err != nil {
		return err
	}
	is, err := readReport(after)
	if err != nil {
		return err
	}
	old, noise := map[[2]string]row{}, map[string]float64{}
	for _, r := range [...]*report{was, is} {
		for _, one := range r.Rows {
			if one.Contender == tunedAgainName {
				noise[one.Workload] = max(noise[one.Workload], one.High-one.Low)
			}
		}
	}
	for _, one := range was.Rows {
		old[[2]string{one.Workload, one.Contender}] = one
	}
	_, err = fmt.Fprintf(out, "| | | CPU to tuned, before | after | change | noise |\n|---|---|---|---|---|---|\n")
	for _, one := range is.Rows {
		past, found := old[[2]string{one.Workload, one.Contender}]
		if !found || err != nil {
			continue
		}
		change, mark := one.Ratio-past.Ratio, ""
		if max(change, -change) > noise[one.Workload] {
			mark = " (beyond noise)"
		}
		_, err = fmt.Fprintf(out, "| %s | %s | %.2f | %.2f | %+.2f%s | %.2f |\n", one.Workload, one.Contender, past.Ratio, one.Ratio, change, mark, noise[one.Workload])
	}
	if err != nil {
		return err
	}
	return compareFacts(out, was.Facts, is.Facts)
}

// compareFacts prints those that both runs have.
func compareFacts(out io.Writer, was, is []fact) error {
	old := map[[2]string]fact{}
	for _, one := range was {
		old[[2]string{one.Name, one.Contender}] = one
	}
	_, err := fmt.Fprintf(out, "\n| | | before | after |\n|---|---|---|---|\n")
	for _, one := range is {
		past, found := old[[2]string{one.Name, one.Contender}]
		if found && err == nil {
			_, err = fmt.Fprintf(out, "| %s | %s | %s | %s |\n", one.Name, one.Contender, past.amount(), one.amount())
		}
	}
	return err
}
