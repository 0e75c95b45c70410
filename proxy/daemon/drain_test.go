package daemon

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestFinish_WaitsForTheStoreButNotForEver(t *testing.T) {
	for _, tt := range []struct {
		name     string
		store    time.Duration // that it takes
		signal   time.Duration // when a second one comes; 0: none does
		want     error
		wantTook time.Duration
	}{
		{"a store that answers", 100 * time.Millisecond, 0, nil, 100 * time.Millisecond},
		{"one that hangs", time.Hour, 0, nil, finishTime},
		{"a second signal meanwhile", time.Hour, 50 * time.Millisecond, ErrSecondSignal, 50 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &daemon{log: newLogger(LogConfig{}, io.Discard), store: &store{close: func() {}}, stopRenewing: func() { time.Sleep(tt.store) }}
				stops := make(chan os.Signal, 1)
				if tt.signal > 0 {
					time.AfterFunc(tt.signal, func() { stops <- os.Interrupt })
				}
				start := time.Now()
				if err := d.finish(stops); !errors.Is(err, tt.want) || time.Since(start) != tt.wantTook {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(start), tt.want, tt.wantTook)
				}
				time.Sleep(tt.store) // the end of what was left behind
			})
		})
	}
}
