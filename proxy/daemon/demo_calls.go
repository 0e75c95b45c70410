package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"

	"bearerd/test/emulator"
)

// demoCalls makes the calls of `demo --once` as a tool without OAuth would, and
// shows each beside what the upstream received.
type demoCalls struct {
	out    io.Writer
	base   string
	globus *emulator.Emulator
	failed []string
}

// demoCall is one call and how it should go.
type demoCall struct {
	title        string
	method, path string
	body         string
	status       int
	code         string // Bearerd-Error; "" where the upstream answers
	received     []int  // the statuses the upstream answered, one each time it was asked
}

func (d *demoCalls) make(ctx context.Context) error {
	d.call(ctx, demoCall{title: "List the service account's collections (Globus Transfer)", method: "GET",
		path: "/transfer/v0.10/endpoint_search?filter_scope=my-endpoints", status: 200, received: []int{200}})
	d.call(ctx, demoCall{title: "Who am I? (Globus Auth: another resource server, another token)", method: "GET",
		path: "/auth/v2/oauth2/userinfo", status: 200, received: []int{200}})
	var id struct {
		Value string `json:"value"`
	}
	answer := d.call(ctx, demoCall{title: "Submit a transfer: first an id", method: "GET",
		path: "/transfer/v0.10/submission_id", status: 200, received: []int{200}})
	d.check(json.Unmarshal(answer, &id) == nil && id.Value != "", "submission_id has no value")
	ends := d.globus.EndpointIDs()
	var task struct {
		ID string `json:"task_id"`
	}
	answer = d.call(ctx, demoCall{title: "Submit a transfer", method: "POST", path: "/transfer/v0.10/transfer", status: 202, received: []int{202},
		body: fmt.Sprintf(`{"DATA_TYPE":"transfer","submission_id":"%s","source_endpoint":"%s","destination_endpoint":"%s","DATA":[{"DATA_TYPE":"transfer_item","source_path":"/a","destination_path":"/b"}]}`, id.Value, ends[0], ends[1])})
	d.check(json.Unmarshal(answer, &task) == nil && task.ID != "", "the submission has no task_id")
	d.globus.Revoke("transfer.api.globus.org")
	d.call(ctx, demoCall{title: "Now every token is revoked. The tool does not notice: one renewal, one replay", method: "GET",
		path: "/transfer/v0.10/task/" + task.ID, status: 200, received: []int{401, 200}})
	d.call(ctx, demoCall{title: "What no rule allows does not leave", method: "POST",
		path: "/transfer/v0.10/delete", body: "{}", status: 403, code: "denied"})
	d.call(ctx, demoCall{title: "What hands out credentials never leaves, whatever the rules say", method: "POST",
		path: "/auth/v2/oauth2/token/introspect", body: "token=x", status: 403, code: "denied"})
	if len(d.failed) > 0 {
		return errors.New("demo: " + strings.Join(d.failed, "; "))
	}
	_, err := fmt.Fprintln(d.out, "All went as it should.")
	return err
}

func (d *demoCalls) check(ok bool, complaint string) {
	if !ok {
		d.failed = append(d.failed, complaint)
	}
}

// plainTool sends what is shown of it, and no Accept-Encoding of its own.
var plainTool = &http.Transport{DisableCompression: true, DisableKeepAlives: true}

// call makes one call, shows both sides, and returns the answer's body.
func (d *demoCalls) call(ctx context.Context, c demoCall) []byte {
	d.globus.Reset()
	req, err := http.NewRequestWithContext(ctx, c.method, d.base+c.path, strings.NewReader(c.body))
	if err != nil {
		d.check(false, err.Error())
		return nil
	}
	req.Header.Set("User-Agent", "plain-tool/1.0")
	req.Header.Set("Accept", "*/*")
	resp, err := plainTool.RoundTrip(req)
	if err != nil {
		d.check(false, c.path+": "+err.Error())
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	d.check(err == nil, c.path+": the answer broke off")
	var received []emulator.Record
	for _, record := range d.globus.Records() {
		if record.Target != "/v2/oauth2/token" { // bearerd's own request, not the tool's
			received = append(received, record)
		}
	}
	d.show(c, req, resp, body, received)
	code := resp.Header.Get(errorHeader)
	d.check(resp.StatusCode == c.status && code == c.code, fmt.Sprintf("%s %s answered %d %s, not %d %s", c.method, c.path, resp.StatusCode, code, c.status, c.code))
	d.check(len(received) == len(c.received), fmt.Sprintf("%s %s reached the upstream %d times, not %d", c.method, c.path, len(received), len(c.received)))
	for i, record := range received {
		_, path, _ := strings.Cut(c.path[1:], "/")
		d.check(record.Target == "/"+path, "the upstream received "+record.Target)
		d.check(bytes.Equal(record.Body, []byte(c.body)), "the upstream received another body for "+c.path)
		d.check(record.Authorizations == 1 && strings.HasPrefix(record.Authorization, "Bearer sha256:"), "the upstream received no bearer token for "+c.path)
		d.check(i < len(c.received) && record.Status == c.received[i], fmt.Sprintf("the upstream answered %d for %s", record.Status, c.path))
	}
	return body
}

const demoColumn = 62

// show prints what the tool sent beside what the upstream received.
func (d *demoCalls) show(c demoCall, req *http.Request, resp *http.Response, body []byte, received []emulator.Record) {
	left := []string{"the tool sent", "", c.method + " " + c.path, "Host: " + req.URL.Host}
	left = append(left, headerLines(req.Header)...)
	left = append(left, "(no Authorization)", bodyLine([]byte(c.body)))
	right := []string{"the upstream received", ""}
	if len(received) == 0 {
		right = append(right, "(nothing)")
	}
	for i, record := range received {
		if i > 0 {
			right = append(right, "", "and again")
		}
		right = append(right, record.Method+" "+record.Target, "Host: "+record.Host)
		right = append(right, headerLines(record.Header)...)
		right = append(right, "Authorization: "+record.Authorization, bodyLine(record.Body), fmt.Sprintf("and answered %d", record.Status))
	}
	d.printf("%s\n\n", c.title)
	for i := range max(len(left), len(right)) {
		d.printf("  %-*s  %s\n", demoColumn, shorten(at(left, i), demoColumn), shorten(at(right, i), 2*demoColumn))
	}
	d.printf("\n  the tool got: %d %s\n  %s\n\n", resp.StatusCode, resp.Header.Get(errorHeader), shorten(strings.Join(strings.Fields(string(body)), " "), 2*demoColumn))
}

func (d *demoCalls) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

func headerLines(h http.Header) []string {
	var lines []string
	for name, values := range h {
		for _, value := range values {
			lines = append(lines, name+": "+value)
		}
	}
	sort.Strings(lines)
	return lines
}

func bodyLine(body []byte) string {
	if len(body) == 0 {
		return ""
	}
	return "body: " + string(body)
}

func shorten(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

const errorHeader = "Bearerd-Error"
