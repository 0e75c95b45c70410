//go:build !race

package daemon

import (
	"io"
	"testing"
	"time"

	"bearerd/proxy"
)

func TestLog_AnAccessLineAllocatesNothing(t *testing.T) {
	l := newLogger(LogConfig{Level: "info", Format: "json", Access: true}, io.Discard)
	x := &proxy.Exchange{ID: "id", Method: "GET", Target: "/transfer/v0.10/task_list", Status: 200, Caller: "local", Total: time.Millisecond}
	l.out.waiting = make([]byte, 0, logQueue)
	allocations := testing.AllocsPerRun(100, func() { l.request(x) })
	if t.Logf("allocations: an access line %v", allocations); allocations > 0 {
		t.Errorf("an access line allocates %v times, want 0", allocations)
	}
}
