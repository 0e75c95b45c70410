package test

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bearerd/proxy"
	"bearerd/test/harness"
)

const (
	distVersion = "v0.0.0-test"
	distEpoch   = 1_700_000_000
	maxBinary   = 20 << 20
)

// TestDist_IsCompleteStaticAndTheSameEverywhere makes the tarballs twice: here as
// anybody would, and of a copy elsewhere, from nothing, where all is different
// that may be.
func TestDist_IsCompleteStaticAndTheSameEverywhere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("make dist needs GNU tar")
	}
	if testing.Short() {
		t.Skip("takes a minute")
	}
	here, there := t.TempDir(), t.TempDir()
	makeDist(t, "..", here)
	copied := filepath.Join(t.TempDir(), "a copy", "of bearerd")
	copySources(t, copied)
	makeDist(t, copied, there, "HOME="+t.TempDir(), "GOCACHE="+t.TempDir(), "TZ=Asia/Kolkata", "LC_ALL=C.UTF-8",
		"GOFLAGS=-buildvcs=false -ldflags=-X=main.tagged=other", "GOAMD64=v3", "BEARERD_NO_DESCRIPTIONS=true", "BEARERD_CONFIG=/nowhere")

	var sums strings.Builder
	for _, arch := range []string{"amd64", "arm64"} {
		tarball := "bearerd-" + distVersion + "-linux-" + arch + ".tar.gz"
		data := read(t, filepath.Join(here, tarball))
		if string(data) != string(read(t, filepath.Join(there, tarball))) {
			t.Errorf("%s is another one when made elsewhere", tarball)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), tarball)
		t.Run(arch, func(t *testing.T) { checkTarball(t, filepath.Join(here, tarball), arch) })
	}
	for _, dir := range []string{here, there} {
		if got := string(read(t, filepath.Join(dir, "SHA256SUMS"))); got != sums.String() {
			t.Errorf("SHA256SUMS is\n%swant\n%s", got, sums.String())
		}
	}
}

// makeDist runs make dist on the tree in dir, with NAME=value pairs more in the
// environment and, with any, another umask.
func makeDist(t *testing.T, dir, to string, env ...string) {
	t.Helper()
	modules, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	umask := "022"
	if len(env) > 0 {
		umask = "077"
	}
	command := exec.Command("sh", "-c", `umask "$1"; shift; exec make "$@"`, "sh", umask,
		"dist", "DIST="+to, "VERSION="+distVersion, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", distEpoch))
	command.Dir = dir
	// MAKEFLAGS are those of the make that runs the tests.
	command.Env = append(append(os.Environ(), "MAKEFLAGS=", "GOMODCACHE="+strings.TrimSpace(string(modules))), env...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make dist: %v\n%s", err, out)
	}
}

// copySources copies the tree without what is built or hidden in it.
func copySources(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && below != "." && (strings.HasPrefix(entry.Name(), ".") || below == "dist"):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, below), 0o700)
		case !entry.Type().IsRegular() || below == "bearerd":
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, below), data, info.Mode().Perm()&0o700)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkTarball looks at every file of one, and runs the program where it can.
func checkTarball(t *testing.T, tarball, arch string) {
	root := strings.TrimSuffix(filepath.Base(tarball), ".tar.gz")
	dir := unpack(t, tarball, map[string]int64{
		root + "/": 0o755, root + "/CHANGELOG.md": 0o644, root + "/LICENSE": 0o644, root + "/README.md": 0o644,
		root + "/bearerd": 0o755, root + "/bearerd.service": 0o644, root + "/bearerd.socket": 0o644, root + "/config.yaml": 0o644,
		root + "/completions/": 0o755, root + "/completions/_bearerd": 0o644,
		root + "/completions/bearerd.bash": 0o644, root + "/completions/bearerd.fish": 0o644,
		root + "/docs/": 0o755, root + "/docs/policy.md": 0o644, root + "/docs/security.md": 0o644, root + "/docs/tools.md": 0o644, root + "/docs/credentials.md": 0o644, root + "/docs/forwarding.md": 0o644, root + "/docs/performance.md": 0o644,
	})
	for name, of := range map[string]string{"config.yaml": "config.yaml", "LICENSE": "LICENSE", "bearerd.service": "deploy/bearerd.service", "bearerd.socket": "deploy/bearerd.socket"} {
		if string(read(t, filepath.Join(dir, root, name))) != string(read(t, filepath.Join("..", of))) {
			t.Errorf("%s is not the tree's", name)
		}
	}
	for _, name := range []string{"_bearerd", "bearerd.bash", "bearerd.fish"} {
		text := string(read(t, filepath.Join(dir, root, "completions", name)))
		if !strings.Contains(text, "bearerd") || strings.Contains(text, "__completeNoDesc") {
			t.Errorf("completions/%s does not complete bearerd with descriptions", name)
		}
	}
	binary := filepath.Join(dir, root, "bearerd")
	checkStatic(t, binary, arch)
	if runtime.GOARCH != arch {
		return
	}
	for _, tt := range []struct{ args, want string }{
		{"version", "bearerd " + distVersion + " ("},
		{"demo --once", ""},
	} {
		command := exec.Command(binary, strings.Fields(tt.args)...)
		command.Dir, command.Env = t.TempDir(), []string{} // nothing to lean on
		if out, err := command.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), tt.want) {
			t.Errorf("bearerd %s: %v, said at last %q; want %q", tt.args, err, out[max(0, len(out)-400):], tt.want)
		}
	}
}

