package streams_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	mib      = 1 << 20
	long     = 1 << 10 // MiB: what goes up and down
	refused  = 256     // MiB: what goes up after its token was refused
	most     = 8 * mib // that a stream may need beside what bearerd has at rest
	patience = 2 * time.Minute
)

// rig is a bearerd as it is shipped, in front of a store.
type rig struct {
	*harness.Bearerd
	*store
	globus *harness.Globus
	idle   int64 // bytes that are resident at rest

	t *testing.T
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		harness.Missing(t, "curl is not installed")
	}
	g, s := harness.NewGlobus(t, emulator.Config{}), newStore(t)
	config := fmt.Sprintf(`proxy:
  listeners: [{address: "127.0.0.1:0"}]
  upstreams:
    files: {url: "%s", insecure_http: true, private: true, credential: transfer, path: files}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%s/v2/oauth2/token", insecure_http: true, private: true, client_id: "%s", client_secret: "file:secret"}
  tokens:
    transfer: {client: globus, resource_server: transfer.api.globus.org, scopes: ["%s"]}
log: {format: json}
policy:
  rules:
    - {name: files, callers: [local], upstreams: [files], methods: [GET, PUT], paths: ["/**"]}
`, s.url, g.AuthURL, g.ClientID, emulator.TransferScope)
	r := &rig{Bearerd: harness.Start(t, config, harness.Plain()), store: s, globus: g, t: t}
	r.down(length, 4) // so that code and connections are there
	r.up(length, 4)
	return r
}

// resident returns a figure of /proc/PID/status, in bytes.
func (r *rig) resident(name string) int64 {
	r.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID))
	if err != nil {
		r.t.Fatal(err)
	}
	found := regexp.MustCompile(name + `:\s*(\d+) kB`).FindSubmatch(status)
	if found == nil {
		r.t.Fatalf("no %s in\n%s", name, status)
	}
	n, _ := strconv.ParseInt(string(found[1]), 10, 64)
	return n << 10
}

// rest begins to measure.
func (r *rig) rest() {
	r.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", r.PID), []byte("5"), 0); err != nil {
		r.t.Fatal(err)
	}
	r.idle = r.resident("VmRSS")
}

// judge says what there was at the most since rest.
func (r *rig) judge(what string) {
	r.t.Helper()
	peak := r.resident("VmHWM") - r.idle
	fmt.Printf("%s: idle %.1f MiB, peak +%.1f MiB\n", what, float64(r.idle)/mib, float64(peak)/mib)
	if peak > most {
		r.t.Errorf("%s: bearerd needed %.1f MiB more than at rest, want %d at most", what, float64(peak)/mib, most/mib)
	}
}

const (
	length  = "length"
	chunked = "chunked"
)

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: patience}

// down has Go fetch so many MiB.
func (r *rig) down(framing string, size int64) {
	resp, err := client.Get(fmt.Sprintf("%s/files/%s/%d", r.URL, framing, size*mib))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != 200 || n != size*mib || err != nil || (resp.ContentLength < 0) != (framing == chunked) {
		r.t.Errorf("answered %d with %d bytes (%v)", resp.StatusCode, n, err)
	}
}

