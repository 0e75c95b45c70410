// Package test holds bearerd as a black box, and the house's own rules.
package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows are who may import whom, within bearerd.
var arrows = map[string][]string{
	"bearerd":             {"bearerd/proxy/daemon", "bearerd/credentials"},
	"bearerd/credentials": {},
	"bearerd/policy":      {},

	"bearerd/policy/audit":           {"bearerd/policy"},
	"bearerd/policy/identity":        {"bearerd/policy"},
	"bearerd/proxy/admin":            {"bearerd/credentials"},
	"bearerd/proxy/metrics":          {"bearerd/credentials", "bearerd/proxy"},
	"bearerd/credentials/filestore":  {"bearerd/credentials"},
	"bearerd/credentials/redisstore": {"bearerd/credentials"},
	"bearerd/credentials/storetest":  {"bearerd/credentials"},
	"bearerd/proxy":                  {"bearerd/credentials", "bearerd/policy"},
	"bearerd/proxy/daemon":           {"bearerd/credentials", "bearerd/credentials/filestore", "bearerd/credentials/redisstore", "bearerd/proxy/admin", "bearerd/proxy/metrics", "bearerd/policy", "bearerd/policy/audit", "bearerd/policy/identity", "bearerd/proxy", "bearerd/test/emulator"},
	"bearerd/test/emulator":          {},
	"bearerd/test/harness":           {"bearerd/test/emulator"},

	"bearerd/test/bench":             {"bearerd/test/emulator", "bearerd/test/harness"},
	"bearerd/test/battery":           {"bearerd/test/emulator", "bearerd/test/harness"},
	"bearerd/test/redis":             {"bearerd/test/harness"},
	"bearerd/test/harness/nosecrets": {"bearerd/test/emulator", "bearerd/test/harness"},
}

// rooms are where each third-party module may be imported: a file, or a folder.
var rooms = map[string]string{
	"github.com/gorilla/mux":                                    "proxy/route.go",
	"github.com/sony/gobreaker/v2":                              "proxy/breaker.go",
	"golang.org/x/sync/semaphore":                               "proxy/spool.go",
	"golang.org/x/sync/singleflight":                            "credentials/client_credentials.go",
	"github.com/go-jose/go-jose/v4":                             "credentials/client_auth_jwt.go",
	"github.com/go-jose/go-jose/v4/jwt":                         "credentials/client_auth_jwt.go",
	"github.com/coreos/go-oidc/v3/oidc":                         "policy/identity",
	"github.com/prometheus/client_golang/prometheus":            "proxy/metrics",
	"github.com/prometheus/client_golang/prometheus/collectors": "proxy/metrics",
	"github.com/prometheus/client_golang/prometheus/promhttp":   "proxy/metrics",
	"github.com/gofrs/flock":                                    "credentials/filestore",
	"github.com/redis/rueidis":                                  "credentials/redisstore",
	"github.com/redis/rueidis/rueidislock":                      "credentials/redisstore",
	"github.com/coreos/go-systemd/v22/activation":               "proxy/daemon/systemd_linux.go",
	"golang.org/x/net/http/httpguts":                            "proxy",
	"golang.org/x/net/proxy":                                    "proxy/connect.go",
	"golang.org/x/sync/errgroup":                                "proxy/daemon",
	"golang.org/x/sys/unix":                                     "proxy/peer_linux.go",
	"golang.org/x/oauth2":                                       "test/bench",
	"golang.org/x/oauth2/clientcredentials":                     "test/bench",
	"golang.org/x/time/rate":                                    "policy/limit.go",
	"github.com/rs/zerolog":                                     "proxy/daemon/log.go",
	"github.com/mattn/go-isatty":                                "proxy/daemon/log.go",
	"github.com/KimMachineGun/automemlimit/memlimit":            "proxy/daemon/memory.go",
	"go.yaml.in/yaml/v4":                                        "proxy/daemon/load.go",
	"github.com/spf13/cobra":                                    "main.go",
	"github.com/spf13/pflag":                                    "main.go",
}

func TestHouse_ArrowsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "bearerd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		allowed, listed := arrows[fields[0]]
		if !listed && len(fields) == 1 {
			continue // tests only
		}
		if !listed {
			t.Errorf("package %s has no place in the house", fields[0])
		}
		seen++
		for _, imported := range fields[1:] {
			if (imported == "bearerd" || strings.HasPrefix(imported, "bearerd/")) && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s, and may import only %v", fields[0], imported, allowed)
			}
		}
	}
	if seen != len(arrows) {
		t.Errorf("%d packages found, %d listed", seen, len(arrows))
	}
}

func TestHouse_ThirdPartiesHaveOneRoomEach(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." || entry.Name() == "tools") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		here := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
				continue // the standard library's, or ours
			}
			if room := rooms[name]; room == "" || here != room && filepath.ToSlash(filepath.Dir(here)) != room {
				t.Errorf("%s imports %s, whose room is %q", here, name, room)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestHouse_NoTemplatesInTheBinary because one import of html/template keeps
// every exported method in it and doubles its size.
func TestHouse_NoTemplatesInTheBinary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "bearerd").Output()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(out)), "html/template") {
		t.Error("the binary imports html/template")
	}
}
