package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"bearerd/policy"
	"bearerd/proxy"
	"bearerd/test/harness"
)

const policyDoc = "../docs/policy.md"

// TestPolicyDocs_EachWorkedPolicyDoesWhatItsTableSays runs docs/policy.md: every
// configuration is right, and `bearerd explain` says of every request what stands
// in the table below it.
func TestPolicyDocs_EachWorkedPolicyDoesWhatItsTableSays(t *testing.T) {
	policies := readPolicies(t)
	rows := 0
	for _, p := range policies {
		rows += len(p.rows)
		t.Run(p.title, func(t *testing.T) {
			t.Parallel()
			p.write(t)
			if out, code := p.run(t, "check"); code != 0 {
				t.Fatalf("bearerd check: exit %d\n%s", code, out)
			}
			for _, r := range p.rows {
				out, code := p.run(t, r.command()...)
				if code != r.code || !strings.Contains(out, r.want) || r.credential != "" && !strings.Contains(out, "\ncredential "+r.credential+"\n") {
					t.Errorf("%s\nbearerd %s\nsays, with exit %d,\n%swant exit %d and %q", r.text, strings.Join(r.command(), " "), code, out, r.code, r.want)
				}
			}
		})
	}
	if len(policies) < 10 {
		t.Errorf("docs/policy.md has %d worked policies, want 10 at least", len(policies))
	}
	t.Logf("%d worked policies, %d requests", len(policies), rows)
}

// TestPolicyDocs_ShowWhatExplainPrints, of the first policy.
func TestPolicyDocs_ShowWhatExplainPrints(t *testing.T) {
	shown := regexp.MustCompile("(?s)```\n\\$ bearerd ([^\n]*)\n(.*?)```").FindStringSubmatch(string(read(t, policyDoc)))
	if shown == nil {
		t.Fatal("docs/policy.md shows no command of bearerd")
	}
	p := readPolicies(t)[0]
	p.write(t)
	if got, _ := p.run(t, strings.Fields(shown[1])...); got != shown[2] {
		t.Errorf("bearerd %s prints\n%swant\n%s", shown[1], got, shown[2])
	}
}

// TestPolicyDocs_NameEveryKey that policies, listeners and upstreams have.
func TestPolicyDocs_NameEveryKey(t *testing.T) {
	text := string(read(t, policyDoc))
	for _, section := range []any{policy.Config{}, proxy.ListenerConfig{}, proxy.UpstreamConfig{}} {
		for _, key := range yamlKeys(reflect.TypeOf(section)) {
			if !strings.Contains(text, "`"+key+"`") && !strings.Contains(text, "`"+key+":") {
				t.Errorf("docs/policy.md does not name `%s`", key)
			}
		}
	}
}

// yamlKeys returns the keys of a section of the configuration and of all below it.
func yamlKeys(section reflect.Type) []string {
	switch section.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return yamlKeys(section.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var keys []string
	for field := range section.Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if field.IsExported() && key != "-" && key != "" {
			keys = append(append(keys, key), yamlKeys(field.Type)...)
		}
	}
	return keys
}

// A workedPolicy is one of docs/policy.md.
type workedPolicy struct {
	title  string
	config string
	bodies map[string]string // by the name of the file
	rows   []policyRow
	dir    string // where it is run
}

// policyRow is a line of a worked policy's table, and what `bearerd explain` must
// make of it.
type policyRow struct {
	text                 string
	caller, method, path string
	headers              []string
	body                 string // the name of a file; "" for none
	code                 int
	want                 string // in what is printed
	credential           string // that it would leave with; "" for any
}

var (
	fencedBlock = regexp.MustCompile("(?ms)(?:^`([a-z0-9.-]+)`[^\n]*:\n\n)?^```(\\w*)\n(.*?)^```$")
	requestCell = regexp.MustCompile("^`([A-Z]+) (/[^`]*)`((?: `[^`]+`)*)$")
	byRule      = regexp.MustCompile("^(allowed|denied) by `([a-z0-9.-]+)`(?: with `([a-z0-9.-]+)`)?$")
	byCode      = regexp.MustCompile("^([0-9]{3}) `([a-z_]+)`$")
)

