//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"bearerd/test/harness"
)

// streaming is one long body at a time.
type streaming struct {
	name string
	send func(s *stream, size int) error
}

var streamings = []streaming{
	{"down", (*stream).down},
	{"up", (*stream).up},
}

const mib = 1 << 20

// firstStreams, of firstSize, go before the memory of a contender at rest is looked at.
const (
	firstStreams = 4
	firstSize    = 4 * mib
)

// stream is a connection to a contender for long bodies.
type stream struct {
	net.Conn
	prefix string
	room   []byte
}

// run has a body go through each contender in turns, and notes a row of each.
func (w streaming) run(b *bench, ctx context.Context, s settings, r *report) error {
	up, err := startChild(ctx, "store")
	if err != nil {
		return err
	}
	defer up.stop()
	all, err := b.start(ctx, layout{upstream: up.addr, protocol: plain, files: true})
	defer func() { stopAll(all) }()
	if err != nil {
		return err
	}
	streams, rest := map[*contender]*stream{}, map[*contender]float64{}
	for _, c := range all {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		streams[c] = &stream{conn, c.prefix, make([]byte, 64<<10)}
		for range firstStreams {
			if err := w.send(streams[c], firstSize); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		rest[c] = memory(c.pid)
		if err := forgetPeak(c.pid); err != nil {
			return err
		}
	}
	done, err := inTurns(ctx, all, s.rounds, func(c *contender) (slice, error) {
		return watch(c.pid, func() (int, *histogram, error) {
			took, begun := new(histogram), time.Now()
			err := w.send(streams[c], s.stream*mib)
			took.note(time.Since(begun))
			return 1, took, err
		})
	})
	if err != nil {
		return err
	}
	for _, c := range all {
		row := rowOf(w.name, c, done[c], done[all[0]], done[all[1]])
		row.CPUPerGiB = row.CPU / 1e6 * 1024 / float64(s.stream)
		row.MBPerSecond = row.PerSecond * float64(s.stream) * mib / 1e6
		row.PeakMiB = (peak(c.pid) - rest[c]) / 1024
		r.Rows = append(r.Rows, row)
	}
	return nil
}

var endOfHead = []byte("\r\n\r\n")

// down has so many bytes come. It allocates nothing for them.
func (s *stream) down(size int) error {
	if _, err := fmt.Fprintf(s, "GET %s/%d HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", s.prefix, size); err != nil {
		return err
	}
	n, end := 0, -1
	for end < 0 && n < len(s.room) {
		more, err := s.Read(s.room[n:])
		if err != nil {
			return err
		}
		n += more
		end = bytes.Index(s.room[:n], endOfHead)
	}
	if end < 0 || !bytes.HasPrefix(s.room, ok) {
		return fmt.Errorf("answered %q", s.room[:min(n, 200)])
	}
	for left := size - (n - end - len(endOfHead)); left > 0; left -= n {
		var err error
		if n, err = s.Read(s.room[:min(left, len(s.room))]); err != nil {
			return fmt.Errorf("%d bytes before the end: %w", left, err)
		}
	}
	return nil
}

// up sends so many bytes. It allocates nothing for them.
func (s *stream) up(size int) error {
	if _, err := fmt.Fprintf(s, "PUT %s/ HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: %d\r\n\r\n", s.prefix, size); err != nil {
		return err
	}
	clear(s.room)
	for left := size; left > 0; left -= len(s.room) {
		if _, err := s.Write(s.room[:min(left, len(s.room))]); err != nil {
			return fmt.Errorf("%d bytes before the end: %w", left, err)
		}
	}
	line, _, err := harness.ReadMessage(s, s.room)
	if err == nil && !bytes.HasPrefix(line, ok) {
		err = fmt.Errorf("answered %q", line)
	}
	return err
}
