package clients_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"bearerd/test/harness"
)

// The clients, each by what it is called where people get it.
var (
	curl           = client{"curl", says("curl", "--version")}
	wget           = client{"wget", says("wget", "--version")}
	httpie         = client{"HTTPie", says("http", "--version")}
	requestsClient = client{"requests", sdk4.version("requests")}
	urllib         = client{"urllib (Python)", sdk4.version("")}
	cli            = client{"globus-cli", globusCLI.version("globus-cli")}
	javascript     = client{"@globus/sdk", javascriptVersion}
	urlConnection  = client{"HttpURLConnection (JDK)", says("java", "--version")}
	jdkClient      = client{"HttpClient (JDK)", says("java", "--version")}
	httpTiny       = client{"HTTP::Tiny", says("perl", "-MHTTP::Tiny", "-e", "print HTTP::Tiny->VERSION")}
	lwp            = client{"LWP", says("perl", "-MLWP", "-e", "print LWP->VERSION")}
	rClient        = client{"R", says("Rscript", "--version")}
)

// client returns the SDK itself as one.
func (s sdk) client() client {
	return client{"globus-sdk " + s.name[len("sdk"):] + ".x", s.version("globus-sdk")}
}

// says asks a program of the system.
func says(name string, args ...string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return run(t, program(t, name), nil, args...)
	}
}

// version asks for that of a package, of Python itself if it is "".
func (s sdk) version(name string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return run(t, s.python(t), nil, "-c",
			"import importlib.metadata, platform, sys; print(importlib.metadata.version(sys.argv[1]) if sys.argv[1] else platform.python_version())", name)
	}
}

const modules = "../../.cache/clients/javascript/node_modules"

func javascriptVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(modules, "@globus/sdk/package.json"))
	if err != nil {
		harness.Missing(t, "@globus/sdk is not installed; run make clients")
	}
	var about struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &about); err != nil {
		t.Fatal(err)
	}
	return about.Version
}

// What make clients installed is what its files pin; the table names versions.
func TestClients_AreThosePinned(t *testing.T) {
	for _, tt := range []struct {
		client  client
		file    string
		pattern string // of the pin
	}{
		{sdk4.client(), sdk4.requirements, `(?m)^globus-sdk==(.+)$`},
		{sdk3.client(), sdk3.requirements, `(?m)^globus-sdk==(.+)$`},
		{requestsClient, sdk4.requirements, `(?m)^requests==(.+)$`},
		{cli, globusCLI.requirements, `(?m)^globus-cli==(.+)$`},
		{javascript, "javascript/package.json", `"@globus/sdk": "(.+)"`},
	} {
		t.Run(tt.client.name, func(t *testing.T) {
			text, err := os.ReadFile(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			pin := regexp.MustCompile(tt.pattern).FindSubmatch(text)
			if pin == nil {
				t.Fatalf("%s does not pin it", tt.file)
			}
			if got := versionOf(t, tt.client); got != string(pin[1]) {
				t.Errorf("%s is installed, want %s", got, pin[1])
			}
		})
	}
}
