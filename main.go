// Bearerd lets tools that know nothing of OAuth use services that accept only a
// fresh bearer token: they send plain requests to it, and it decides, gets a
// token as the application itself, and forwards.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bearerd/credentials"
	"bearerd/proxy/daemon"
)

// Exit codes, those of sysexits.h where it has one.
const (
	exitFailure     = 1
	exitUsage       = 64
	exitUnavailable = 69
	exitConfig      = 78
	exitInterrupted = 130
)

const complainTime = time.Second

func main() { os.Exit(execute()) }

func execute() int {
	root := newRoot()
	ran, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	var (
		mistakes daemon.Mistakes
		address  *daemon.AddressError
		token    *credentials.Error
		used     *usageError
		command  *daemon.ExitError
	)
	if errors.Is(err, daemon.ErrNotAllowed) { // it has printed why
		return exitFailure
	}
	if errors.As(err, &command) {
		if command.Err != nil {
			complain(command.Err)
		}
		return command.Code
	}
	complain(err)
	switch {
	case errors.As(err, &mistakes):
		complain(mistakes.Count() + "; bearerd did not start")
		return exitConfig
	case errors.As(err, &address), errors.Is(err, daemon.ErrNoDaemon), errors.As(err, &token) && token.Status == 0 && !token.Class.Permanent():
		return exitUnavailable
	case errors.Is(err, daemon.ErrSecondSignal), errors.Is(err, daemon.ErrInterrupted):
		return exitInterrupted
	case errors.As(err, &used), ran == root:
		complain("Run " + ran.CommandPath() + " --help.")
		return exitUsage
	}
	return exitFailure
}

// complain prints a line to standard error. It does not wait for ever: that may be
// a pipe which nobody reads, and the process is about to end.
func complain(what any) {
	printed := make(chan struct{})
	go func() { // ends with the process, at the latest
		fmt.Fprintln(os.Stderr, what)
		close(printed)
	}()
	select {
	case <-printed:
	case <-time.After(complainTime):
	}
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "bearerd",
		Short: "A proxy that puts a fresh bearer token on plain requests",
		Example: `  bearerd demo                 try it: no configuration, no credentials
  bearerd check                is config.yaml right?
  bearerd run                  serve
  curl http://localhost:8080/transfer/v0.10/task_list`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return fromEnvironment(cmd.Flags())
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newRun(), newCheck(), newDemo(), newToken(), newEnv(), newExec(), newExplain(), newStatus(), newHealthcheck(), newVersion())
	return root
}

// fromEnvironment sets flags that were not given from BEARERD_NAME.
func fromEnvironment(flags *pflag.FlagSet) error {
	var err error
	flags.VisitAll(func(flag *pflag.Flag) {
		name := "BEARERD_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, set := os.LookupEnv(name)
		if flag.Changed || !set || value == "" || flag.Name == "help" || flag.Name == "version" {
			return
		}
		if flags.Set(flag.Name, value) != nil {
			err = &usageError{fmt.Errorf("%s=%q is no value for --%s; see its help", name, value, flag.Name)}
		}
	})
	return err
}

// usage makes cobra's complaints about arguments usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// configFlag adds --config, and returns what finds the file once flags are read.
func configFlag(cmd *cobra.Command) func() (string, error) {
	path := cmd.Flags().StringP("config", "c", "", "configuration `file` (default ./config.yaml, then /etc/bearerd/config.yaml)")
	return func() (string, error) { return daemon.FindConfig(*path) }
}

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve until SIGTERM; SIGHUP reloads the configuration",
		Args:  usage(cobra.NoArgs),
	}
	config := configFlag(cmd)
	overrides := overrideFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := config()
		if err != nil {
			return err
		}
		return daemon.Run(cmd.Context(), daemon.Options{ConfigPath: path, Overrides: *overrides, Version: version(), Log: os.Stderr})
	}
	return cmd
}

func overrideFlags(cmd *cobra.Command) *daemon.Overrides {
	overrides := &daemon.Overrides{}
	cmd.Flags().StringSliceVar(&overrides.Listen, "listen", nil, "`address` to listen on instead of the file's listeners; repeatable")
	cmd.Flags().StringVar(&overrides.LogLevel, "log-level", "", "debug, info, warn or error")
	cmd.Flags().StringVar(&overrides.LogFormat, "log-format", "", "console, json or auto")
	return overrides
}

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Load the configuration as run does, and say what is wrong",
		Args:  usage(cobra.NoArgs),
	}
	config := configFlag(cmd)
	overrides := overrideFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := config()
		if err != nil {
			return err
		}
		if _, err := daemon.Load(path, *overrides); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is right\n", path)
		return err
	}
	return cmd
}

func newDemo() *cobra.Command {
	var options daemon.DemoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run bearerd against an emulated Globus: no configuration, no credentials",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.Version, options.Log = version(), os.Stderr
			return daemon.Demo(cmd.Context(), cmd.OutOrStdout(), options)
		},
	}
	cmd.Flags().BoolVar(&options.Once, "once", false, "make the calls too, show both sides, and end")
	return cmd
}

func newToken() *cobra.Command {
	options := daemon.TokenOptions{}
	cmd := &cobra.Command{
		Use:   "token [UPSTREAM...]",
		Short: "Get fresh tokens and show what was granted",
	}
	config := configFlag(cmd)
	cmd.Flags().BoolVar(&options.JSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&options.Reveal, "reveal", false, "print the tokens themselves: whoever reads them can act as the application")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := config()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		options.ConfigPath, options.Upstreams, options.Version = path, args, version()
		err = daemon.PrintTokens(ctx, cmd.OutOrStdout(), options)
		if errors.Is(err, daemon.ErrNoUpstream) {
			return &usageError{err}
		}
		return err
	}
	return cmd
}

