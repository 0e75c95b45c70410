package daemon

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// leaveTime is how long those may keep coming, where nobody new can be kept from
	// connecting.
	leaveTime = time.Second
	// finishTime is how long the token store and the audit log may take at the end.
	finishTime = 750 * time.Millisecond
)

// drain lets callers go in peace: those in HTTP/2 are told at once, and for a while
// every answer closes its connection; then nothing more is accepted, and what is under
// way may finish. It is not http.Server.Shutdown's work, which answers no request that
// was not read when it began, and closes a connection under the next one.
func (d *daemon) drain(stops <-chan os.Signal) error {
	limits := d.config.Proxy.Drain
	d.log.Info().Dur("delay_ms", limits.Delay).Dur("timeout_ms", limits.Timeout).Msg("draining")
	d.proxy.Drain()
	d.connections.goAway()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { // ends with drain
		select {
		case <-stops:
			cancel(ErrSecondSignal)
		case <-ctx.Done():
		}
	}()
	select {
	case <-time.After(limits.Delay):
	case <-ctx.Done():
	}
	limited, stop := context.WithTimeout(ctx, limits.Timeout)
	defer stop()
	d.leave(limited)
	d.connections.leave(limited)
	if errors.Is(context.Cause(limited), ErrSecondSignal) {
		d.log.Warn().Msg("stopped at once by a second signal")
		return ErrSecondSignal
	} else if d.connections.count() > 0 {
		d.log.Warn().Msg("drain.timeout is over; requests still under way were cut off")
	}
	d.log.Info().Msg("stopped")
	return nil
}

// leave lets in who has connected, and nobody new.
func (d *daemon) leave(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, leaveTime)
	defer stop()
	var group errgroup.Group
	for _, g := range slices.Concat(d.gates...) {
		group.Go(func() error { g.leave(ctx); return nil })
	}
	_ = group.Wait() // it has no errors
}

// closeServers ends what is left.
func (d *daemon) closeServers() {
	d.connections.cut()
	for _, server := range d.servers {
		_ = server.Close()
	}
}

// finish waits for what is on its way to the token store and the audit log of the
// configuration in force, but no longer than finishTime and a second signal.
func (d *daemon) finish(stops <-chan os.Signal) error {
	done := make(chan struct{})
	go func() { // ends with what it waits for, or is left behind with the process
		d.stopRenewing()
		d.store.close()
		d.audit.Load().close(nil)
		d.oldAudit.close(nil)
		close(done)
	}()
	select {
	case <-done:
	case <-stops:
		d.log.Warn().Msg("stopped at once by a second signal")
		return ErrSecondSignal
	case <-time.After(finishTime):
		d.log.Warn().Msg("the token store or the audit log did not answer; left as it is")
	}
	return nil
}