func readPolicies(t *testing.T) []*workedPolicy {
	t.Helper()
	_, worked, found := strings.Cut(string(read(t, policyDoc)), "\n## Worked policies\n")
	if !found {
		t.Fatal("docs/policy.md has no section Worked policies")
	}
	var policies []*workedPolicy
	for _, part := range strings.Split(worked, "\n### ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		p := &workedPolicy{title: title, bodies: map[string]string{}}
		for _, block := range fencedBlock.FindAllStringSubmatch(text, -1) {
			switch name, language, content := block[1], block[2], block[3]; {
			case language == "yaml" && p.config == "":
				p.config = content
			case language == "json" && name != "":
				p.bodies[name] = content
			case language == "yaml", language == "json":
				t.Errorf("%s: a second configuration, or a body without a name above it:\n%s", title, content)
			}
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| caller |") {
				p.rows = append(p.rows, p.readRow(t, strings.TrimSpace(line)))
			}
		}
		if p.config == "" || len(p.rows) == 0 {
			t.Errorf("%s: %d requests on %d bytes of configuration", title, len(p.rows), len(p.config))
		}
		policies = append(policies, p)
	}
	return policies
}

func (p *workedPolicy) readRow(t *testing.T, line string) policyRow {
	t.Helper()
	cells := strings.Split(strings.Trim(line, "| "), " | ")
	if len(cells) != 4 {
		t.Fatalf("%s: %s\nhas %d cells, want 4", p.title, line, len(cells))
	}
	request := requestCell.FindStringSubmatch(cells[1])
	if request == nil {
		t.Fatalf("%s: %s\nhas no request", p.title, line)
	}
	r := policyRow{text: line, method: request[1], path: request[2]}
	for header := range strings.SplitSeq(strings.Trim(request[3], " `"), "` `") {
		if header != "" {
			r.headers = append(r.headers, header)
		}
	}
	if cells[0] != "-" {
		r.caller = cells[0]
	}
	if cells[2] != "-" {
		r.body = cells[2]
		if p.bodies[r.body] == "" {
			t.Fatalf("%s: %s\nthere is no %s", p.title, line, r.body)
		}
	}
	if !r.expect(cells[3]) {
		t.Fatalf("%s: %s\nhas no outcome that a test could want", p.title, line)
	}
	return r
}

// expect reads an outcome, and reports whether it is one.
func (r *policyRow) expect(outcome string) bool {
	rule, code := byRule.FindStringSubmatch(outcome), byCode.FindStringSubmatch(outcome)
	switch {
	case rule != nil && rule[1] == "allowed":
		r.want, r.credential = "\ndecide     allowed by rule "+rule[2]+"\n", rule[3]
		return true
	case rule != nil:
		r.want = ": rule " + rule[2] + " denies it"
	case code != nil:
		r.want = "refused with " + code[1] + " " + code[2] + ":"
	case outcome == "denied":
		r.want = "\nrules      no rule matches: denied\n"
	case outcome == "never":
		r.want = "is never forwarded, whatever the rules say"
	default:
		return false
	}
	r.code = 1
	return true
}

func (r *policyRow) command() []string {
	args := []string{"explain", r.method, r.path}
	if r.caller != "" {
		args = append(args, "--as", r.caller)
	}
	if r.body != "" {
		args = append(args, "--body", r.body)
	}
	for _, header := range r.headers {
		args = append(args, "-H", header)
	}
	return args
}

var (
	fileReference = regexp.MustCompile(`file:([a-z0-9.-]+)`)
	envReference  = regexp.MustCompile(`env:([A-Z_]+)`)
)

// write makes a directory with the configuration, its bodies, and what it refers
// to: certificates (.crt) and their keys (.key), callers' keys (-keys), secrets.
func (p *workedPolicy) write(t *testing.T) {
	t.Helper()
	p.dir = t.TempDir()
	files := map[string]string{"config.yaml": p.config}
	certificate, key := makeCertificate(t)
	for _, match := range fileReference.FindAllStringSubmatch(p.config, -1) {
		switch name := match[1]; {
		case strings.HasSuffix(name, ".crt"):
			files[name] = certificate
		case strings.HasSuffix(name, ".key"):
			files[name] = key
		case strings.HasSuffix(name, "-keys"):
			files[name] = fmt.Sprintf("%x\n", sha256.Sum256([]byte(rand.Text())))
		default:
			files[name] = rand.Text() + "\n"
		}
	}
	for name, content := range p.bodies {
		files[name] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs bearerd in the policy's directory, and returns all that it wrote and
// its exit code.
func (p *workedPolicy) run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	command := exec.Command(harness.Binary(t), args...)
	command.Dir, command.Env = p.dir, []string{"HOME=" + p.dir}
	for _, match := range envReference.FindAllStringSubmatch(p.config, -1) {
		command.Env = append(command.Env, match[1]+"="+rand.Text())
	}
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), command.ProcessState.ExitCode()
}

// makeCertificate returns a certificate for itself and its key, in PEM.
func makeCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bearerd.example.org"}, DNSNames: []string{"bearerd.example.org"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", signed), block("PRIVATE KEY", plain)
}
