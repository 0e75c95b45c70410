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
	"bearerd/policy/identity"
	"bearerd/proxy"
)

// ExplainOptions say what Explain does.
type ExplainOptions struct {
	ConfigPath string
	Method     string
	URL        string   // of bearerd with a path below it, the path alone, or what a listener with forward: true takes
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
// configured. Its errors are Mistakes, ErrExplain, or ErrNotAllowed after it has
// printed.
func Explain(out io.Writer, options ExplainOptions) error {
	e, err := NewExplainer(options.ConfigPath)
	if err != nil {
		return err
	}
	if known := e.cfg.callerNames(); options.As != "" && !slices.Contains(known, options.As) {
		return fmt.Errorf("%w: no caller %q; there are %s", ErrExplain, options.As, list(known))
	}
	raw, listener, err := options.request(e.cfg)
	if err != nil {
		return err
	}
	explained, err := e.Explain(listener, raw, options.As)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, explained.Text()); err != nil {
		return err
	}
	if !explained.Allowed && !explained.Answered {
		return ErrNotAllowed
	}
	return nil
}

// Explainer explains what becomes of requests, by the code that serves. It needs no
// secret and sends nothing.
type Explainer struct {
	cfg   *Config
	proxy *proxy.Proxy
}

// NewExplainer loads a configuration for it. Its error is a Mistakes.
func NewExplainer(configPath string) (*Explainer, error) {
	cfg, err := Load(configPath, Overrides{WithoutSecrets: true})
	if err != nil {
		return nil, err
	}
	return &Explainer{cfg, proxy.New(cfg.Proxy, proxy.Deps{
		Authorizer: func(string) (credentials.Authorizer, bool) { return nil, true },
		Policy:     cfg.policy, Shim: noShim{cfg}, Asked: cfg.scopesAsked, Verifiers: unasked(cfg),
	}, cfg.bindings)}, nil
}

// Explain takes a raw request, as one from this machine at the listener of that
// index. Its error is ErrExplain: what net/http itself refuses never gets to bearerd.
func (e *Explainer) Explain(listener int, raw io.Reader, as string) (proxy.Explanation, error) {
	r, err := http.ReadRequest(bufio.NewReader(raw))
	if err != nil {
		return proxy.Explanation{}, fmt.Errorf("%w: the HTTP server refuses it before bearerd sees it (400)", ErrExplain)
	}
	loopback := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1"))
	r.RemoteAddr = loopback.String()
	return e.proxy.Explain(listener, r, loopback, as), nil
}

// unasked are verifiers that know which tokens they would check, and ask nobody.
func unasked(cfg *Config) []policy.Verifier {
	var all []policy.Verifier
	for _, name := range sortedKeys(cfg.Policy.Identity.JWT) {
		all = append(all, notAsked{identity.NewJWT(name, cfg.Policy.Identity.JWT[name], nil)})
	}
	if k := cfg.Policy.Identity.Kubernetes; k != nil {
		all = append(all, notAsked{identity.NewKubernetes(*k, identity.KubernetesDeps{})})
	}
	return all
}

type notAsked struct{ policy.Verifier }

func (notAsked) Verify(context.Context, string) (*policy.Proof, error) {
	return nil, fmt.Errorf("%w, since explain asks nobody; name the caller with --as", policy.ErrCannotTell)
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

// request writes the request as a client would, and says which listener it comes to.
func (o ExplainOptions) request(cfg *Config) (raw io.Reader, listener int, err error) {
	authority, target := "", o.URL
	if scheme, rest, ok := strings.Cut(o.URL, "://"); ok && (scheme == "http" || scheme == "https") {
		at := strings.IndexAny(rest+"/", "/?")
		authority, target = rest[:at], rest[at:]
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	}
	if through, found := cfg.Proxy.Through(o.URL); found {
		listener, target = through, o.URL
	} else if listener, err = listenerAt(cfg.Proxy.Listeners, authority); err != nil {
		return nil, 0, err
	}
	if authority == "" {
		authority = "localhost"
	}
	body, err := o.body()
	if err != nil {
		return nil, 0, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", o.Method, target, authority)
	if o.BodyPath != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
		if !slices.ContainsFunc(o.Headers, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), "content-type:") }) {
			b.WriteString("Content-Type: application/json\r\n")
		}
	}
	for _, header := range o.Headers {
		b.WriteString(header + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	return &b, listener, nil
}

// listenerAt returns the first listener that has the authority's port, else the first
// whose port is systemd's to know; without a port the first.
func listenerAt(listeners []proxy.ListenerConfig, authority string) (int, error) {
	_, port, err := net.SplitHostPort(authority)
	if err != nil {
		return 0, nil
	}
	isSystemd := func(l proxy.ListenerConfig) bool { _, is := l.SystemdName(); return is }
	hasPort := func(l proxy.ListenerConfig) bool { return !isSystemd(l) && strings.HasSuffix(l.Address, ":"+port) }
	if at := slices.IndexFunc(listeners, hasPort); at >= 0 {
		return at, nil
	}
	if at := slices.IndexFunc(listeners, isSystemd); at >= 0 {
		return at, nil
	}
	return 0, fmt.Errorf("%w: no listener has port %s; write the path alone, or a listener's port", ErrExplain, port)
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
