// Package audit writes down what was allowed and denied: one JSON object a line, in
// a file that is only ever appended to. Several processes may share one; it may be
// renamed or cut short under them, as logrotate does, without a signal.
//
// A line is there when Write returns nil, as far as the system is concerned: it is
// not flushed to the disk.
package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"bearerd/policy"
)

// writeTimeout bounds a Write: behind it a request waits.
const writeTimeout = time.Second

var (
	errClosed = errors.New("the audit file is closed")
	errStuck  = errors.New("the audit file's file system does not answer; check the disk or mount of policy.audit.file")
)

// Log is an audit file. Safe for concurrent use.
type Log struct {
	path string
	open func(path string) (sink, error)
	// moved reports whether the path names another file now, or none.
	moved func(path string, ours sink) bool

	turn   chan struct{} // holds a value while somebody has the fields below
	file   sink          // nil after a failure
	broken bool          // the file's last line has no end

	late   atomic.Pointer[call] // the last that took too long
	closed atomic.Bool
	failed atomic.Int64
}

// call is something done with the file, in a goroutine of its own.
type call struct {
	done chan struct{} // closed once err is set
	err  error
}

func (c *call) hangs() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// sink is the part of an *os.File that is needed.
type sink interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
}

// Open opens the file, or makes it with mode 0600. Its errors say what to do; those
// of the configuration alone are also Check's. Only cfg.File is looked at: which
// events are written, and whether one that is not denies, is for the caller.
func Open(cfg policy.AuditConfig) (*Log, error) {
	l := &Log{path: cfg.File, open: openFile, moved: movedFile, turn: make(chan struct{}, 1)}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// Write appends one line. It returns within a second: if the file system hangs,
// this and all that follow are errors until it has come back. A write that was
// given up may still arrive. An error is counted, and leaves no harm behind: the
// next Write opens the file anew if it must, and ends what was written in part.
func (l *Log) Write(event Event) error {
	data, err := event.encode(time.Now())
	if err == nil {
		err = l.within(func() error { return l.append(data) })
	}
	if err != nil {
		l.failed.Add(1)
	}
	return err
}

// Failed is how many Writes have returned errors.
func (l *Log) Failed() int64 { return l.failed.Load() }

// Close closes the file, and waits at most a second for it. A Write afterwards is
// an error.
func (l *Log) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	return l.within(l.release)
}

// within runs f when it is its turn, for at most writeTimeout in all. An f that
// takes longer keeps its turn, so that there is never more than one that hangs.
func (l *Log) within(f func() error) error {
	if l.late.Load().hangs() {
		return errStuck
	}
	timer := time.NewTimer(writeTimeout)
	defer timer.Stop()
	select {
	case l.turn <- struct{}{}:
	case <-timer.C:
		return errStuck
	}
	made := &call{done: make(chan struct{})}
	go func() { // ends with f; a hung file system may keep it, and no second one
		made.err = f()
		if l.closed.Load() {
			_ = l.release() // Close may have given up waiting
		}
		<-l.turn
		close(made.done)
	}()
	select {
	case <-made.done:
		return made.err
	case <-timer.C:
		l.late.Store(made)
		return errStuck
	}
}

// append writes a line where the path is now.
func (l *Log) append(data []byte) error {
	if l.closed.Load() {
		return errClosed
	}
	if l.file == nil || l.moved(l.path, l.file) {
		if err := l.reopen(); err != nil {
			return err
		}
	}
	if l.broken {
		info, err := l.file.Stat()
		if err == nil && info.Size() > 0 { // it may have been cut to nothing since
			data = append([]byte{'\n'}, data...)
		}
	}
	n, err := l.file.Write(data) // one write(2), so that lines of several processes do not mix
	if n == len(data) && err == nil {
		l.broken = false
		return nil
	}
	if n > 0 {
		onlyTheEnd := n == 1 && data[0] == '\n' // that was missing
		l.broken = !onlyTheEnd
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	if errors.Is(err, fs.ErrClosed) {
		_ = l.release()
	}
	return fmt.Errorf("writing the audit file %s: %w", l.path, pathCause(err))
}

// reopen takes the file that the path names now. The old one is closed first: where
// there is none that can be written to, nothing is.
func (l *Log) reopen() error {
	_ = l.release()
	file, err := l.open(l.path)
	if err != nil {
		return err
	}
	l.file, l.broken = file, endsWithin(l.path, file)
	return nil
}

func (l *Log) release() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func pathCause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
