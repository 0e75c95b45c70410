package daemon

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestMemory_IsBoundByTheCgroupUnlessTheEnvironmentSays(t *testing.T) {
	none := func(err error) memlimit.Provider {
		return func() (uint64, error) { return 0, fmt.Errorf("reading: %w", err) }
	}
	broken := errors.New("permission denied")
	for _, tt := range []struct {
		name   string
		env    map[string]string
		cgroup memlimit.Provider
		want   memoryBounds
	}{
		{"no limit", nil, none(memlimit.ErrNoLimit), memoryBounds{gcPercent: 400}},
		{"no cgroup", nil, none(memlimit.ErrNoCgroup), memoryBounds{gcPercent: 400}},
		{"no cgroups on this system", nil, none(memlimit.ErrCgroupsNotSupported), memoryBounds{gcPercent: 400}},
		{"256 MiB", nil, memlimit.Limit(256 << 20), memoryBounds{gcPercent: 400, limit: 214748364}},
		{"a limit beyond all", nil, memlimit.Limit(math.MaxUint64), memoryBounds{gcPercent: 400}},
		{"GOGC", map[string]string{"GOGC": "100"}, memlimit.Limit(1000), memoryBounds{limit: 800}},
		{"GOMEMLIMIT", map[string]string{"GOMEMLIMIT": "1GiB"}, memlimit.Limit(1000), memoryBounds{gcPercent: 400}},
		{"both, of which one turns it off", map[string]string{"GOMEMLIMIT": "off", "GOGC": "off"}, none(broken), memoryBounds{}},
		{"what cannot be read", nil, none(broken), memoryBounds{gcPercent: 400, err: broken}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := chooseMemory(func(name string) string { return tt.env[name] }, tt.cgroup)
			if !errors.Is(got.err, tt.want.err) || got.gcPercent != tt.want.gcPercent || got.limit != tt.want.limit {
				t.Errorf("chosen is %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Noting what is allocated costs each request some, for a profile that nobody can get.
func TestMemory_NothingIsNotedUnlessProfilesAreWanted(t *testing.T) {
	const usual = 512 << 10
	defer func(before int) { runtime.MemProfileRate = before }(runtime.MemProfileRate)
	for wanted, rate := range map[bool]int{true: usual, false: 0} {
		runtime.MemProfileRate = usual
		if sampleMemory(wanted); runtime.MemProfileRate != rate {
			t.Errorf("profiles wanted %v: a sample each %d bytes, want %d", wanted, runtime.MemProfileRate, rate)
		}
	}
}
