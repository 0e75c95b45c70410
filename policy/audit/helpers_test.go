package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"bearerd/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opened is a Log in a directory of its own, which ends with the test.
func opened(t *testing.T) (l *Log, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(policy.AuditConfig{File: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

// numbered is an event that can be told from others.
func numbered(writer, n int) Event { return Event{Kind: Denied, RequestID: fmt.Sprint(writer, "-", n)} }

// parsed returns the lines that can be parsed, and how many cannot.
func parsed(t *testing.T, path string) (lines []map[string]string, broken int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for one := range strings.Lines(string(text)) {
		var line map[string]string
		if json.Unmarshal([]byte(one), &line) != nil {
			broken++
			continue
		}
		lines = append(lines, line)
	}
	return lines, broken
}
