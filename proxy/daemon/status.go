package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"bearerd/proxy/admin"
)

// ErrNoDaemon is that nobody answers at the admin address.
var ErrNoDaemon = errors.New("no bearerd answers")

// ErrNotReady is that bearerd answers and is not ready.
var ErrNotReady = errors.New("bearerd is not ready")

// AdminOptions say which bearerd to ask.
type AdminOptions struct {
	ConfigPath string // whose admin.address is asked; "": the usual one
	URL        string // asked instead; "": the configuration's
	JSON       bool
	Wide       bool          // what else there is of each credential
	Wait       time.Duration // how long to wait until it is ready
}

const (
	adminTimeout   = 5 * time.Second
	maxReportBytes = 4 << 20
	readyPoll      = time.Second
)

// url returns where the daemon's admin listener is.
func (o AdminOptions) url() (string, error) {
	if o.URL != "" {
		if u, err := url.Parse(o.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return "", fmt.Errorf("%w: --admin-url is no URL; write one such as http://localhost:9641", ErrNoDaemon)
		}
		return strings.TrimSuffix(o.URL, "/"), nil
	}
	address := admin.Default().Address
	if o.ConfigPath != "" {
		var err error
		if address, err = adminAddress(o.ConfigPath); err != nil {
			return "", err
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return "", fmt.Errorf("%w: admin.address is %q; name the address with --admin-url", ErrNoDaemon, address)
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// ask makes one request to the admin listener.
func (o AdminOptions) ask(ctx context.Context, path string) (status int, body []byte, err error) {
	base, err := o.url()
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s cannot be asked", ErrNoDaemon, base)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%w at %s; start it with bearerd run, or name its admin.address with --admin-url", ErrNoDaemon, base)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxReportBytes))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: the answer of %s broke off", ErrNoDaemon, base)
	}
	return resp.StatusCode, body, nil
}

// PrintStatus prints how the credentials of a running bearerd stand. Its errors are
// Mistakes, ErrNoDaemon, or that of writing.
func PrintStatus(ctx context.Context, out io.Writer, options AdminOptions) error {
	status, body, err := options.ask(ctx, "/api/v1/status")
	if err != nil {
		return err
	}
	var report admin.Report
	if status != http.StatusOK || json.Unmarshal(body, &report) != nil {
		return fmt.Errorf("%w: what answers there is no bearerd's admin listener", ErrNoDaemon)
	}
	if options.JSON {
		_, err := out.Write(body)
		return err
	}
	return printReport(out, report, time.Now(), options.Wide)
}

func printReport(out io.Writer, report admin.Report, now time.Time, wide bool) error {
	state := map[bool]string{true: "ready", false: "not ready"}[report.Ready]
	if report.Draining {
		state = "draining"
	}
	_, _ = fmt.Fprintf(out, "bearerd %s, %s, up %v\n\n", report.Version, state, now.Sub(report.StartedAt).Round(time.Second))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(cells, more []string) {
		if wide {
			cells = append(cells, more...)
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	line([]string{"CREDENTIAL", "STATE", "EXPIRES IN", "RENEWAL IN", "LAST", "FAILURES", "REQUESTS/H", "WAITING"},
		[]string{"FINGERPRINT", "CLIENT", "SECRET", "STORE", "RESOURCE SERVER", "GRANTED"})
	var notes []string
	for _, s := range report.Credentials {
		last := s.LastResult
		if s.Class != "" {
			last += " (" + string(s.Class) + ")"
		}
		line([]string{s.Credential, string(s.State), in(s.ExpiresAt, now), in(s.NextRenewal, now), dash(last),
			strconv.Itoa(s.FailuresInARow), strconv.Itoa(s.FetchesLastHour), strconv.Itoa(s.Waiters)},
			[]string{dash(s.Fingerprint), dash(s.Client), dash(s.Secret), s.Store, dash(s.ResourceServer), dash(strings.Join(s.ScopesGranted, " "))})
		if note := cmp.Or(s.Reason, s.Warning); note != "" {
			notes = append(notes, s.Credential+": "+note)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i, note := range notes {
		if i == 0 {
			_, _ = fmt.Fprintln(out)
		}
		if _, err := fmt.Fprintln(out, note); err != nil {
			return err
		}
	}
	return nil
}

// in is how long it is until a moment, for a person.
func in(at, now time.Time) string {
	switch left := at.Sub(now).Round(time.Second); {
	case at.IsZero():
		return "-"
	case left <= 0:
		return "now"
	case left >= time.Hour:
		return strings.TrimSuffix(left.Truncate(time.Minute).String(), "0s")
	default:
		return left.String()
	}
}

// CheckHealth asks whether a running bearerd is ready, until it is or Wait is over,
// and prints its answer. Its errors are Mistakes, ErrNoDaemon and ErrNotReady.
func CheckHealth(ctx context.Context, out io.Writer, options AdminOptions) error {
	giveUp := time.Now().Add(options.Wait)
	for {
		status, body, err := options.ask(ctx, "/readyz")
		switch {
		case err == nil && status == http.StatusOK:
			_, err := fmt.Fprintln(out, "ready")
			return err
		case err == nil:
			err = fmt.Errorf("%w:\n%s", ErrNotReady, strings.TrimSpace(string(body)))
		case !errors.Is(err, ErrNoDaemon):
			return err
		}
		left := time.Until(giveUp)
		if left <= 0 {
			return err
		}
		select {
		case <-time.After(min(left, readyPoll)):
		case <-ctx.Done():
			return ErrInterrupted
		}
	}
}
