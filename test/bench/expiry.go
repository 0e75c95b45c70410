//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"bearerd/test/emulator"
)

const (
	expiryCallers = 16
	expiryRate    = 400         // requests a second, so that who is not stalled does not wait for a CPU
	expiryDelay   = time.Second // of the endpoint: who waits for it stands out from what only had no CPU
	stallTime     = 50 * time.Millisecond

	// expiryLife is nearly the shortest life of which bearerd can renew ahead in expiryDelay:
	// it uses half of such a one, and renews at 90 % of that at the latest.
	expiryLife  = 24 * time.Second
	expiryTells = "tokens of 24 s from an endpoint that takes 1 s"
)

// expiry loads who asks for tokens that end all the time, and notes how often each has
// renewed and how many requests had to wait. Beside them runs one that has no tokens, to
// tell what the machine itself delays.
func (b *bench) expiry(ctx context.Context, s settings, r *report) error {
	up, err := startChild(ctx, "upstream", "1608", string(plain))
	if err != nil {
		return err
	}
	defer up.stop()
	askers, err := b.startAskers(ctx, up.addr, expiryDelay, func(globus *emulator.Emulator) { globus.SetLifetime(expiryLife) })
	defer func() { stopAskers(askers) }()
	if err != nil {
		return err
	}
	tuned, err := startChild(ctx, "tuned", "http://"+up.addr)
	if err != nil {
		return err
	}
	defer tuned.stop()
	all := []*contender{{tuned, tunedName, ""}}
	for _, a := range askers {
		all = append(all, a.contender)
		a.endpoint.open()
	}
	loading, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	enough := func() bool {
		return loading.Err() != nil || !slices.ContainsFunc(askers, func(a *asker) bool { return a.renewals() < s.renewals })
	}
	var group sync.WaitGroup
	took := make([]*histogram, len(all))
	for i, c := range all {
		group.Go(func() {
			var err error
			if took[i], err = c.loadUntil(enough, expiryDelay+time.Second); err != nil {
				fail(fmt.Errorf("%s: %w", c.name, err)) // or the others wait for its renewals
			}
		})
	}
	group.Wait()
	if loading.Err() != nil {
		return context.Cause(loading)
	}
	for i, c := range all {
		stalled := took[i].above(took[i].quantile(0.5) + float64(stallTime.Microseconds()))
		r.Facts = append(r.Facts,
			fact{fmt.Sprintf("%s: requests that took %v more than the median", expiryTells, stallTime), c.name, 1000 * float64(stalled) / float64(took[i].count()), "of 1000"},
			fact{expiryTells + ": the slowest request", c.name, took[i].longest() / 1e3, "ms"})
	}
	for _, a := range askers {
		r.Facts = append(r.Facts, fact{expiryTells + ": renewals", a.name, float64(a.renewals()), ""})
	}
	return nil
}

// renewals are the token requests after the first.
func (a *asker) renewals() int { return max(int(a.endpoint.asked.Load())-1, 0) }

// loadUntil loads a contender with a token until then, and for so long after.
func (c *contender) loadUntil(enough func() bool, more time.Duration) (*histogram, error) {
	callers, err := dial(c.addr, c.prefix+requestPath, expiryCallers, 1608)
	defer hangUp(callers)
	if err != nil {
		return nil, err
	}
	if _, _, err := load(callers[:1], 1, 0); err != nil { // waits for the first token
		return nil, err
	}
	all, begin := new(histogram), time.Now()
	for last := false; !last; begin = begin.Add(more) { // what was due while the one before was late is late, too
		last = enough()
		_, took, err := loadFrom(begin, callers, more, expiryRate)
		if err != nil {
			return nil, err
		}
		all.add(took)
	}
	return all, nil
}
