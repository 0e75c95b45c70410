package daemon

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	logQueue      = 512 << 10 // bytes of lines that wait; as many may be on their way
	logFlushEvery = 100 * time.Millisecond
	logFlushAt    = 64 << 10 // bytes that are written without waiting for more
	logFlushEnd   = time.Second
	logBusyPause  = 10 * time.Millisecond
)

// queue is an io.Writer of whole lines that never waits: one goroutine writes them
// out, in order, and whatever happens to it there costs nobody else anything. A
// line that does not fit, or could not be written, is lost and counted.
type queue struct {
	out  io.Writer
	note func(lost uint64) []byte // the line that says how many were lost; may be empty
	half bool                     // out ends in half a line; the writing goroutine's own
	wake chan struct{}            // lines wait
	full chan struct{}            // many do

	mu      sync.Mutex // guards the fields below
	waiting []byte     // whole lines
	spare   []byte     // the memory of the lines that were written before
	lines   int        // in waiting
	untold  uint64     // lines lost that the log does not tell of yet

	dropped atomic.Uint64 // lines lost so far
}

func newQueue(out io.Writer, note func(lost uint64) []byte) *queue {
	return &queue{out: out, note: note, wake: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

// Write takes one line, which ends with its newline. It never fails: logs fail open.
func (q *queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(line) > logQueue {
		q.lose(1)
		return len(line), nil
	}
	q.waiting = append(q.waiting, line...)
	q.lines++
	if q.lines == 1 {
		signalOn(q.wake)
	}
	if len(q.waiting) >= logFlushAt {
		signalOn(q.full)
	}
	return len(line), nil
}

// lose counts lines that are lost. Its caller holds mu.
func (q *queue) lose(lines int) {
	q.untold += uint64(lines)
	q.dropped.Add(uint64(lines))
}

func signalOn(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// start starts to write. stop writes what waits and ends that; it gives up after
// logFlushEnd, as a pipe that nobody reads must not keep bearerd from exiting.
func (q *queue) start() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop, unless a write never returns
		q.run(done)
		close(ended)
	}()
	return func() {
		close(done)
		select {
		case <-ended:
		case <-time.After(logFlushEnd):
		}
	}
}

// run flushes until done is closed, and once more then.
func (q *queue) run(done <-chan struct{}) {
	for {
		select {
		case <-q.wake:
		case <-done:
			q.flush()
			return
		}
		select {
		case <-time.After(logFlushEvery):
		case <-q.full:
		case <-done:
		}
		q.flush()
	}
}

// flush writes what waits, and tells of what was lost before once that works.
func (q *queue) flush() {
	batch, lines, lost := q.take()
	if lines == 0 {
		return
	}
	written, err := q.write(batch)
	if err != nil || lost > 0 && !q.tell(lost) {
		lost = 0 // it is told another time
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = batch[:0]
	q.untold -= lost
	q.lose(lines - written)
}

// tell writes how many lines were lost, and reports whether it could.
func (q *queue) tell(lost uint64) bool {
	note := q.note(lost)
	if len(note) == 0 {
		return true // the log's level leaves it out
	}
	_, err := q.write(note)
	return err == nil
}

// take returns the lines that wait, how many they are, and how many lost lines are
// to be told of.
func (q *queue) take() (batch []byte, lines int, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch, lines = q.waiting, q.lines
	q.waiting, q.spare, q.lines = q.spare, nil, 0
	return batch, lines, q.untold
}

// write writes lines and returns how many of them are out, whole.
func (q *queue) write(lines []byte) (written int, err error) {
	if q.half { // what follows must stand on a line of its own
		if _, err := q.put([]byte{'\n'}); err != nil {
			return 0, err
		}
		q.half = false
	}
	n, err := q.put(lines)
	q.half = n > 0 && lines[n-1] != '\n'
	return bytes.Count(lines[:n], []byte{'\n'}), err
}

// put is Write, also to a pipe that another program has made non-blocking for all
// who hold it, as Node.js does.
func (q *queue) put(p []byte) (n int, err error) {
	for {
		var more int
		more, err = q.out.Write(p[n:])
		n += more
		if !errors.Is(err, syscall.EAGAIN) {
			return n, err
		}
		time.Sleep(logBusyPause)
	}
}
