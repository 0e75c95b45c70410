package daemon

import (
	"errors"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	gcPercent   = 400 // most of what bearerd allocates is gone with its request, and what lives is small
	memoryShare = 0.8 // of what the cgroup may have; the rest is for stacks, the kernel's part and peaks
)

// memoryBounds are what the collector of garbage is told.
type memoryBounds struct {
	gcPercent int   // 0 leaves it as it is
	limit     int64 // in bytes; 0 leaves it as it is
	err       error // why the cgroup's limit is not known
}

// chooseMemory returns the bounds for a process whose cgroup has that limit. What
// GOGC and GOMEMLIMIT say, which Go's runtime has read, stays.
func chooseMemory(environment func(string) string, cgroup memlimit.Provider) (b memoryBounds) {
	if environment("GOGC") == "" {
		b.gcPercent = gcPercent
	}
	if environment("GOMEMLIMIT") != "" {
		return b
	}
	limit, err := memlimit.ApplyRatio(cgroup, memoryShare)()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
	case err != nil:
		b.err = err
	case limit <= math.MaxInt64:
		b.limit = int64(limit)
	}
	return b
}

// sampleMemory has Go's runtime note a sample of what is allocated, which a profile of
// memory is made of, or nothing. It does by itself in a program that may answer profiles.
func sampleMemory(wanted bool) {
	if !wanted {
		runtime.MemProfileRate = 0
	}
}

// boundMemory bounds this process's memory, and logs what then holds.
func boundMemory(log *logger) {
	chosen := chooseMemory(os.Getenv, memlimit.FromCgroup)
	if chosen.gcPercent != 0 {
		debug.SetGCPercent(chosen.gcPercent)
	}
	if chosen.limit != 0 {
		debug.SetMemoryLimit(chosen.limit)
	}
	holds := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(holds)
	event := log.Debug()
	limit := holds[1].Value.Uint64()
	if limit != math.MaxInt64 {
		event = log.Info().Uint64("memory_limit_bytes", limit).Bool("of_cgroup", chosen.limit != 0)
	}
	if chosen.err != nil {
		event = log.Warn().AnErr("err", chosen.err)
	}
	event.Int64("gogc", int64(holds[0].Value.Uint64())).Msg("memory bounds") // -1 if it is off
}
