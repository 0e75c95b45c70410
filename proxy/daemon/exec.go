package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// ExecOptions say what Exec does.
type ExecOptions struct {
	Options          // of the proxy; Exec sets Overrides.Private, Started and Embedded
	Command []string // program and arguments; not empty
}

// ExitError is how a command ended. Err says why it was not started; nil if it was.
type ExitError struct {
	Code int // a shell's: the command's own, 128 and the signal, 126 or 127 if it was not started
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("the command ended with %d", e.Code)
}

func (e *ExitError) Unwrap() error { return e.Err }

// Exec runs a command with a proxy of its own, on ports of loopback that nobody
// else was told of, and the environment that points tools there. Signals sent to
// this process go to the command. It returns when the command has ended and the
// proxy is gone: nil, or an *ExitError, or what kept the proxy from running.
//
// Loopback is the whole machine. On Linux the ports serve this process's own user
// alone; elsewhere the machine's other users can find them, and callers: [local]
// means them too.
func Exec(ctx context.Context, options ExecOptions) error {
	program, err := exec.LookPath(options.Command[0])
	if err != nil {
		return notStarted(err)
	}
	signals := make(chan os.Signal, 16) // from the start: one that comes early is for the command, too
	for _, s := range childSignals {
		if !signal.Ignored(s) { // as nohup has it: it stays so for the command too
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	// A terminal sends its signals to the command itself. So there, who sends SIGINT
	// to this process alone does not reach the command; SIGTERM does.
	terminal := slices.ContainsFunc([]any{os.Stdin, os.Stdout, os.Stderr}, isTerminal)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type proxy struct {
		cfg       *Config
		addresses []string
	}
	started := make(chan proxy, 1)
	run := options.Options
	run.Overrides.Private, run.Embedded = true, true
	run.Started = func(cfg *Config, addresses []string) { started <- proxy{cfg, addresses} }
	var group errgroup.Group
	ended := make(chan struct{})
	group.Go(func() error {
		defer close(ended)
		return Run(ctx, run)
	})
	var childErr error
	select {
	case own := <-started:
		variables, err := own.cfg.environment(own.addresses, "")
		if err != nil {
			childErr = err
			break
		}
		child := exec.Command(program, options.Command[1:]...)
		child.Args[0] = options.Command[0]
		hidden := slices.Concat(own.cfg.Credentials.SecretVariables(), own.cfg.Proxy.SecretVariables())
		child.Env = childEnvironment(os.Environ(), variables, hidden)
		child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
		childErr = runChild(child, func(s os.Signal) {
			if !terminal || !slices.Contains(keyboardSignals, s) {
				_ = child.Process.Signal(s) // it may just have ended
			}
		}, signals, ended)
	case <-ended:
	}
	stop()
	if err := group.Wait(); err != nil {
		return err
	}
	return childErr
}

// runChild runs the command to its end and hands signals on to it. If the proxy
// ends first, so does the command.
func runChild(child *exec.Cmd, handOn func(os.Signal), signals <-chan os.Signal, ended <-chan struct{}) error {
	var early []os.Signal
	for len(signals) > 0 {
		early = append(early, <-signals)
	}
	if err := child.Start(); err != nil {
		return notStarted(err)
	}
	for _, s := range early { // no terminal has sent those to it
		_ = child.Process.Signal(s)
	}
	over := make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		for {
			select {
			case s := <-signals:
				handOn(s)
			case <-ended:
				_ = child.Process.Signal(syscall.SIGTERM)
				ended = nil
			case <-over:
				return nil
			}
		}
	})
	err := child.Wait()
	close(over)
	_ = group.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &ExitError{Code: exitCode(exit.ProcessState)}
	}
	return &ExitError{Code: 1, Err: err}
}

func notStarted(err error) error {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = 127
	}
	return &ExitError{code, fmt.Errorf("the command was not started: %w", err)}
}

// childEnvironment is this process's environment with the variables set, and
// without those that hold the secrets bearerd keeps: the command needs none.
func childEnvironment(environ []string, variables []variable, hidden []string) []string {
	for _, v := range variables {
		hidden = append(hidden, v.name)
	}
	kept := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(hidden, name)
	})
	for _, v := range variables {
		kept = append(kept, v.name+"="+v.value)
	}
	return kept
}
