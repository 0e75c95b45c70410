package corpus_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bearerd/test/harness"
)

// curl is curl in one version of HTTP. By default it offers HTTP/2 where it is told
// --http2, and sends what it is given.
func curl(version string) client {
	return client{"curl " + version, func(t *testing.T, at place) {
		path := program(t, "curl")
		send := func(args ...string) {
			t.Helper()
			run(t, at, nil, path, append([]string{version, "--silent", "--show-error", "--globoff", "--path-as-is", "--output", "/dev/null"}, args...)...)
		}
		for _, target := range at.urls(t) {
			send(target)
		}
		body := at.base + "/body"
		for i, data := range bodies() {
			send("--data-binary", "@"+write(t, at, fmt.Sprint(i), data), body)
		}
		upload := write(t, at, "upload", bodies()[4])
		send("--upload-file", upload, body)
		send("--request", "PATCH", "--json", `{"größe": 1}`, body)
		send("--data-urlencode", "a=b c&ü", "--data", "c=d", body)
		send("--get", "--data-urlencode", "q=a b&ü", at.base+"/query")
		if version != "--http1.0" {
			send("--header", "Transfer-Encoding: chunked", "--data-binary", "@"+upload, body)
		}
		for _, method := range []string{"DELETE", "OPTIONS"} {
			send("--request", method, at.base+"/method?x")
		}
		send("--head", at.base+"/method?x")
	}}
}

func write(t *testing.T, at place, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(at.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func runWget(t *testing.T, at place) {
	path := program(t, "wget")
	send := func(args ...string) {
		t.Helper()
		run(t, at, nil, path, append([]string{"--quiet", "--no-config", "--tries=1", "--output-document=/dev/null"}, args...)...)
	}
	send(at.urls(t)...)
	for i, data := range bodies() {
		send("--post-file="+write(t, at, fmt.Sprint(i), data), at.base+"/body")
	}
	send("--method=PUT", "--body-data=größe", at.base+"/body")
	send("--method=DELETE", at.base+"/method?x")
	send("--method=OPTIONS", at.base+"/method?x")
	send("--spider", at.base+"/method?x")
}

// runCLI is the Globus CLI; its Auth is the emulated one, both times.
func runCLI(t *testing.T, at place) {
	path := installed(t, "cli", "globus")
	env := []string{
		"GLOBUS_CLI_CLIENT_ID=" + at.globus.ClientID, "GLOBUS_CLI_CLIENT_SECRET=" + at.globus.Secret,
		"GLOBUS_SDK_SERVICE_URL_AUTH=" + at.globus.AuthURL + "/", "GLOBUS_SDK_SERVICE_URL_TRANSFER=" + at.base + "/",
	}
	body := write(t, at, "body.json", []byte(`{"DATA_TYPE": "transfer", "label": "größe"}`))
	for _, args := range [][]string{
		{"GET", "/v0.10/task_list", "-Q", "filter=type:TRANSFER,DELETE/label:ü*", "-Q", "orderby=request_time DESC", "-Q", "limit=10"},
		{"GET", "/v0.10/operation/endpoint/0b6a9f6e-7d0c-4c1f-9c0e-6a1c2b5d4e3f/ls", "-Q", "path=/~/a+b;c%d/größe"},
		{"GET", "/v0.10/endpoint/a b/x:y/ü(1)"},
		{"POST", "/v0.10/transfer", "--body-file", body},
		{"POST", "/v0.10/text", "--body", "größe", "--content-type", "text"},
		{"PUT", "/v0.10/endpoint/x", "--body", `{"a": 1}`},
		{"PATCH", "/v0.10/endpoint/x", "--body", `{}`},
		{"DELETE", "/v0.10/endpoint/x"},
		{"HEAD", "/v0.10/endpoint/x"},
	} {
		run(t, at, env, path, append([]string{"api", "transfer", "--no-retry"}, args...)...)
	}
}

func runGo(t *testing.T, at place) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	send := func(method, target string, body io.Reader) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, target, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	for _, target := range at.urls(t) {
		if _, err := url.Parse(target); err != nil {
			continue // it sends no such thing
		}
		send("GET", target, nil)
	}
	for _, data := range bodies() {
		send("POST", at.base+"/body", bytes.NewReader(data))
		send("PUT", at.base+"/body", io.MultiReader(bytes.NewReader(data))) // of a length that is not known: in chunks
	}
	for _, method := range []string{"HEAD", "DELETE", "OPTIONS", "PATCH"} {
		send(method, at.base+"/method?x", nil)
	}
}

func runLWP(t *testing.T, at place) {
	path := program(t, "perl")
	if exec.Command(path, "-MLWP::UserAgent", "-e1").Run() != nil {
		harness.Missing(t, "libwww-perl is not installed")
	}
	run(t, at, nil, path, "corpus.pl", "LWP", ".")
}
