package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode"
)

// Kind is what an Event tells of.
type Kind string

// What is written down. Refused are requests that did not come as far as the
// policy's decision.
const (
	Allowed Kind = "allowed"
	Denied  Kind = "denied"
	Refused Kind = "refused"
	Renewal Kind = "renewal"
	Reload  Kind = "reload"
)

const (
	maxField   = 1 << 10 // bytes of any one field
	timeFormat = "2006-01-02T15:04:05.000Z"
)

// Event is one line. It holds no token and no secret: who fills it in sees to that.
// Texts are cut at 1 KiB, and what could disturb a terminal is replaced.
type Event struct {
	Time        time.Time // zero: now
	Kind        Kind
	RequestID   string
	Caller      string
	Peer        string
	Upstream    string
	Method      string
	Path        string // as it was sent; a query is left out
	Rule        string
	Credential  string
	Fingerprint string
	Code        string
	Err         string
}

// line is an Event on disk: names and order are fixed.
type line struct {
	Time        string `json:"time"`
	Kind        Kind   `json:"event"`
	RequestID   string `json:"request_id,omitempty"`
	Caller      string `json:"caller,omitempty"`
	Peer        string `json:"peer,omitempty"`
	Upstream    string `json:"upstream,omitempty"`
	Method      string `json:"method,omitempty"`
	Path        string `json:"path,omitempty"`
	Rule        string `json:"rule,omitempty"`
	Credential  string `json:"credential,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Code        string `json:"code,omitempty"`
	Err         string `json:"err,omitempty"`
}

// encode returns the line with its end.
func (e Event) encode(now time.Time) ([]byte, error) {
	if e.Time.IsZero() {
		e.Time = now
	}
	path, _, _ := strings.Cut(e.Path, "?")
	var b bytes.Buffer
	encoder := json.NewEncoder(&b) // which ends the line
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(line{
		e.Time.UTC().Format(timeFormat), e.Kind, printable(e.RequestID), printable(e.Caller), printable(e.Peer), printable(e.Upstream),
		printable(e.Method), printable(path), printable(e.Rule), printable(e.Credential), printable(e.Fingerprint), printable(e.Code), printable(e.Err),
	})
	return b.Bytes(), err
}

// printable bounds a text, and replaces what is no character or could disturb a
// terminal.
func printable(text string) string {
	plain := len(text) <= maxField
	for i := 0; plain && i < len(text); i++ {
		plain = text[i] >= ' ' && text[i] <= '~'
	}
	if plain {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !unicode.IsGraphic(r) {
			r = '·'
		}
		if b.Len()+len(string(r)) > maxField {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
