package test

import (
	"strings"
	"syscall"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestGrace_ALongerDrainIsToldAtTheStartAndAtEachReload(t *testing.T) {
	config := strings.Replace(harness.Config(harness.NewGlobus(t, emulator.Config{})), "drain: {delay: 0s}", "drain: {delay: 0s, timeout: 5s}", 1)
	b := harness.Start(t, config, harness.Env("TERMINATION_GRACE=10"))
	const warning = "a drain may take longer than TERMINATION_GRACE, and requests would be cut off"
	if len(b.Lines(warning)) != 0 {
		t.Error("a drain of 5s is taken for longer than 10s")
	}
	b.Replace("config.yaml", strings.Replace(config, "timeout: 5s", "timeout: 30s", 1))
	b.Signal(syscall.SIGHUP)
	line := b.WaitLog(func(line map[string]any) bool { return line["message"] == warning })
	if line["write"] != "proxy.drain.timeout: 9s, or a grace of 31s where bearerd is stopped" {
		t.Errorf("it advises to write %q", line["write"])
	}
}

func TestGrace_IsReadAtTheStart(t *testing.T) {
	b := harness.Start(t, harness.Config(harness.NewGlobus(t, emulator.Config{})), harness.Env("TERMINATION_GRACE=soon"))
	b.WaitLog(func(line map[string]any) bool { return line["found"] == "soon" && line["level"] == "warn" })
}