// checkStatic is about glibc: a program without an interpreter and without
// libraries asks for none, whatever release it meets.
func checkStatic(t *testing.T, path, arch string) {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; file.Machine != want {
		t.Errorf("the program is for %v, want %v", file.Machine, want)
	}
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: it has %v", part.Type)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > maxBinary {
		t.Errorf("the program has %d bytes (%v), want at most %d", info.Size(), err, maxBinary)
	}
}

// unpack unpacks a tarball that holds exactly the names wanted, with their modes,
// in order, root's, and of one time.
func unpack(t *testing.T, tarball string, want map[string]int64) string {
	t.Helper()
	file, err := os.Open(tarball)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if unzipped.Name != "" || !unzipped.ModTime.IsZero() {
		t.Errorf("gzip's header says %q of %v, want nothing", unzipped.Name, unzipped.ModTime)
	}
	dir, got := t.TempDir(), []string{}
	for in := tar.NewReader(unzipped); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.Name)
		if mode, known := want[header.Name]; !known || header.Mode != mode || header.Uid != 0 || header.Gid != 0 || header.Uname+header.Gname != "" || !header.ModTime.Equal(time.Unix(distEpoch, 0)) {
			t.Errorf("%s has mode %o, owner %d:%d %s%s and time %v", header.Name, header.Mode, header.Uid, header.Gid, header.Uname, header.Gname, header.ModTime)
			continue
		}
		path := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, 0o700)
		} else {
			var data []byte
			if data, err = io.ReadAll(in); err == nil {
				err = os.WriteFile(path, data, fs.FileMode(header.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(got) || len(got) != len(want) {
		t.Errorf("the tarball holds %q, want all of %q, sorted", got, slices.Sorted(maps.Keys(want)))
	}
	return dir
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unit reads the settings of a unit file; those given several times are lists.
func unit(t *testing.T, name string) (text string, settings map[string][]string) {
	t.Helper()
	text, settings = string(read(t, "../deploy/"+name)), map[string][]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = append(settings[key], value)
		}
	}
	return text, settings
}

func TestUnit_SaysWhatBearerdDoes(t *testing.T) {
	_, settings := unit(t, "bearerd.service")
	for key, want := range map[string]string{
		"ExecStart":                "/usr/local/bin/bearerd run --config /etc/bearerd/config.yaml",
		"ExecReload":               "/bin/kill -HUP $MAINPID",
		"EnvironmentFile":          "-/etc/bearerd/environment",
		"LoadCredential":           "secret:/etc/bearerd/secret",
		"Restart":                  "on-failure",
		"RestartPreventExitStatus": "78",
		"DynamicUser":              "yes",
		"NoNewPrivileges":          "yes",
		"ProtectSystem":            "strict",
		"MemoryDenyWriteExecute":   "yes",
		"RestrictAddressFamilies":  "AF_INET AF_INET6 AF_UNIX AF_NETLINK",
		"SystemCallFilter":         "@system-service",
		"CapabilityBoundingSet":    "",
	} {
		if got := settings[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q once", key, got, want)
		}
	}
	drain := proxy.Default().Drain
	if stop, err := time.ParseDuration(strings.Join(settings["TimeoutStopSec"], "") + "s"); err != nil || stop <= drain.Delay+drain.Timeout {
		t.Errorf("TimeoutStopSec is %v (%v), want longer than a drain of %v", stop, err, drain.Delay+drain.Timeout)
	}
	if got, want := settings["Environment"], "TERMINATION_GRACE="+settings["TimeoutStopSec"][0]; len(got) != 1 || got[0] != want {
		t.Errorf("Environment is %q, want %s", got, want)
	}
}

// The socket's unit and what its comment has one write into config.yaml are of one mind.
func TestUnit_SocketHasTheNameOfItsListener(t *testing.T) {
	text, settings := unit(t, "bearerd.socket")
	name := settings["FileDescriptorName"]
	if len(name) != 1 || !slices.Equal(settings["ListenStream"], []string{"127.0.0.1:8080", "[::1]:8080"}) {
		t.Fatalf("FileDescriptorName is %q, ListenStream %q, want one and those of localhost:8080", name, settings["ListenStream"])
	}
	listeners := `listeners: [{address: "systemd:` + name[0] + `"}]`
	if !strings.Contains(text, "#     "+listeners+"\n") {
		t.Errorf("its comment does not say %s", listeners)
	}
	dir := t.TempDir()
	config := strings.Replace(string(read(t, "../config.yaml")), "proxy:\n", "proxy:\n  "+listeners+"\n", 1)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	check := exec.Command(harness.Binary(t), "check")
	check.Dir, check.Env = dir, []string{"GLOBUS_CLIENT_ID=me", "GLOBUS_CLIENT_SECRET=c2VjcmV0="}
	if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "is right") {
		t.Errorf("with that in config.yaml: %v, said %s", err, out)
	}
}

func TestUnit_IsRightToSystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		harness.Missing(t, "systemd-analyze is not installed")
	}
	dir := t.TempDir()
	for _, name := range []string{"bearerd.service", "bearerd.socket"} {
		text, _ := unit(t, name)
		// It looks for the programs, too, which need not be on this machine.
		text = strings.NewReplacer("/usr/local/bin/bearerd", harness.Binary(t), "/bin/kill", harness.Binary(t)).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bearerd.service", "bearerd.socket"} { // which is the service's
		if out, err := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, name)).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify %s: %v, said %s", name, err, out)
		}
	}
}

