//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/bits"
	"net"
	"sync"
	"syscall"
	"time"

	"bearerd/test/harness"
)

// caller is one connection to a contender, and what was measured over it.
type caller struct {
	net.Conn
	request, room []byte
	answer        []byte // how it is to begin
	size          int    // of its body, or anySize
	took          histogram
	err           error
}

// anySize is what an answer may have that is no longer than usual.
const (
	anySize   = -1
	usualSize = 4 << 10
)

// dial opens so many connections, all of which send the same request.
func dial(addr, path string, n, size int) ([]*caller, error) {
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: globus-sdk-py-3.66.0\r\nAccept: application/json\r\n" +
		"Accept-Encoding: gzip, deflate\r\nX-Client-Info: product=python-sdk,version=3.66.0\r\n\r\n")
	callers := make([]*caller, n)
	for i := range callers {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return callers[:i], err
		}
		callers[i] = &caller{Conn: c, request: request, answer: ok, size: size, room: make([]byte, max(size, usualSize)+8<<10)}
	}
	return callers, nil
}

func hangUp(callers []*caller) {
	for _, c := range callers {
		_ = c.Close()
	}
}

// load has all of them send one request after the other for so long, and returns how
// many were answered. Anything but a 200 is an error. A rate is how many requests a
// second they begin together; 0: as many as are answered.
func load(callers []*caller, during time.Duration, rate int) (answered int, took *histogram, err error) {
	return loadFrom(time.Now(), callers, during, rate)
}

// loadFrom is load, but that the first requests at a rate were due then.
func loadFrom(begin time.Time, callers []*caller, during time.Duration, rate int) (answered int, took *histogram, err error) {
	until := begin.Add(during)
	var group sync.WaitGroup
	for i, c := range callers {
		if rate == 0 {
			group.Go(func() { c.send(until) })
			continue
		}
		each := time.Second * time.Duration(len(callers)) / time.Duration(rate)
		first := begin.Add(each * time.Duration(i) / time.Duration(len(callers))) // not all at once
		group.Go(func() { c.pace(first, until, each) })
	}
	group.Wait()
	took = new(histogram)
	for _, c := range callers {
		if c.err != nil {
			return 0, nil, c.err
		}
		took.add(&c.took)
		c.took = histogram{}
	}
	return took.count(), took, nil
}

var ok = []byte("HTTP/1.1 200")

// send sends one request, and more until then. It allocates nothing.
func (c *caller) send(until time.Time) {
	for now := time.Now(); ; {
		if c.err = c.ask(); c.err != nil {
			return
		}
		then := time.Now()
		c.took.note(then.Sub(now))
		if now = then; !now.Before(until) {
			return
		}
	}
}

// pace sends a request whenever one is due until then, or as soon as the one before is
// answered. The time it took is counted from when it was due: who makes callers wait
// does not have fewer requests to answer for it. It allocates nothing.
func (c *caller) pace(due, until time.Time, each time.Duration) {
	for ; due.Before(until); due = due.Add(each) {
		rest(time.Until(due))
		if c.err = c.ask(); c.err != nil {
			return
		}
		c.took.note(time.Since(due))
	}
}

// rest is time.Sleep, but a tenth of a millisecond late and not half a one.
func rest(d time.Duration) {
	if d > 0 {
		left := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&left, nil) // a signal ends it early: one request is early then
	}
}

// ask sends one request and reads its answer.
func (c *caller) ask() error {
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	line, size, err := harness.ReadMessage(c.Conn, c.room)
	if err == nil && (!bytes.HasPrefix(line, c.answer) || size != c.size && c.size != anySize) {
		err = fmt.Errorf("answered %q with %d bytes, not %d", line, size, c.size)
	}
	return err
}

// steps are how many a histogram has from one power of two to the next. What is compared
// with a bound of a tenth has to be told much finer than that.
const steps = 64

// histogram counts durations in steps of a 64th.
type histogram [32 * steps]int

func (h *histogram) note(d time.Duration) {
	n := uint64(max(d, steps))
	exponent := bits.Len64(n) - bits.Len64(steps)
	h[min(exponent*steps+int(n>>exponent)-steps, len(h)-1)]++
}

func (h *histogram) add(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

func (h *histogram) count() (n int) {
	for _, one := range h {
		n += one
	}
	return n
}

// above is how many exceeded so many µs by a step.
func (h *histogram) above(limit float64) (n int) {
	for i, one := range h {
		if bound(i) > limit {
			n += one
		}
	}
	return n
}

// longest is the step of the longest, in µs.
func (h *histogram) longest() (limit float64) {
	for i, n := range h {
		if n > 0 {
			limit = bound(i)
		}
	}
	return limit
}

// bound is where a step begins, in µs.
func bound(i int) float64 { return float64(uint64(i%steps+steps)<<(i/steps)) / 1e3 }

// quantile is what that share of them did not exceed, in µs.
func (h *histogram) quantile(share float64) float64 {
	left := int(share * float64(h.count()))
	for i, n := range h {
		if left -= n; left < 0 {
			return bound(i)
		}
	}
	return 0
}
