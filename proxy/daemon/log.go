package daemon

import (
	"bufio"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"bearerd/credentials"
	"bearerd/proxy"
)

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"auto", "console", "json"}
)

const (
	logBuffer     = 64 << 10
	logFlushEvery = 100 * time.Millisecond
	maxLoggedPath = 256
	logTimeFormat = "2006-01-02T15:04:05.000Z07:00"
)

// logger writes one line for each thing that happened. Its fields are those of
// the contract: never a query, a header, a token or a secret.
type logger struct {
	zerolog.Logger
	out    *buffer
	access bool
}

func newLogger(cfg LogConfig, out io.Writer) *logger {
	buffered := &buffer{out: bufio.NewWriterSize(out, logBuffer), target: out}
	var target io.Writer = buffered
	terminal := isTerminal(out)
	if cfg.Format == "console" || cfg.Format == "auto" && terminal {
		target = zerolog.ConsoleWriter{Out: buffered, NoColor: !terminal || os.Getenv("NO_COLOR") != "", TimeFormat: time.TimeOnly}
	}
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	stamp := zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) {
		e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(logTimeFormat))
	})
	return &logger{zerolog.New(target).Level(level).Hook(stamp), buffered, cfg.Access}
}

func isTerminal(stream any) bool {
	file, isFile := stream.(*os.File)
	return isFile && isatty.IsTerminal(file.Fd())
}

// request is a proxy.Observer: one access line.
func (l *logger) request(x *proxy.Exchange) {
	if x.Warning != "" {
		l.Warn().Str("request_id", x.ID).Str("caller", x.Caller).Str("upstream", x.Upstream).Msg(x.Warning)
	}
	if !l.access {
		return
	}
	event := l.Info()
	if x.Status >= 500 {
		event = l.Warn()
	}
	event.Str("request_id", x.ID).
		Str("caller", x.Caller).
		Str("upstream", x.Upstream).
		Str("method", printable(x.Method)).
		Str("path", printable(x.Target)).
		Int("status", x.Status).
		Str("decision", x.Decision).
		Str("rule", x.Rule).
		Str("credential", x.Credential).
		Str("fingerprint", x.Fingerprint).
		Int("attempts", x.Attempts).
		Str("breaker", x.Breaker).
		Dur("token_wait_ms", x.TokenWait).
		Dur("total_ms", x.Total).
		Int64("sent_bytes", x.Sent()).
		Int64("received_bytes", x.Received).
		Str("code", x.Code).
		AnErr("err", x.Err)
	if x.Consent != "" {
		event.Str("consent", x.Consent)
	}
	event.Msg("request")
}

// renewal is a credentials.Observer: one line a token request.
func (l *logger) renewal(r credentials.Renewal) {
	if r.Err != nil {
		l.Warn().Str("credential", r.Credential).Bool("forced", r.Forced).Dur("total_ms", r.Took).
			Dur("retry_in_ms", r.RetryIn).Str("class", string(r.Class)).AnErr("err", r.Err).Msg("token renewal failed")
		return
	}
	event, message := l.Info(), "token renewed"
	if r.Warning != "" {
		event = l.Warn().Str("warning", r.Warning)
	}
	switch {
	case r.Stored:
		message = "token read from the store"
	case r.Read:
		l.Info().Str("credential", r.Credential).Str("fingerprint", r.Token.Fingerprint()).Msg("token read anew")
		return
	}
	event.Str("credential", r.Credential).Str("fingerprint", r.Token.Fingerprint()).
		Bool("forced", r.Forced).Dur("total_ms", r.Took).Strs("scopes", r.Token.Scopes).
		Str("resource_server", r.Token.ResourceServer).
		Str("expires_at", r.Token.ExpiresAt.UTC().Format(time.RFC3339)).Msg(message)
}

// consent is an observer of requests for consent: one line each, with what caused
// it.
func (l *logger) consent(c credentials.Consented) {
	event, message := l.Info(), "consent granted"
	if c.Err != nil {
		event, message = l.Warn().Str("class", string(c.Class)).AnErr("err", c.Err), "consent not granted"
	}
	for _, name := range sortedKeys(c.Because) {
		event.Str(name, c.Because[name])
	}
	event.Str("credential", c.Credential).Str("scope", c.Scope).Dur("total_ms", c.Took).Msg(message)
}

// store is told of what goes wrong in the store. It costs nobody anything but time.
func (l *logger) store(op string, err error) {
	l.Warn().Str("op", op).AnErr("err", err).Msg("token store failed, going on without")
}

// printable bounds what a caller sent, and replaces what could disturb a terminal.
func printable(text string) string {
	runes := make([]rune, 0, min(len(text), maxLoggedPath))
	for _, r := range text {
		if len(runes) == maxLoggedPath {
			break
		}
		if !unicode.IsGraphic(r) {
			r = '·'
		}
		runes = append(runes, r)
	}
	return string(runes)
}

// buffer holds log lines for a moment, so that a request does not cost a write(2).
type buffer struct {
	mu     sync.Mutex // guards out
	out    *bufio.Writer
	target io.Writer

	dropped atomic.Uint64 // writes to target that failed, with the lines they had
}

// Write takes a line. What cannot be written is lost: logs fail open.
func (b *buffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.out.Write(line); err != nil {
		b.dropped.Add(1)
		b.out.Reset(b.target) // or the error would stay, and with it no line ever be written
	}
	return len(line), nil
}

func (b *buffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.out.Flush(); err != nil {
		b.dropped.Add(1)
		b.out.Reset(b.target)
	}
}

// flushing flushes until done is closed, and once more then.
func (b *buffer) flushing(done <-chan struct{}) {
	ticker := time.NewTicker(logFlushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			b.flush()
		case <-done:
			b.flush()
			return
		}
	}
}
