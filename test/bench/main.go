//go:build linux

// Command bench measures bearerd beside its peers: a bare httputil.ReverseProxy as it
// comes (naive), the same set up as well as it can be (tuned, twice: what differs
// between the two is noise), and nginx, HAProxy and Caddy where they are installed. All
// run at once and are loaded in turns, in an order that changes, so that only ratios of
// one run are worth anything: see docs/performance.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are what the command line says.
type settings struct {
	workloads []string
	rounds    int
	slice     time.Duration
	rate      int // requests a second where they are paced
	stream    int // MiB of a long body

	tokenDelay time.Duration
	renewals   int // of each, at least, while tokens expire
	jsonPath   string
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == "compare" {
		return compare(os.Stdout, args[1], args[2])
	}
	var s settings
	var chosen string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&chosen, "workload", strings.Join(names(), ","), "which to run")
	flags.IntVar(&s.rounds, "rounds", 12, "slices of each contender; four times as many where ratios have a bound: small, sequential, tls")
	flags.DurationVar(&s.slice, "slice", 250*time.Millisecond, "how long a contender is loaded at a time")
	flags.IntVar(&s.rate, "rate", 1500, "requests a second of workload rate")
	flags.IntVar(&s.stream, "stream", 256, "MiB of one body of workloads down and up")
	flags.DurationVar(&s.tokenDelay, "token-delay", 200*time.Millisecond, "how long the token endpoint takes where that matters")
	flags.IntVar(&s.renewals, "renewals", 5, "renewals of each at least in workload expiry")
	flags.StringVar(&s.jsonPath, "json", "", "file to write all figures to; see compare OLD NEW")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.workloads = strings.Split(chosen, ",")
	for _, name := range s.workloads {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("no workload %q; there are %s", name, strings.Join(names(), ", "))
		}
	}
	if s.rounds < 1 || s.slice <= 0 || s.rate < 1 || s.stream < 1 || s.renewals < 1 {
		return errors.New("rounds, slice, rate, stream and renewals must be more than 0")
	}
	if err := raiseDescriptors(); err != nil {
		return err
	}
	report, err := measure(ctx, s)
	if err != nil {
		return err
	}
	report.Machine = fmt.Sprintf("%d CPUs, %s %s/%s", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	report.print(os.Stdout)
	if s.jsonPath == "" {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.jsonPath, append(text, '\n'), 0o600)
}

// raiseDescriptors lets this process and its children have as many as they may.
func raiseDescriptors() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