// up has Go send so many MiB.
func (r *rig) up(framing string, size int64) {
	req, err := http.NewRequest("PUT", r.URL+"/files/length/0", io.LimitReader(zeros{}, size*mib))
	if err != nil {
		r.t.Error(err)
		return
	}
	if framing == length {
		req.ContentLength = size * mib
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Error(err)
		return
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		r.t.Errorf("answered %d %s", resp.StatusCode, text)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// curl runs it, and returns the status and what it counts.
func (r *rig) curl(count string, stdin io.Reader, args ...string) (status string, n int64) {
	r.t.Helper()
	cmd := exec.Command("curl", append([]string{"-sS", "--max-time", "120", "-o", "/dev/null", "-w", "%{http_code} %{" + count + "}"}, args...)...)
	cmd.Stdin = stdin
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		r.t.Errorf("curl: %v %s", err, errors.String())
	}
	status, text, _ := strings.Cut(string(out), " ")
	n, _ = strconv.ParseInt(text, 10, 64)
	return status, n
}

func (r *rig) curlDown(framing string, size int64) {
	if status, n := r.curl("size_download", nil, fmt.Sprintf("%s/files/%s/%d", r.URL, framing, size*mib)); status != "200" || n != size*mib {
		r.t.Errorf("curl is answered %s with %d bytes", status, n)
	}
}

func (r *rig) curlUp(framing string, size int64) {
	file := "-"
	var stdin io.Reader
	if framing == length {
		file = filepath.Join(r.t.TempDir(), "zeros") // which takes no place
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			r.t.Fatal(err)
		}
		if err := os.Truncate(file, size*mib); err != nil {
			r.t.Fatal(err)
		}
	} else {
		stdin = io.LimitReader(zeros{}, size*mib)
	}
	if status, n := r.curl("size_upload", stdin, "-T", file, r.URL+"/files/length/0"); status != "200" || n < size*mib {
		r.t.Errorf("curl is answered %s after %d bytes", status, n)
	}
}

func TestMemory_OfLongStreamsIsConstant(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		what    string
		framing string
		run     func(framing string, size int64)
		up      bool
	}{
		{"1 GiB down, Go", length, r.down, false},
		{"1 GiB down in chunks, Go", chunked, r.down, false},
		{"1 GiB down, curl", length, r.curlDown, false},
		{"1 GiB down in chunks, curl", chunked, r.curlDown, false},
		{"1 GiB up, Go", length, r.up, true},
		{"1 GiB up in chunks, Go", chunked, r.up, true},
		{"1 GiB up, curl", length, r.curlUp, true},
		{"1 GiB up in chunks, curl", chunked, r.curlUp, true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r.t = t
			r.received.Store(0)
			begun := time.Now()
			r.rest()
			tt.run(tt.framing, long)
			r.judge(tt.what)
			if got := r.received.Load(); tt.up && got != long*mib {
				t.Errorf("the upstream received %d bytes, want %d", got, long*mib)
			}
			t.Logf("%v", time.Since(begun).Round(time.Millisecond))
		})
	}
}

// TestUpload_WhoseTokenIsRefusedIsSentOnce: the upstream says so before any of the body.
func TestUpload_WhoseTokenIsRefusedIsSentOnce(t *testing.T) {
	for _, tt := range []struct {
		what    string
		framing string
		close   bool
		run     func(r *rig, framing string, size int64)
	}{
		{"Go", length, false, (*rig).up},
		{"in chunks, Go", chunked, false, (*rig).up},
		{"and the connection closed, Go", length, true, (*rig).up},
		{"in chunks and the connection closed, Go", chunked, true, (*rig).up},
		{"curl", length, false, (*rig).curlUp},
		{"in chunks and the connection closed, curl", chunked, true, (*rig).curlUp},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r := newRig(t) // a credential is not renewed a second time at once
			answer := "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 2\r\n"
			if tt.close {
				answer += "Connection: close\r\n"
			}
			r.received.Store(0)
			r.asked.Store(0)
			renewals := r.globus.Count("auth", "/v2/oauth2/token")
			r.refusals.Store(&refusal{answer + "\r\nno"})
			r.rest()
			tt.run(r, tt.framing, refused)
			r.judge("256 MiB up with a token refused, " + tt.what)
			if got := r.received.Load(); got != refused*mib {
				t.Errorf("the upstream received %d bytes, want %d: the body once", got, refused*mib)
			}
			if got := r.asked.Load(); got != 2 {
				t.Errorf("the upstream was asked %d times, want 2", got)
			}
			if got := r.globus.Count("auth", "/v2/oauth2/token") - renewals; got != 1 {
				t.Errorf("%d tokens were asked for, want 1", got)
			}
		})
	}
}
