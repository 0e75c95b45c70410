package accepting_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bearerd/test/harness"
)

// TestSlow_HeadsAreCutOffAndHoldNobodyUp opens thousands of connections from many
// addresses, each with half a head.
func TestSlow_HeadsAreCutOffAndHoldNobodyUp(t *testing.T) {
	const wanted, cutWithin = 4000, 6 * time.Second
	attackers := wanted
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && int(limit.Cur) < wanted+200 {
		attackers = int(limit.Cur) - 200
	}
	b := harness.Start(t, fmt.Sprintf(drainConfig, quick(t), "0s"))
	address := strings.TrimPrefix(b.URL, "http://")
	idle := latencies(t, address, time.Second, nil)

	var waiting sync.WaitGroup
	late, answered, took := 0, 0, make([]time.Duration, 0, attackers)
	var mu sync.Mutex // guards the three
	for i := range attackers {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(i/200), 2+byte(i%200))}}
		conn, err := from.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		opened := time.Now()
		_, _ = io.WriteString(conn, "GET /up/x HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		waiting.Go(func() { // until it is cut off
			defer func() { _ = conn.Close() }()
			_ = conn.SetReadDeadline(opened.Add(patience))
			said, _ := io.ReadAll(conn)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(opened))
			if time.Since(opened) > cutWithin {
				late++
			}
			if len(said) > 0 {
				answered++
			}
		})
	}
	ended := make(chan struct{})
	go func() { // ends with the attack
		waiting.Wait()
		close(ended)
	}()
	attacked := latencies(t, address, patience, ended)
	<-ended
	slices.Sort(took)
	t.Logf("slow heads: %d connections from 127.0.1.2 and on were cut off %v to %v after they were opened, %d later than %v", attackers, took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), late, cutWithin)
	t.Logf("slow heads: p99 of %d legitimate requests meanwhile %v, of %d when idle %v", len(attacked), p99(attacked), len(idle), p99(idle))
	if last := took[len(took)-1]; answered > 0 || last > 2*cutWithin { // the machine may have more to do
		t.Errorf("%d of %d were answered, and the last was cut off after %v", answered, attackers, last)
	}
}

// latencies sends requests on a few connections for so long, or until ended, and
// returns how long they took. All must be answered.
func latencies(t *testing.T, address string, so time.Duration, ended <-chan struct{}) []time.Duration {
	t.Helper()
	var all []time.Duration
	var mu sync.Mutex // guards all
	var clients sync.WaitGroup
	stop := time.Now().Add(so)
	for range 4 {
		conn := open(t, address)
		clients.Go(func() {
			for time.Now().Before(stop) {
				select {
				case <-ended:
					return
				default:
				}
				start := time.Now()
				if status, code, err := ask(conn); status != 200 {
					t.Errorf("a legitimate request is answered %d %s (%v)", status, code, err)
					return
				}
				mu.Lock()
				all = append(all, time.Since(start))
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return all
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}
