package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// note is the line that tells of lost ones.
func note(lost uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lost) }

// outlet is a disk or pipe that takes room bytes at most, and then fails.
type outlet struct {
	bytes.Buffer
	room int
	err  error
}

func (o *outlet) Write(p []byte) (int, error) {
	n, _ := o.Buffer.Write(p[:min(o.room, len(p))])
	o.room -= n
	if n < len(p) {
		return n, o.err
	}
	return n, nil
}

const plenty = 1 << 30

// lockedBuffer is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex // guards data
	data []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.data)
}

// steps flushes after each of them: a number is the room there is from now on.
func steps(t *testing.T, q *queue, out *outlet, all ...any) string {
	t.Helper()
	for _, one := range all {
		if room, ok := one.(int); ok {
			out.room = room
			continue
		}
		for line := range strings.Lines(one.(string)) {
			if n, err := q.Write([]byte(line)); n != len(line) || err != nil {
				t.Errorf("Write = %d, %v; want no error, ever", n, err)
			}
		}
		q.flush()
	}
	return out.String()
}

func TestLogQueue_WhatCannotBeWrittenIsLostCountedAndTold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		steps   []any
		want    string
		dropped uint64
	}{
		{"all is well", []any{plenty, "a\nb\n", "c\n"}, "a\nb\nc\n", 0},
		{"nothing fits for a moment", []any{0, "a\nb\n", plenty, "c\n", "d\n"}, "c\nlost 2\nd\n", 2},
		{"nothing ever fits", []any{0, "a\nb\n", "c\n", "d\n"}, "", 4},
		{"some lines fit", []any{4, "a\nb\nc\nd\n", plenty, "e\n"}, "a\nb\ne\nlost 2\n", 2},
		{"half a line fits", []any{6, "aaa\nbbb\nccc\n", plenty, "ddd\n"}, "aaa\nbb\nddd\nlost 2\n", 2},
		{"half a line fits, and then its end does not", []any{2, "aaa\n", 0, "bbb\n", plenty, "ccc\n"}, "aa\nccc\nlost 2\n", 2},
		{"all but the newline fits", []any{3, "aaa\n", plenty, "bbb\n"}, "aaa\nbbb\nlost 1\n", 1},
		{"what tells of it does not fit either", []any{0, "a\n", 2, "b\n", plenty, "c\n"}, "b\nc\nlost 1\n", 1},
		{"half of what tells of it fits", []any{0, "a\n", 4, "b\n", plenty, "c\n"}, "b\nlo\nc\nlost 1\n", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := &outlet{err: syscall.ENOSPC}
			q := newQueue(out, note)
			if got := steps(t, q, out, tt.steps...); got != tt.want {
				t.Errorf("written is %q, want %q", got, tt.want)
			}
			if got := q.dropped.Load(); got != tt.dropped {
				t.Errorf("%d lines dropped, want %d", got, tt.dropped)
			}
		})
	}
}

func TestLogQueue_LinesAppearSoonAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		q := newQueue(&out, note)
		stop := q.start()
		_, _ = q.Write([]byte("first\n"))
		synctest.Wait()
		if out.String() != "" {
			t.Error("a line was written at once, which costs a request a write(2)")
		}
		time.Sleep(logFlushEvery)
		synctest.Wait()
		if out.String() != "first\n" {
			t.Errorf("after %v there is %q", logFlushEvery, out.String())
		}
		long := strings.Repeat("x", logFlushAt) + "\n"
		_, _ = q.Write([]byte("second\n"))
		_, _ = q.Write([]byte(long))
		synctest.Wait()
		if out.String() != "first\nsecond\n"+long {
			t.Error("many lines are not written at once")
		}
		_, _ = q.Write([]byte("last\n"))
		stop()
		if !strings.HasSuffix(out.String(), "\nlast\n") {
			t.Error("the last line is not written at the end")
		}
	})
}

// A writer that is stuck has a batch of lines, and half the memory; the rest waits.
func TestLogQueue_AStuckWriterCostsLinesAndNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe() // takes nothing until it is read
		q := newQueue(writer, note)
		stop := q.start()
		line := []byte(strings.Repeat("x", 1023) + "\n")
		begin := time.Now()
		const lines = 4 * logQueue / 1024
		_, _ = q.Write(line)
		time.Sleep(logFlushEvery)
		synctest.Wait() // it is stuck with that one
		for range lines - 1 {
			_, _ = q.Write(line)
		}
		if took := time.Since(begin); took != logFlushEvery {
			t.Errorf("%d lines took %v of waiting", lines, took)
		}
		const kept = 1 + logQueue/1024
		if got := q.dropped.Load(); got != lines-kept {
			t.Errorf("%d of %d lines dropped, want %d", got, lines, lines-kept)
		}
		var got bytes.Buffer
		read := make(chan struct{})
		go func() {
			_, _ = io.Copy(&got, reader)
			close(read)
		}()
		time.Sleep(time.Second)
		_, _ = q.Write([]byte("after\n"))
		stop()
		_ = writer.Close()
		<-read
		if want := strings.Repeat(string(line), kept) + fmt.Sprintf("lost %d\nafter\n", lines-kept); got.String() != want {
			t.Errorf("read are %d bytes that end in %q, want %d", got.Len(), got.Bytes()[max(0, got.Len()-30):], len(want))
		}
	})
}

func TestLogQueue_AStuckWriterDoesNotKeepItFromEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		q := newQueue(writer, note)
		stop := q.start()
		_, _ = q.Write([]byte("never read\n"))
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != logFlushEnd {
			t.Errorf("it took %v to end, want %v", took, logFlushEnd)
		}
		_ = reader.Close() // so that its goroutine ends
	})
}

// A real pipe that is non-blocking, as Node.js makes those it inherits.
func TestLogQueue_ANonBlockingPipeLosesNothing(t *testing.T) {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		t.Fatal(err)
	}
	reader := os.NewFile(uintptr(ends[0]), "reader")
	writer := os.NewFile(uintptr(ends[1]), "writer") // blocking to Go, which therefore does not wait for room
	if err := syscall.SetNonblock(ends[1], true); err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	line := []byte(strings.Repeat("x", 1023) + "\n")
	if _, err := writer.Write(bytes.Repeat(line, 1024)); !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("the full pipe says %v, want EAGAIN", err)
	}
	q := newQueue(writer, note)
	for range 256 {
		_, _ = q.Write(line)
	}
	stop := q.start()
	total := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, reader)
		total <- n
	}()
	stop()
	_ = writer.Close()
	if n := <-total; n < 256*1024 || q.dropped.Load() != 0 {
		t.Errorf("%d bytes read and %d lines dropped, want all of 256 KiB beside what was in the pipe", n, q.dropped.Load())
	}
}
