package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/proxy"
)

// ExplainOptions say what Explain does.
type ExplainOptions struct {
	ConfigPath string
	Method     string
	URL        string   // of bearerd with a path below it, or the path alone
	As         string   // the caller; "": who comes from loopback, local if nobody else
	Headers    []string // Name: value
	BodyPath   string   // a file; "-" is In, "" no body
	In         io.Reader
}

// ErrNotAllowed is Explain's answer where the request would not be forwarded.
var ErrNotAllowed = errors.New("not allowed")

// ErrExplain is what Explain was asked that makes no sense.
var ErrExplain = errors.New("cannot be explained")

// Explain prints the line that a request would travel through bearerd as it is
// configured, by the code that serves. It needs no secret and sends nothing. Its
// errors are Mistakes, ErrExplain, or ErrNotAllowed after it has printed.
func Explain(ctx context.Context, out io.Writer, options ExplainOptions) error {
	cfg, err := Load(options.ConfigPath, Overrides{WithoutSecrets: true})
	if err != nil {
		return err
	}
	if options.As != "" && !slices.Contains(cfg.callerNames(), options.As) {
		return fmt.Errorf("%w: no caller %q; there are %s", ErrExplain, options.As, list(cfg.callerNames()))
	}
	index, r, err := options.request(ctx, cfg)
	if err != nil {
		return err
	}
	explained := cfg.explainer().Explain(index, r, options.As)
	if _, err := io.WriteString(out, explained.Text()); err != nil {
		return err
	}
	if !explained.Allowed && !explained.Answered {
		return ErrNotAllowed
	}
	return nil
}

// explainer is a Proxy of the configuration that has no credentials.
func (c *Config) explainer() *proxy.Proxy {
	return proxy.New(c.Proxy, proxy.Deps{
		Authorizer: func(string) (credentials.Authorizer, bool) { return nil, true },
		Policy:     c.policy, Shim: noShim{c}, Asked: c.scopesAsked,
	}, c.bindings)
}

// noShim knows what the token shim needs to say whether it would answer.
type noShim struct{ *Config }

func (s noShim) ClientIDs(credential string) []string { return s.Credentials.ClientIDs(credential) }
func (noShim) ResourceServer(string) string           { return "explained" }
func (noShim) Scopes(string) []string                 { return nil }
func (noShim) Lifetime(string) (time.Duration, bool)  { return 0, false }
func (noShim) Seal(string) string                     { return "explained" }

func (c *Config) callerNames() []string {
	names := []string{policy.Local, policy.Anonymous}
	for _, caller := range c.Policy.Callers {
		names = append(names, caller.Name)
	}
	return names
}

// request makes the request as the server would read it, and says which listener it
// comes to: the first that has the URL's port, or the first.
func (o ExplainOptions) request(ctx context.Context, cfg *Config) (int, *http.Request, error) {
	authority, target := "", o.URL
	if scheme, rest, ok := strings.Cut(o.URL, "://"); ok && (scheme == "http" || scheme == "https") {
		at := strings.IndexByte(rest+"/", '/')
		authority, target = rest[:at], rest[at:]
		if target == "" {
			target = "/"
		}
	}
	index := 0
	if _, port, err := net.SplitHostPort(authority); err == nil {
		index = max(0, slices.IndexFunc(cfg.Proxy.Listeners, func(l proxy.ListenerConfig) bool { return strings.HasSuffix(l.Address, ":"+port) }))
	}
	if authority == "" {
		authority = "localhost"
	}
	body, err := o.body()
	if err != nil {
		return 0, nil, err
	}
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "%s %s HTTP/1.1\r\nHost: %s\r\n", o.Method, target, authority)
	if o.BodyPath != "" {
		fmt.Fprintf(&raw, "Content-Length: %d\r\n", len(body))
		if !slices.ContainsFunc(o.Headers, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), "content-type:") }) {
			raw.WriteString("Content-Type: application/json\r\n")
		}
	}
	for _, header := range o.Headers {
		raw.WriteString(header + "\r\n")
	}
	raw.WriteString("\r\n")
	raw.Write(body)
	r, err := http.ReadRequest(bufio.NewReader(&raw))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: the HTTP server refuses it before bearerd sees it (400)", ErrExplain)
	}
	r.RemoteAddr = "127.0.0.1:1"
	local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1"))
	return index, r.WithContext(context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(local))), nil
}

func (o ExplainOptions) body() ([]byte, error) {
	switch o.BodyPath {
	case "":
		return nil, nil
	case "-":
		return io.ReadAll(io.LimitReader(o.In, 32<<20))
	}
	body, err := os.ReadFile(o.BodyPath)
	if err != nil {
		return nil, fmt.Errorf("%w: --body: %w", ErrExplain, err)
	}
	return body, nil
}
