//go:build !linux

package daemon

import (
	"testing"

	"bearerd/test/harness"
)

func asNobody(t *testing.T, _ func()) { harness.Missing(t, "threads of another user are Linux's") }