// Both ways that the unit's comment tells, with the shipped file, and what is
// said where the secret was forgotten.
func TestUnit_BothPlacesOfTheSecretWork(t *testing.T) {
	shipped := string(read(t, "../config.yaml"))
	credential := strings.Replace(shipped, "env:GLOBUS_CLIENT_SECRET", "credential:secret", 1)
	if credential == shipped {
		t.Fatal("the shipped config.yaml names no GLOBUS_CLIENT_SECRET")
	}
	for _, tt := range []struct {
		name, config, secret string
		env                  []string
		want                 int
		said                 string
	}{
		{"environment file", shipped, "\n", []string{"GLOBUS_CLIENT_SECRET=c2VjcmV0="}, 0, "is right"},
		{"credential", credential, "c2VjcmV0=\n", nil, 0, "is right"},
		{"no credential", credential, "\n", nil, 78, "is empty; write the secret into it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"config.yaml": tt.config, "secret": tt.secret} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400); err != nil {
					t.Fatal(err)
				}
			}
			command := exec.Command(harness.Binary(t), "check", "--config", filepath.Join(dir, "config.yaml"))
			command.Env = append(tt.env, "CREDENTIALS_DIRECTORY="+dir, "GLOBUS_CLIENT_ID=id")
			out, _ := command.CombinedOutput()
			if code := command.ProcessState.ExitCode(); code != tt.want || !strings.Contains(string(out), tt.said) {
				t.Errorf("exit %d, said %q; want %d and %q", code, out, tt.want, tt.said)
			}
		})
	}
}
