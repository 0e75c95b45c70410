package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"bearerd/credentials"
)

// TokenOptions say what PrintTokens does.
type TokenOptions struct {
	ConfigPath string
	Upstreams  []string // whose tokens; none: all
	Version    string
	JSON       bool
	Reveal     bool // print the tokens themselves
}

// ErrNoUpstream is a name that no upstream has.
var ErrNoUpstream = errors.New("no upstream")

// ErrInterrupted is PrintTokens's answer when ctx ended before the requests did.
var ErrInterrupted = errors.New("interrupted")

// tokenRow is one token of the table.
type tokenRow struct {
	ResourceServer string    `json:"resource_server"`
	Credential     string    `json:"credential"`
	Upstreams      []string  `json:"upstreams"`
	Asked          []string  `json:"scopes_asked"`
	Granted        []string  `json:"scopes_granted"`
	ExpiresIn      int64     `json:"expires_in"` // s
	ExpiresAt      time.Time `json:"expires_at,omitzero"`
	Fingerprint    string    `json:"fingerprint"`
	Token          string    `json:"access_token,omitempty"`
	Warning        string    `json:"warning,omitempty"` // it is good for less than was asked for
	Error          string    `json:"error,omitempty"`
}

// PrintTokens makes one fresh token request for the upstreams' credentials, as
// the daemon would, and prints what came of it by resource server. Its errors
// are Mistakes, or those of the requests, after the table.
func PrintTokens(ctx context.Context, out io.Writer, options TokenOptions) error {
	log.SetOutput(io.Discard) // net/http prints there what a broken endpoint sent, and it may echo a token
	cfg, err := Load(options.ConfigPath, Overrides{})
	if err != nil {
		return err
	}
	users, err := cfg.credentialUsers(options.Upstreams)
	if err != nil {
		return err
	}
	egress := cfg.Proxy.Egress(http.ProxyFromEnvironment)
	to := newEndpoints(egress)
	defer to.closeIdle()
	set, err := credentials.NewSet(cfg.Credentials, credentials.Deps{
		Transport: to.public, Private: to.private, NewTransport: ownTransport(egress), UserAgent: "bearerd/" + options.Version,
	}, nil)
	if err != nil {
		return err
	}
	var rows []tokenRow
	var failures []error
	results := set.Grant(ctx, sortedKeys(users))
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	for _, granted := range results {
		row := tokenRow{
			ResourceServer: granted.ResourceServer, Credential: granted.Credential, Upstreams: users[granted.Credential],
			Asked: granted.Asked, Granted: granted.Token.Scopes, Fingerprint: granted.Token.Fingerprint(), Warning: granted.Warning,
		}
		if !granted.Token.ExpiresAt.IsZero() {
			row.ExpiresAt = granted.Token.ExpiresAt.UTC().Truncate(time.Second)
			row.ExpiresIn = int64(time.Until(granted.Token.ExpiresAt).Round(time.Second).Seconds())
		}
		if options.Reveal {
			row.Token = granted.Token.Reveal()
		}
		if granted.Err != nil {
			row.Error = granted.Err.Error()
			failures = append(failures, granted.Err)
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b tokenRow) int { return strings.Compare(a.ResourceServer, b.ResourceServer) })
	if options.JSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(rows)
	} else {
		err = printTable(out, rows, options.Reveal)
	}
	return errors.Join(append(unique(failures), err)...)
}

// credentialUsers returns which of the upstreams use each credential.
func (c *Config) credentialUsers(upstreams []string) (map[string][]string, error) {
	if len(upstreams) == 0 {
		upstreams = sortedKeys(c.Proxy.Upstreams)
	}
	users, all := map[string][]string{}, c.credentialsOf()
	for _, name := range upstreams {
		if _, ok := c.Proxy.Upstreams[name]; !ok {
			return nil, fmt.Errorf("%w %q; there are %s", ErrNoUpstream, name, list(sortedKeys(c.Proxy.Upstreams)))
		}
		for _, credential := range all[name] {
			if credential != credentials.NoCredential {
				users[credential] = append(users[credential], name)
			}
		}
	}
	return users, nil
}

func printTable(out io.Writer, rows []tokenRow, reveal bool) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) }
	heads := []string{"RESOURCE SERVER", "CREDENTIAL", "ASKED", "GRANTED", "EXPIRES IN", "EXPIRES AT", "FINGERPRINT"}
	if reveal {
		heads = append(heads, "TOKEN")
	}
	line(heads...)
	for _, row := range rows {
		granted, in, at := strings.Join(row.Granted, " "), "never", "-"
		if row.Granted == nil {
			granted = "(not said)"
		}
		if !row.ExpiresAt.IsZero() {
			in, at = (time.Duration(row.ExpiresIn) * time.Second).String(), row.ExpiresAt.Format(time.RFC3339)
		}
		if row.Error != "" {
			granted, in = "none", "-"
		}
		cells := []string{dash(row.ResourceServer), row.Credential, dash(strings.Join(row.Asked, " ")), granted, in, at, dash(row.Fingerprint)}
		if reveal {
			cells = append(cells, dash(row.Token))
		}
		line(cells...)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, row := range rows {
		if row.Warning != "" {
			if _, err := fmt.Fprintf(out, "%s: %s\n", row.Credential, row.Warning); err != nil {
				return err
			}
		}
	}
	return nil
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// unique drops errors that say the same: one request fails for all it was for.
func unique(errs []error) []error {
	var kept []error
	for _, err := range errs {
		if !slices.ContainsFunc(kept, func(other error) bool { return other.Error() == err.Error() }) {
			kept = append(kept, err)
		}
	}
	return kept
}
