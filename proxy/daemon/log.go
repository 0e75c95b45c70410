package daemon

import (
	"bytes"
	"io"
	"os"
	"strings"
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
	maxLoggedPath = 256
	logTimeFormat = "2006-01-02T15:04:05.000Z07:00"
)

// logger writes one line for each thing that happened. Its fields are those of
// the contract: never a query, a header, a token or a secret.
type logger struct {
	zerolog.Logger
	out    *queue
	access bool
}

// newLogger returns a logger whose lines wait in its queue until that is started.
func newLogger(cfg LogConfig, out io.Writer) *logger {
	var line bytes.Buffer // of the queue's own, which is written by one goroutine
	note := cfg.logger(&line, isTerminal(out))
	lines := newQueue(out, func(lost uint64) []byte {
		line.Reset()
		note.Warn().Uint64("lines", lost).Msg("log lines were lost")
		return line.Bytes()
	})
	return &logger{cfg.logger(lines, isTerminal(out)), lines, cfg.Access}
}

// logger returns what writes lines as the configuration wants them.
func (c LogConfig) logger(target io.Writer, terminal bool) zerolog.Logger {
	if c.Format == "console" || c.Format == "auto" && terminal {
		target = zerolog.ConsoleWriter{Out: target, NoColor: !terminal || os.Getenv("NO_COLOR") != "", TimeFormat: time.TimeOnly}
	}
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(target).Level(level).Hook(&stamp{})
}

// stamp puts the time on each line. It is a zerolog.Hook.
type stamp struct{ second atomic.Pointer[second] }

// second is the time as it is written in all of a second, but for the milliseconds.
type second struct {
	unix int64
	text string // with 000 for them
}

// Run puts it on a line.
func (s *stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	now := time.Now()
	current := s.second.Load()
	if current == nil || current.unix != now.Unix() {
		current = &second{now.Unix(), now.Truncate(time.Second).UTC().Format(logTimeFormat)}
		s.second.Store(current)
	}
	var room [len(logTimeFormat)]byte
	text := append(room[:0], current.text...)
	const at = len("2006-01-02T15:04:05.")
	ms := now.Nanosecond() / int(time.Millisecond)
	text[at], text[at+1], text[at+2] = byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10)
	e.Bytes(zerolog.TimestampFieldName, text)
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
	if len(text) <= maxLoggedPath && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return text // as most are
	}
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
