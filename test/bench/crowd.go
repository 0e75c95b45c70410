//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bearerd/test/emulator"
)

// crowd are callers that come at once while there is no token.
type crowd struct {
	name, tells string
	callers     int
	answer      string // how it begins
	arrange     func(*emulator.Emulator)
}

var crowds = []crowd{
	{"cold", "first requests at once", 500, "HTTP/1.1 200", func(*emulator.Emulator) {}},
	{"endpoint-down", "requests at once, and the token endpoint answers 503", 100, "HTTP/1.1 50", func(globus *emulator.Emulator) {
		globus.FailTokens(1<<30, emulator.Unavailable())
	}},
}

// run has the crowd come to each who asks for tokens, one after the other, and notes how
// often the endpoint was asked, and when the last caller had an answer.
func (w crowd) run(b *bench, ctx context.Context, s settings, r *report) error {
	up, err := startChild(ctx, "upstream", "1608", string(plain))
	if err != nil {
		return err
	}
	defer up.stop()
	all, err := b.startAskers(ctx, up.addr, s.tokenDelay, w.arrange)
	defer func() { stopAskers(all) }()
	if err != nil {
		return err
	}
	for _, a := range all {
		last, err := w.come(a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		tells := fmt.Sprintf("%d %s", w.callers, w.tells)
		r.Facts = append(r.Facts,
			fact{tells + ": token requests", a.name, float64(a.endpoint.asked.Load()), ""},
			fact{fmt.Sprintf("%s: the last answer, of tokens after %v", tells, s.tokenDelay), a.name, float64(last.Microseconds()) / 1e3, "ms"})
	}
	return nil
}

// come returns how long it took until all were answered, from when they began to ask and
// the endpoint to answer.
func (w crowd) come(a *asker) (last time.Duration, err error) {
	callers, err := dial(a.addr, a.prefix+requestPath, w.callers, anySize)
	defer hangUp(callers)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	a.endpoint.open()
	var group sync.WaitGroup
	for _, c := range callers {
		c.answer = []byte(w.answer)
		group.Go(func() { c.err = c.ask() })
	}
	group.Wait()
	last = time.Since(begun)
	for _, c := range callers {
		if c.err != nil {
			return 0, c.err
		}
	}
	return last, nil
}