func newEnv() *cobra.Command {
	options := daemon.EnvOptions{}
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the variables that point Globus tools at bearerd",
		Example: `  eval "$(bearerd env)"
  bearerd env --format systemd > globus.env
  bearerd env --base-url http://bearerd.example.org:8080`,
		Args: usage(cobra.NoArgs),
	}
	config := configFlag(cmd)
	cmd.Flags().StringVar(&options.Format, "format", "sh", strings.Join(daemon.EnvFormats, ", "))
	cmd.Flags().StringVar(&options.BaseURL, "base-url", "", "`URL` at which tools find bearerd (default: its listener, on this machine)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !slices.Contains(daemon.EnvFormats, options.Format) {
			return &usageError{fmt.Errorf("no format %q; write one of %s", options.Format, strings.Join(daemon.EnvFormats, ", "))}
		}
		if options.BaseURL != "" && !isBaseURL(options.BaseURL) {
			return &usageError{errors.New("--base-url is no URL of a bearerd; write one such as http://bearerd.example.org:8080")}
		}
		path, err := config()
		if err != nil {
			return err
		}
		options.ConfigPath = path
		return daemon.PrintEnvironment(cmd.OutOrStdout(), options)
	}
	return cmd
}

// isBaseURL reports whether paths can be put behind text.
func isBaseURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

func newExec() *cobra.Command {
	options := daemon.ExecOptions{}
	cmd := &cobra.Command{
		Use:   "exec -- COMMAND [ARG...]",
		Short: "Run a command with a proxy of its own, and the variables that point it there",
		Example: `  bearerd exec -- globus task list
  bearerd exec -- sh -c 'curl -fsS "$BEARERD_URL/transfer/v0.10/task_list"'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{errors.New("no command; write it behind --, such as bearerd exec -- globus task list")}
			}
			return nil
		},
	}
	config := configFlag(cmd)
	cmd.Flags().StringVar(&options.Overrides.LogLevel, "log-level", "warn", "debug, info, warn or error")
	cmd.Flags().StringVar(&options.Overrides.LogFormat, "log-format", "", "console, json or auto")
	cmd.Flags().SetInterspersed(false) // what stands behind the command is its own
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := config()
		if err != nil {
			return err
		}
		options.ConfigPath, options.Version, options.Log, options.Command = path, version(), os.Stderr, args
		return daemon.Exec(cmd.Context(), options)
	}
	return cmd
}

func newExplain() *cobra.Command {
	options := daemon.ExplainOptions{}
	cmd := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Show what would become of a request, rule by rule; nothing is sent",
		Long: `Explain takes a request through the configuration as the proxy would: guard,
caller, upstream, rule by rule, credential. The exit code is 0 if it would be
forwarded and 1 if it would be refused.`,
		Example: `  bearerd explain GET /transfer/v0.10/task_list
  bearerd explain POST /transfer/v0.10/transfer --as cron --body submission.json`,
		Args: usage(cobra.ExactArgs(2)),
	}
	config := configFlag(cmd)
	cmd.Flags().StringVar(&options.As, "as", "", "`caller` to be, as policy names it (default: whoever connects from this machine: local)")
	cmd.Flags().StringVar(&options.BodyPath, "body", "", "`file` that is the request's body; - for standard input")
	cmd.Flags().StringArrayVarP(&options.Headers, "header", "H", nil, "a `header` of the request, Name: value; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := config()
		if err != nil {
			return err
		}
		options.ConfigPath, options.Method, options.URL, options.In = path, args[0], args[1], cmd.InOrStdin()
		err = daemon.Explain(cmd.OutOrStdout(), options)
		if errors.Is(err, daemon.ErrExplain) {
			return &usageError{err}
		}
		return err
	}
	return cmd
}

// adminFlags add what says which daemon to ask.
func adminFlags(cmd *cobra.Command, options *daemon.AdminOptions) {
	cmd.Flags().StringVarP(&options.ConfigPath, "config", "c", "", "configuration `file` whose admin.address to ask (default: localhost:9641 if there is none)")
	cmd.Flags().StringVar(&options.URL, "admin-url", "", "`URL` to ask instead, such as http://localhost:9641")
}

// findAdminConfig looks for the usual configuration where none is named: a daemon
// can be asked without one.
func findAdminConfig(options *daemon.AdminOptions) {
	if options.ConfigPath == "" && options.URL == "" {
		options.ConfigPath, _ = daemon.FindConfig("")
	}
}

func newStatus() *cobra.Command {
	var options daemon.AdminOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the credentials of a running bearerd stand",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findAdminConfig(&options)
			return daemon.PrintStatus(cmd.Context(), cmd.OutOrStdout(), options)
		},
	}
	adminFlags(cmd, &options)
	cmd.Flags().BoolVar(&options.JSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&options.Wide, "wide", false, "print fingerprints, secrets' references, stores, resource servers and scopes too")
	return cmd
}

func newHealthcheck() *cobra.Command {
	var options daemon.AdminOptions
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Exit with 0 if a running bearerd is ready, 1 if not, 69 if none runs",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findAdminConfig(&options)
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return daemon.CheckHealth(ctx, cmd.OutOrStdout(), options)
		},
	}
	adminFlags(cmd, &options)
	cmd.Flags().DurationVar(&options.Wait, "wait", 0, "how `long` to wait until it is ready, such as 60s")
	return cmd
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{
					"version": version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "bearerd %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// tagged is the version that make dist links in; a plain go build leaves it empty.
var tagged string

// version is the tag this was built from, or "devel".
func version() string {
	if tagged != "" {
		return tagged
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
