//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
}

var workloads = []workload{
	{name: "small", connections: 64, size: 1608, upstream: plain},
	{name: "sequential", connections: 1, size: 1608, upstream: plain},
	{name: "64k", connections: 32, size: 64 << 10, upstream: plain},
	{name: "tls", connections: 64, size: 1608, upstream: secured},
	{name: "tls2", connections: 64, size: 1608, upstream: http2},
	{name: "rate", connections: 64, size: 1608, upstream: plain, paced: true},
}

// The workloads that are no load.
const (
	idleName  = "idle"
	startName = "start"
)

// idleConnections are opened to each contender, and starts made.
const (
	idleConnections = 1000
	starts          = 15
)

func names() (all []string) {
	for _, w := range workloads {
		all = append(all, w.name)
	}
	return append(all, idleName, startName)
}

func measure(ctx context.Context, s settings) (*report, error) {
	b, err := newBench(ctx)
	if err != nil {
		return nil, err
	}
	defer b.close()
	r := &report{Rounds: s.rounds, Slice: s.slice.String()}
	for _, w := range workloads {
		if slices.Contains(s.workloads, w.name) {
			if err := b.load(ctx, w, s, r); err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	if slices.Contains(s.workloads, idleName) {
		if err := b.idle(ctx, r); err != nil {
			return nil, fmt.Errorf("%s: %w", idleName, err)
		}
	}
	if slices.Contains(s.workloads, startName) {
		if err := b.starts(ctx, r); err != nil {
			return nil, fmt.Errorf("%s: %w", startName, err)
		}
	}
	return r, nil
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
	settings
	up      *process
	all     []*contender
	callers map[*contender][]*caller
}

// load loads all contenders in turns, and notes a row of each.
func (b *bench) load(ctx context.Context, w workload, s settings, r *report) error {
	up, err := startChild(ctx, "upstream", strconv.Itoa(w.size), string(w.upstream))
	if err != nil {
		return err
	}
	defer up.stop()
	all, err := b.start(ctx, up.addr, w.upstream)
	defer func() { stopAll(all) }()
	if err != nil {
		return err
	}
	t := turns{w, s, up, all, map[*contender][]*caller{}}
	for _, c := range all {
		callers, err := dial(c.addr, c.path, w.connections, w.size)
		t.callers[c] = callers
		defer hangUp(callers)
		if err == nil {
			err = t.warm(c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return t.measure(ctx, r)
}

// warm loads a contender as fast as it answers until it has a connection to the upstream
// for each of the callers; over HTTP/2 one will do. Some never have so many.
func (t *turns) warm(c *contender) error {
	wanted := t.connections
	if t.upstream == http2 {
		wanted = 1
	}
	for opened, tries := 0, 10; opened < wanted && tries > 0; tries-- {
		one, err := t.slice(c, 0)
		if err != nil {
			return err
		}
		opened += one.opened
	}
	return nil
}

// measure has each take its turn in each round, and notes a row of each.
func (t *turns) measure(ctx context.Context, r *report) error {
	rate := 0
	if t.paced {
		rate = t.rate
	}
	done := map[*contender][]slice{}
	for range t.rounds {
		for _, at := range rand.Perm(len(t.all)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			c := t.all[at]
			one, err := t.slice(c, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			done[c] = append(done[c], one)
		}
	}
	for _, c := range t.all {
		r.Rows = append(r.Rows, rowOf(t.name, c, done[c], done[t.all[0]], done[t.all[1]]))
	}
	return nil
}

// slice loads a contender for a while, at a rate if it is not 0.
func (t *turns) slice(c *contender, rate int) (slice, error) {
	had, err := t.up.accepted()
	if err != nil {
		return slice{}, err
	}
	before, begun := cpu(c.pid), time.Now()
	answered, took, err := load(t.callers[c], t.settings.slice, rate)
	if err != nil {
		return slice{}, err
	}
	ran, lasted := cpu(c.pid)-before, time.Since(begun)
	has, err := t.up.accepted()
	return slice{float64(ran.Nanoseconds()) / 1e3 / float64(answered), float64(answered) / lasted.Seconds(), took, has - had}, err
}

// rowOf sums up the slices of a contender, beside those of the two that are the same.
func rowOf(workload string, c *contender, done, tuned, again []slice) row {
	var times, cpus, ratios, perSecond []float64
	took, opened := new(histogram), 0
	for i, one := range done {
		base := (tuned[i].cpu + again[i].cpu) / 2
		cpus, perSecond = append(cpus, one.cpu), append(perSecond, one.perSecond)
		ratios = append(ratios, one.cpu/base)
		times = append(times, one.took.quantile(0.5)/((tuned[i].took.quantile(0.5)+again[i].took.quantile(0.5))/2))
		took.add(one.took)
		opened += one.opened
	}
	return row{
		Workload: workload, Contender: c.name, Requests: took.count(),
		CPU: quartile(cpus, 2), Ratio: quartile(ratios, 2), Low: quartile(ratios, 1), High: quartile(ratios, 3),
		PerSecond: quartile(perSecond, 2), P50: took.quantile(0.5), P99: took.quantile(0.99), P50Ratio: quartile(times, 2),
		MiB: memory(c.pid) / 1024, Opened: 1000 * float64(opened) / float64(took.count()),
	}
}

// quartile is the first, second or third of some figures.
func quartile(figures []float64, which int) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	at := float64(len(sorted)-1) * float64(which) / 4
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// idle opens connections to each contender, over which one request is sent.
func (b *bench) idle(ctx context.Context, r *report) error {
	up, err := startChild(ctx, "upstream", "1608", string(plain))
	if err != nil {
		return err
	}
	defer up.stop()
	all, err := b.start(ctx, up.addr, plain)
	defer func() { stopAll(all) }()
	if err != nil {
		return err
	}
	for _, c := range all {
		first, err := dial(c.addr, c.path, 1, 1608)
		defer hangUp(first)
		if err == nil {
			_, _, err = load(first, 500*time.Millisecond, 0)
		}
		if err != nil {
			return err
		}
		before := memory(c.pid)
		callers, err := dial(c.addr, c.path, idleConnections, 1608)
		defer hangUp(callers)
		for i := 0; i < len(callers) && err == nil; i++ { // one after the other: who waits is not idle
			_, _, err = load(callers[i:i+1], 1, 0)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		r.Facts = append(r.Facts, fact{fmt.Sprintf("an idle connection of %d", idleConnections), c.name, (memory(c.pid) - before) / idleConnections, "KiB"})
	}
	return nil
}

// starts measures from exec to the first answer, with a token in the store.
func (b *bench) starts(ctx context.Context, r *report) error {
	up, err := startChild(ctx, "upstream", "1608", string(plain))
	if err != nil {
		return err
	}
	defer up.stop()
	var took []float64
	for i := range starts + 1 { // the first fills the store
		begun := time.Now()
		p, err := b.startBearerd(ctx, up.addr, plain, "file:"+filepath.Join(b.dir, "tokens"))
		if err != nil {
			return err
		}
		callers, err := dial(p.addr, "/transfer"+requestPath, 1, 1608)
		if err == nil {
			_, _, err = load(callers, 1, 0)
		}
		if i > 0 {
			took = append(took, float64(time.Since(begun).Microseconds())/1e3)
		}
		hangUp(callers)
		p.stop()
		if err != nil {
			return err
		}
	}
	binary, err := os.Stat(b.bearerd)
	if err != nil {
		return err
	}
	r.Facts = append(r.Facts,
		fact{"from exec to the first answer, its token in the store (median)", bearerdName, quartile(took, 2), "ms"},
		fact{"the binary, stripped", bearerdName, float64(binary.Size()) / (1 << 20), "MiB"})
	return nil
}
