package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the program of this test process.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Binary returns the path of bearerd, built from this tree at the first call in
// a test process: with the race detector if the tests have it, so that a race
// is an exit code other than 0. See Main.
func Binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "bearerd-test-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "bearerd")
		args := append([]string{"build", "-o", built.path}, buildFlags...)
		if out, err := exec.Command("go", append(args, "bearerd")...).CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// Missing ends a test that needs what is not installed here: it is skipped, but in
// CI, where everything is to be had, it fails.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Main is a package's TestMain: it runs the tests, then what comes after them, and
// removes what Binary built.
func Main(m *testing.M, after ...func()) {
	code := m.Run()
	for _, do := range after {
		do()
	}
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}
