package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

const cgroupLimit = 256 << 20 // bytes

// newCgroup makes a cgroup with cgroupLimit below the test's own, in which a
// process puts itself by writing into the file returned.
func newCgroup(t *testing.T) (procs string) {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skipf("no cgroups here: %v", err)
	}
	limit, parent := "memory.max", ""
	for line := range strings.Lines(string(own)) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		if controllers == "memory" { // version 1, which counts where there are both
			limit, parent = "memory.limit_in_bytes", filepath.Join("/sys/fs/cgroup/memory", path)
			break
		}
		if id == "0" {
			parent = filepath.Join("/sys/fs/cgroup", path)
		}
	}
	dir := filepath.Join(parent, fmt.Sprintf("bearerd-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skipf("cannot make a cgroup, which takes root and a writable file system of them: %v", err)
	}
	t.Cleanup(func() { // after bearerd has left it
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, limit), fmt.Append(nil, cgroupLimit), 0o600); err != nil {
		t.Skipf("cgroups here cannot limit memory: %v", err)
	}
	return filepath.Join(dir, "cgroup.procs")
}

func TestMemory_IsBoundByTheCgroup(t *testing.T) {
	procs := newCgroup(t)
	for _, tt := range []struct {
		name        string
		env         []string
		limit, gogc float64
	}{
		{"nothing said", nil, 0.8 * cgroupLimit, 400},
		{"by the environment", []string{"GOMEMLIMIT=100MiB", "GOGC=50"}, 100 << 20, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := harness.NewGlobus(t, emulator.Config{})
			b := harness.Start(t, harness.Config(g), harness.Env(tt.env...), harness.Within(procs))
			line := b.WaitLog(func(line map[string]any) bool { return line["message"] == "memory bounds" })
			if limit, _ := line["memory_limit_bytes"].(float64); limit != float64(int64(tt.limit)) || line["gogc"] != tt.gogc || line["of_cgroup"] != (tt.env == nil) {
				t.Errorf("logged is %v, want %.0f bytes and %v %%", line, tt.limit, tt.gogc)
			}
		})
	}
}
