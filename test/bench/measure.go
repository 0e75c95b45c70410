//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// measurement is one of those that can be asked for.
type measurement struct {
	name string
	run  func(b *bench, ctx context.Context, s settings, r *report) error
}

func measurements() (all []measurement) {
	for _, w := range workloads {
		all = append(all, measurement{w.name, w.run})
	}
	for _, w := range streamings {
		all = append(all, measurement{w.name, w.run})
	}
	for _, w := range crowds {
		all = append(all, measurement{w.name, w.run})
	}
	return append(all, measurement{"growth", (*bench).grow}, measurement{"expiry", (*bench).expiry}, measurement{"idle", (*bench).idle}, measurement{"start", (*bench).starts})
}

func names() (all []string) {
	for _, m := range measurements() {
		all = append(all, m.name)
	}
	return all
}

func measure(ctx context.Context, s settings) (*report, error) {
	b, err := newBench(ctx)
	if err != nil {
		return nil, err
	}
	defer b.close()
	r := &report{Rounds: s.rounds, Slice: s.slice.String()}
	for _, m := range measurements() {
		if !slices.Contains(s.workloads, m.name) {
			continue
		}
		if err := m.run(b, ctx, s, r); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return r, nil
}

// idleConnections are opened to each contender, and starts made.
const (
	idleConnections = 1000
	starts          = 15
)

// idle opens connections to each contender, over which one request is sent.
func (b *bench) idle(ctx context.Context, _ settings, r *report) error {
	up, err := startChild(ctx, "upstream", "1608", string(plain))
	if err != nil {
		return err
	}
	defer up.stop()
	all, err := b.start(ctx, layout{upstream: up.addr, protocol: plain})
	defer func() { stopAll(all) }()
	if err != nil {
		return err
	}
	for _, c := range all {
		first, err := dial(c.addr, c.prefix+requestPath, 1, 1608)
		defer hangUp(first)
		if err == nil {
			_, _, err = load(first, 500*time.Millisecond, 0)
		}
		if err != nil {
			return err
		}
		before := memory(c.pid)
		callers, err := dial(c.addr, c.prefix+requestPath, idleConnections, 1608)
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
func (b *bench) starts(ctx context.Context, _ settings, r *report) error {
	up, err := startChild(ctx, "upstream", "1608", string(plain))
	if err != nil {
		return err
	}
	defer up.stop()
	var took []float64
	for i := range starts + 1 { // the first fills the store
		begun := time.Now()
		p, err := b.startBearerd(ctx, layout{upstream: up.addr, protocol: plain, store: "file:" + filepath.Join(b.dir, "tokens")})
		if err != nil {
			return err
		}
		callers, err := dial(p.addr, bearerdPrefix+requestPath, 1, 1608)
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
