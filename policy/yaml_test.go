package policy

import (
	"fmt"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v4"
)

func TestConfig_ReadsWhatThePolicySectionMayHave(t *testing.T) {
	const text = `
identity:
  kubernetes: {audience: bearerd, url: https://api, ca: file:/ca, token: file:/token}
  jwt: {gitlab: {issuer: https://gitlab.example.org, audience: bearerd, algorithms: [RS256], ca: file:/ca, jwks: https://x/keys, insecure_http: true, private: true}}
callers:
  - {name: cron, user: 1001, group: staff, address: [10.0.0.0/8], key: file:keys, certificate: cron.example.org}
  - {name: sim, service_account: [sim/runner, sim/other]}
  - {name: ci, jwt: gitlab, claims: {project_path: [lab/data, lab/more], protected: true, id: 42}}
rules:
  - name: nightly
    callers: [cron]
    upstreams: [example]
    methods: [POST]
    paths: [/v0.10/transfer]
    query: {dry: {in: [true, 5, x]}}
    body: {/a: {in: [A, 1, 2.5, true, null]}, "/b/*/c": {under: /archive/}, /d: {absent_or: [false]}, /e: {absent_or: []}}
    max_body: 8MiB
    limits: {rate: 5/s, concurrency: 4}
    credential: narrow
  - {name: no, callers: [local], upstreams: [example], methods: [GET], paths: [/**], deny: true, max_body: 1000}
audit: {file: /var/log/audit.jsonl, reads: true, required: true}
`
	var got Config
	if err := yaml.Load([]byte(text), &got, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	want := Config{
		Identity: IdentityConfig{
			Kubernetes: &KubernetesConfig{"bearerd", "https://api", "file:/ca", "file:/token"},
			JWT:        map[string]JWTConfig{"gitlab": {"https://gitlab.example.org", "bearerd", []string{"RS256"}, "file:/ca", "https://x/keys", true, true}},
		},
		Callers: []CallerConfig{
			{Name: "cron", User: "1001", Group: "staff", Address: []string{"10.0.0.0/8"}, Key: "file:keys", Certificate: Texts{"cron.example.org"}},
			{Name: "sim", ServiceAccount: Texts{"sim/runner", "sim/other"}},
			{Name: "ci", JWT: "gitlab", Claims: map[string]Texts{"project_path": {"lab/data", "lab/more"}, "protected": {"true"}, "id": {"42"}}},
		},
		Rules: []RuleConfig{
			{
				Name: "nightly", Callers: []string{"cron"}, Upstreams: []string{"example"}, Methods: []string{"POST"}, Paths: []string{"/v0.10/transfer"},
				Query:   conditions{"dry": in(true, 5, "x")},
				Body:    conditions{"/a": in("A", 1, 2.5, true, nil), "/b/*/c": under("/archive/"), "/d": absentOr(false), "/e": absentOr()},
				MaxBody: 8 * mib, Limits: LimitsConfig{"5/s", 4}, Credential: "narrow",
			},
			{Name: "no", Callers: []string{Local}, Upstreams: []string{"example"}, Methods: []string{"GET"}, Paths: []string{"/**"}, Deny: true, MaxBody: 1000},
		},
		Audit: AuditConfig{"/var/log/audit.jsonl", true, true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
	if got.Rules[0].Body["/e"].AbsentOr == nil {
		t.Error("an empty absent_or is read as none")
	}
	got.Rules[1].MaxBody = 0
	var mistakes noted
	got.Identity.JWT["gitlab"] = JWTConfig{Issuer: "https://gitlab.example.org", Audience: "bearerd"}
	New(got, upstreams(), &mistakes)
	wantLines(t, mistakes.lines)
}

func TestSize_ReadsAndWritesBytes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "65536": 65536, "64KiB": 65536, "8MiB": 8 << 20, "1GiB": 1 << 30, "1kB": 1000, "1KB": 1000, "2MB": 2_000_000, "8 MiB": 8 << 20, "10B": 10,
		"": -1, "-1": -1, "8mib": -1, "MiB": -1, "1.5MiB": -1, "1e3": -1, "8 miles": -1, "99999999999999999999": -1, "9999999999GiB": -1,
	} {
		var got Size
		if err := yaml.Load(fmt.Appendf(nil, "%q", text), &got); err != nil || got != want {
			t.Errorf("%q is read as %d (%v), want %d", text, got, err, want)
		}
	}
	for size, want := range map[Size]string{0: "0B", 1000: "1000B", 65536: "64KiB", 8 << 20: "8MiB", 1<<20 + 1: "1048577B"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written as %s, want %s", int64(size), got, want)
		}
	}
	var got Size
	if err := yaml.Load([]byte("[1]"), &got); err == nil {
		t.Error("a list is read as a size")
	}
}
