package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bearerd/policy"
)

// write is Write by several writers at the same time.
func write(t *testing.T, writers, each int, l *Log) {
	t.Helper()
	var wait sync.WaitGroup
	for writer := range writers {
		wait.Go(func() {
			for n := range each {
				if err := l.Write(numbered(writer, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

// checkAll fails unless each line of the writers is in the files once, and nothing else.
func checkAll(t *testing.T, writers, each int, paths ...string) {
	t.Helper()
	seen, broken := map[string]int{}, 0
	for _, path := range paths {
		lines, odd := parsed(t, path)
		for _, line := range lines {
			seen[line["request_id"]]++
		}
		broken += odd
	}
	lost, twice := 0, 0
	for writer := range writers {
		for n := range each {
			switch seen[numbered(writer, n).RequestID] {
			case 0:
				lost++
			case 1:
			default:
				twice++
			}
		}
	}
	if lost+twice+broken > 0 || len(seen) != writers*each {
		t.Errorf("%d lines of %d lost, %d twice, %d that cannot be parsed, %d known", lost, writers*each, twice, broken, len(seen))
	}
	t.Logf("audit: %d lines of %d writers in %d files, %d lost, %d that cannot be parsed", writers*each, writers, len(paths), lost, broken)
}

func TestLog_LosesNothingWhileItIsRenamed(t *testing.T) {
	l, path := opened(t)
	const writers, each = 8, 2000
	var done atomic.Bool
	rotated := make(chan []string)
	go func() { // ends with the writers
		var paths []string
		for n := 0; !done.Load(); n++ {
			to := fmt.Sprint(path, ".", n)
			if os.Rename(path, to) == nil {
				paths = append(paths, to)
			}
		}
		rotated <- paths
	}()
	write(t, writers, each, l)
	done.Store(true)
	paths := <-rotated
	if _, err := os.Stat(path); err == nil {
		paths = append(paths, path)
	}
	if len(paths) < 2 {
		t.Fatalf("rotated %d times", len(paths))
	}
	checkAll(t, writers, each, paths...)
}

func TestLog_IsSharedByLogs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const writers, each = 8, 500
	var wait sync.WaitGroup
	for writer := range writers {
		l, err := Open(policy.AuditConfig{File: path}) // a descriptor each, as processes have
		if err != nil {
			t.Fatal(err)
		}
		wait.Go(func() {
			defer func() { _ = l.Close() }()
			for n := range each {
				if err := l.Write(numbered(writer, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	checkAll(t, writers, each, path)
}

func TestLog_GoesOnInTheSameFile(t *testing.T) {
	l, path := opened(t)
	write(t, 1, 1, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(Event{Kind: Denied}); err == nil {
		t.Error("a Write after Close succeeds")
	}
	again, err := Open(policy.AuditConfig{File: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if err := again.Write(numbered(0, 1)); err != nil {
		t.Fatal(err)
	}
	checkAll(t, 1, 2, path)
}

func TestLog_FollowsItsPath(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(path string) error
		want   int // lines in the file at the path afterwards, one of which is written then
	}{
		{"renamed", func(path string) error { return os.Rename(path, path+".1") }, 1},
		{"removed", os.Remove, 1},
		{"cut to nothing", func(path string) error { return os.Truncate(path, 0) }, 1},
		{"copied and cut", func(path string) error {
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path+".1", text, 0o600), os.Truncate(path, 0))
		}, 1},
		{"replaced by one with a line", func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("{}\n"), 0o600), os.Rename(path+".new", path))
		}, 2},
		{"replaced by one that ends within a line", func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("{}\n{}"), 0o600), os.Rename(path+".new", path))
		}, 3},
		{"its directory renamed and made again", func(path string) error {
			dir := filepath.Dir(path)
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log", "audit.jsonl")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			l, err := Open(policy.AuditConfig{File: path})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			write(t, 1, 3, l)
			if err := tt.change(path); err != nil {
				t.Fatal(err)
			}
			write(t, 1, 1, l)
			if lines, broken := parsed(t, path); len(lines) != tt.want || broken != 0 {
				t.Errorf("%d lines and %d that cannot be parsed, want %d", len(lines), broken, tt.want)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestLog_TriesAgainWithTheNextWrite(t *testing.T) {
	l, path := opened(t)
	dir := filepath.Dir(path)
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Write(Event{Kind: Denied}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Write() = %v, want that there is no directory", err)
		}
	}
	if got := l.Failed(); got != 3 {
		t.Errorf("Failed() = %d, want 3", got)
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	write(t, 1, 2, l)
	checkAll(t, 1, 2, path)
}

// disk is a file of which the space is bounded, and which may hang.
type disk struct {
	mu    sync.Mutex
	text  []byte
	space int
	hangs chan struct{} // Write waits until it is closed
	calls int
}

func (d *disk) Write(data []byte) (int, error) {
	d.mu.Lock()
	d.calls++
	hangs := d.hangs
	d.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(data), d.space)
	d.text, d.space = append(d.text, data[:n]...), d.space-n
	if n < len(data) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

func (d *disk) Close() error               { return nil }
func (d *disk) Stat() (fs.FileInfo, error) { return sized(len(d.text)), nil }

type sized int64

func (s sized) Size() int64      { return int64(s) }
func (sized) Name() string       { return "" }
func (sized) Mode() fs.FileMode  { return 0 }
func (sized) ModTime() time.Time { return time.Time{} }
func (sized) IsDir() bool        { return false }
func (sized) Sys() any           { return nil }

func (d *disk) log() *Log {
	return &Log{
		path: "audit.jsonl", turn: make(chan struct{}, 1), file: d,
		open:  func(string) (sink, error) { return nil, errors.New("opened again") },
		moved: func(string, sink) bool { return false },
	}
}

func TestLog_ALineInPartIsEndedBeforeTheNext(t *testing.T) {
	whole, err := numbered(0, 0).encode(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for space := range 2*len(whole) + 3 {
		d := &disk{space: space}
		l := d.log()
		good := 0
		for n := range 5 {
			if n == 3 {
				d.space = 1 << 20
			}
			if l.Write(numbered(0, n)) == nil {
				good++
			}
		}
		path := filepath.Join(t.TempDir(), "text")
		if err := os.WriteFile(path, d.text, 0o600); err != nil {
			t.Fatal(err)
		}
		lines, broken := parsed(t, path)
		if len(lines) < good || broken > 1 || l.Failed() != int64(5-good) || good < 2 {
			t.Errorf("%d bytes of space: %d written well, %d lines, %d broken, %d failed:\n%s", space, good, len(lines), broken, l.Failed(), d.text)
		}
		if strings.Contains(string(d.text), "\n\n") {
			t.Errorf("%d bytes of space: an empty line", space)
		}
	}
}

func TestLog_AShortWriteIsAnError(t *testing.T) {
	l := (&disk{space: 1 << 20}).log()
	l.file = short{l.file}
	if err := l.Write(numbered(0, 0)); !errors.Is(err, io.ErrShortWrite) || l.Failed() != 1 {
		t.Errorf("Write() = %v, %d failed", err, l.Failed())
	}
}

type short struct{ sink }

func (short) Write(data []byte) (int, error) { return len(data) - 1, nil }

func TestLog_AFileSystemThatHangsCostsASecondOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{space: 1 << 20, hangs: make(chan struct{})}
		l := d.log()
		start := time.Now()
		var wait sync.WaitGroup
		var errs atomic.Int64
		for writer := range 100 {
			wait.Go(func() {
				if l.Write(numbered(writer, 0)) != nil {
					errs.Add(1)
				}
			})
		}
		wait.Wait()
		first := time.Since(start)
		for writer := range 1000 {
			if l.Write(numbered(writer, 1)) != nil {
				errs.Add(1)
			}
		}
		if first != writeTimeout || time.Since(start) != first || errs.Load() != 1100 || l.Failed() != 1100 || d.count() != 1 {
			t.Errorf("%v, then %v; %d errors, %d failed, %d writes hang", first, time.Since(start)-first, errs.Load(), l.Failed(), d.count())
		}
		close(d.hangs)
		synctest.Wait()
		if err := l.Write(numbered(0, 2)); err != nil {
			t.Errorf("once it is back: %v", err)
		}
		if d.count() != 2 {
			t.Errorf("%d writes, want the one that hung and the one afterwards", d.count())
		}
		t.Logf("audit: the disk hangs: 100 writers wait %v, 1000 more none, 1 write hangs; then it goes on", first)
	})
}

func TestLog_CloseDoesNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{space: 1 << 20, hangs: make(chan struct{})}
		l := d.log()
		go func() { _ = l.Write(numbered(0, 0)) }()
		synctest.Wait()
		start := time.Now()
		if err := l.Close(); err == nil || time.Since(start) > writeTimeout {
			t.Errorf("Close() = %v after %v", err, time.Since(start))
		}
		close(d.hangs)
		synctest.Wait()
		if l.file != nil {
			t.Error("the file is open still")
		}
	})
}

func BenchmarkLog_Write(b *testing.B) {
	l, err := Open(policy.AuditConfig{File: filepath.Join(b.TempDir(), "audit.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	event := Event{Kind: Allowed, RequestID: "0123456789abcdef", Caller: "cron", Upstream: "transfer", Method: "POST", Path: "/v0.10/transfer", Rule: "nightly"}
	for b.Loop() {
		if err := l.Write(event); err != nil {
			b.Fatal(err)
		}
	}
}
