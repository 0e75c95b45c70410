package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built are the programs of this test process: as the tests themselves are, and plain.
var built struct {
	tested, plain program
}

// program is bearerd, once it was built.
type program struct {
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
	return built.tested.build(t, buildFlags...)
}

// build builds it at the first call.
func (p *program) build(t testing.TB, flags ...string) string {
	t.Helper()
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "bearerd-test-"); p.err != nil {
			return
		}
		p.path = filepath.Join(p.dir, "bearerd")
		args := append([]string{"build", "-o", p.path}, flags...)
		if out, err := exec.Command("go", append(args, "bearerd")...).CombinedOutput(); err != nil {
			p.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
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
	for _, p := range []*program{&built.tested, &built.plain} {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir)
		}
	}
	os.Exit(code)
}
