package proxy

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// waiting is a waiter that says after how long it was told.
type waiting struct {
	wait
	begun time.Time
	told  []time.Duration
}

func (w *waiting) tooLong() { w.told = append(w.told, time.Since(w.begun)) }

func (w *waiting) begin(list *waits) {
	w.begun = time.Now()
	list.begin(&w.wait, w)
}

func TestWaits_EachIsToldAfterItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := newWaits(time.Minute)
		all := make([]waiting, 100)
		gone := map[int]bool{}
		for i := range all {
			time.Sleep(rand.N(time.Second))
			all[i].begin(list)
		}
		for i := range all { // from every part of the list, and some twice
			if i%3 == 0 {
				list.end(&all[i].wait)
				list.end(&all[i].wait)
				gone[i] = i%2 == 0
				if !gone[i] {
					all[i].begin(list)
				}
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for i := range all {
			switch told := all[i].told; {
			case gone[i] && len(told) != 0:
				t.Errorf("number %d was told after %v, and did not wait any more", i, told)
			case !gone[i] && (len(told) != 1 || told[0] != time.Minute):
				t.Errorf("number %d was told after %v, want once after a minute", i, told)
			}
		}
		if list.first != nil || list.last != nil || list.runs {
			t.Errorf("nobody waits, and the list is %+v", list)
		}
		all[1].told = nil
		all[1].begin(list)
		time.Sleep(time.Hour)
		synctest.Wait()
		if told := all[1].told; len(told) != 1 || told[0] != time.Minute {
			t.Errorf("told after %v later on, want once after a minute", told)
		}
	})
}

func TestWaits_ManyAtOnce(t *testing.T) {
	list := newWaits(time.Hour)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			var one waiting
			for range 1000 {
				one.begin(list)
				list.end(&one.wait)
			}
		})
	}
	group.Wait()
	if list.first != nil || list.last != nil {
		t.Errorf("nobody waits, and the list is %+v", list)
	}
	list.timer.Stop()
}
