//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// workload is one kind of load.
type workload struct {
	name        string
	connections int
	size        int // bytes of an answer's body
	upstream    protocol
	paced       bool // at the rate of the settings, not as fast as answers come
	grown       bool // of those that follow one another, see growth
	others      int  // upstreams that bearerd has besides
	bounded     bool // its ratios have a bound, and are to vary less: see boundedRounds
}

// boundedRounds is how many times as many rounds those have. With twelve a median differs
// by 5 % from one run to the next.
const boundedRounds = 4

var workloads = []workload{
	{name: "small", connections: 64, size: 1608, upstream: plain, bounded: true},
	{name: "sequential", connections: 1, size: 1608, upstream: plain, bounded: true},
	{name: "64k", connections: 32, size: 64 << 10, upstream: plain},
	{name: "tls", connections: 64, size: 1608, upstream: secured, bounded: true},
	{name: "tls2", connections: 64, size: 1608, upstream: http2},
	{name: "rate", connections: 64, size: 1608, upstream: plain, paced: true},
}

// growth are workloads that differ in one thing from the one before, to see how the
// cost of a request grows with it. Only bearerd and tuned take part.
var growth = []workload{
	{name: "64 connections", connections: 64, size: 1608},
	{name: "256 connections", connections: 256, size: 1608},
	{name: "1024 connections", connections: 1024, size: 1608},
	{name: "16 KiB", connections: 32, size: 16 << 10},
	{name: "256 KiB", connections: 32, size: 256 << 10},
	{name: "1 MiB", connections: 32, size: 1 << 20},
	{name: "20 upstreams", connections: 64, size: 1608, others: 19},
	{name: "200 upstreams", connections: 64, size: 1608, others: 199},
}

// grow runs them all.
func (b *bench) grow(ctx context.Context, s settings, r *report) error {
	for _, w := range growth {
		w.upstream, w.grown = plain, true
		if err := w.run(b, ctx, s, r); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// slice is what one contender did in one.
type slice struct {
	cpu       float64 // µs a request
	perSecond float64
	took      *histogram
	opened    int // connections to the upstream
}

// turns are what of a workload the contenders take.
type turns struct {
	workload
	lasting time.Duration
	up      *process
	callers map[*contender][]*caller
}

// run loads all contenders in turns, and notes a row of each.
func (w workload) run(b *bench, ctx context.Context, s settings, r *report) error {
	up, err := startChild(ctx, "upstream", strconv.Itoa(w.size), string(w.upstream))
	if err != nil {
		return err
	}
	defer up.stop()
	all, err := b.start(ctx, layout{upstream: up.addr, protocol: w.upstream, alone: w.grown, others: w.others})
	defer func() { stopAll(all) }()
	if err != nil {
		return err
	}
	t := turns{w, s.slice, up, map[*contender][]*caller{}}
	for _, c := range all {
		callers, err := dial(c.addr, c.prefix+requestPath, w.connections, w.size)
		t.callers[c] = callers
		defer hangUp(callers)
		if err == nil {
			err = t.warm(c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	rate, rounds := 0, s.rounds
	if w.paced {
		rate = s.rate
	}
	if w.bounded {
		rounds *= boundedRounds
	}
	done, err := inTurns(ctx, all, rounds, func(c *contender) (slice, error) { return t.load(c, rate) })
	if err != nil {
		return err
	}
	for _, c := range all {
		r.Rows = append(r.Rows, rowOf(w.name, c, done[c], done[all[0]], done[all[1]]))
	}
	return nil
}

// inTurns has each do one slice in each round, in an order that changes.
func inTurns(ctx context.Context, all []*contender, rounds int, do func(*contender) (slice, error)) (map[*contender][]slice, error) {
	done := map[*contender][]slice{}
	for range rounds {
		for _, at := range rand.Perm(len(all)) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			c := all[at]
			one, err := do(c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			done[c] = append(done[c], one)
		}
	}
	return done, nil
}

// warm loads a contender as fast as it answers until it has a connection to the upstream
// for each of the callers; over HTTP/2 one will do. Some never have so many.
func (t *turns) warm(c *contender) error {
	wanted := t.connections
	if t.upstream == http2 {
		wanted = 1
	}
	for opened, tries := 0, 10; opened < wanted && tries > 0; tries-- {
		one, err := t.load(c, 0)
		if err != nil {
			return err
		}
		opened += one.opened
	}
	return nil
}

// load loads a contender for a while, at a rate if it is not 0.
func (t *turns) load(c *contender, rate int) (slice, error) {
	had, err := t.up.accepted()
	if err != nil {
		return slice{}, err
	}
	one, err := watch(c.pid, func() (int, *histogram, error) { return load(t.callers[c], t.lasting, rate) })
	if err != nil {
		return slice{}, err
	}
	has, err := t.up.accepted()
	one.opened = has - had
	return one, err
}

// watch is what a process did while it was loaded.
func watch(pid int, load func() (answered int, took *histogram, err error)) (slice, error) {
	before, begun := cpu(pid), time.Now()
	answered, took, err := load()
	ran, lasted := cpu(pid)-before, time.Since(begun)
	return slice{cpu: float64(ran.Nanoseconds()) / 1e3 / float64(answered), perSecond: float64(answered) / lasted.Seconds(), took: took}, err
}

// rowOf sums up the slices of a contender, beside those of the two that are the same.
func rowOf(workload string, c *contender, done, tuned, again []slice) row {
	took, opened := new(histogram), 0
	for _, one := range done {
		took.add(one.took)
		opened += one.opened
	}
	cpus, ratios := figures(slice.perRequest, done, tuned, again)
	speeds, speedRatios := figures(slice.speed, done, tuned, again)
	_, times := figures(slice.median, done, tuned, again)
	return row{
		Workload: workload, Contender: c.name, Requests: took.count(),
		CPU: quartile(cpus, 2), Ratio: quartile(ratios, 2), Low: quartile(ratios, 1), High: quartile(ratios, 3),
		PerSecond: quartile(speeds, 2), PerSecondRatio: quartile(speedRatios, 2),
		P50: took.quantile(0.5), P99: took.quantile(0.99), P50Ratio: quartile(times, 2),
		MiB: memory(c.pid) / 1024, Opened: 1000 * float64(opened) / float64(took.count()),
	}
}

func (s slice) perRequest() float64 { return s.cpu }
func (s slice) speed() float64      { return s.perSecond }
func (s slice) median() float64     { return s.took.quantile(0.5) }

// figures are one of each slice, and what they are to the mean of the tuned ones'.
func figures(of func(slice) float64, done, tuned, again []slice) (all, ratios []float64) {
	for i, one := range done {
		all = append(all, of(one))
		ratios = append(ratios, of(one)/((of(tuned[i])+of(again[i]))/2))
	}
	return all, ratios
}

// quartile is the first, second or third of some figures.
func quartile(figures []float64, which int) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	at := float64(len(sorted)-1) * float64(which) / 4
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}
