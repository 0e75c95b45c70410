package emulator

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	keptRecords = 10_000
	keptBodies  = 64 << 20 // bytes of all recorded bodies together
)

// Record is one request as it arrived, byte for byte where HTTP/1.1 lets a
// handler see it. It holds no credential from a header; a form that carried one
// still does in Body.
type Record struct {
	Time           time.Time // of arrival
	Service        string    // "auth", "transfer", "flows" or "collection"
	Method, Target string    // Target is the raw request target, query and all
	Host           string
	Header         http.Header // without Authorization
	Authorization  string      // scheme and fingerprint only: "Bearer sha256:1a2b3c4d", "Basic", "other" or ""
	Authorizations int         // how many Authorization values arrived
	Body           []byte      // its first MiB
	Status         int         // what was answered; 0 if the connection was cut
	Issued         []string    // by a token request: "Bearer sha256:1a2b3c4d", as Authorization will name the tokens
}

// Records returns what arrived since New or Reset, oldest first: the newest
// 10,000, fewer if their bodies come to more than 64 MiB. Headers and bodies are
// shared between calls; do not change them.
func (e *Emulator) Records() []Record { return e.journal.list() }

// Count returns how many requests to a path ("/v2/oauth2/token": encoded as it
// arrived, without the query) a service got since New or Reset, those no longer in
// Records included. Services are called as in Record.
func (e *Emulator) Count(service, path string) int { return e.journal.count(service, path) }

// Reset forgets records and counts. Tokens, tasks, consent and pending failures
// stay.
func (e *Emulator) Reset() { e.journal.reset() }

// OnRequest has fn called with each record once it is made and before its
// answer is written, on the goroutine of the request. Nil turns it off.
func (e *Emulator) OnRequest(fn func(Record)) { e.journal.observe(fn) }

// Fingerprint names a token without giving it away: "sha256:" and the first
// eight hex digits of its SHA-256.
func Fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return fmt.Sprintf("sha256:%x", sum[:4])
}

func makeRecord(arrived time.Time, service string, c *call, status int) Record {
	r := Record{
		Time: arrived, Service: service, Method: c.Method, Target: c.RequestURI, Host: c.Host,
		Header:         c.Header.Clone(),
		Authorization:  describe(c.Header.Get("Authorization")),
		Authorizations: len(c.Header.Values("Authorization")),
		Body:           c.body[:min(len(c.body), maxBody)],
		Status:         status,
		Issued:         c.issued,
	}
	if r.Target == "" { // a client's request handed over without a wire
		r.Target = c.URL.RequestURI()
	}
	if r.Host == "" {
		r.Host = c.URL.Host
	}
	maps.DeleteFunc(r.Header, func(name string, _ []string) bool { return strings.EqualFold(name, "Authorization") })
	return r
}

// describe says what an Authorization value is without saying what is in it.
func describe(authorization string) string {
	scheme, credential, _ := strings.Cut(authorization, " ")
	switch {
	case authorization == "":
		return ""
	case strings.EqualFold(scheme, "Bearer"):
		return "Bearer " + Fingerprint(credential)
	case strings.EqualFold(scheme, "Basic"):
		return "Basic"
	default:
		return "other" // what came could be a bare token
	}
}

// A journal keeps records and counts.
type journal struct {
	mu      sync.Mutex // guards the fields below
	records []Record
	bodies  int            // bytes in records
	counts  map[string]int // by service, space, path
	fn      func(Record)
}

func (j *journal) add(r Record, path string) {
	if fn := j.keep(r, path); fn != nil {
		fn(r)
	}
}

func (j *journal) keep(r Record, path string) (fn func(Record)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.counts == nil {
		j.counts = make(map[string]int)
	}
	j.counts[r.Service+" "+path]++
	j.records = append(j.records, r)
	j.bodies += len(r.Body)
	for len(j.records) > keptRecords || j.bodies > keptBodies {
		j.bodies -= len(j.records[0].Body)
		j.records[0] = Record{} // lets its body go before the slice moves on
		j.records = j.records[1:]
	}
	return j.fn
}

func (j *journal) list() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.records)
}

func (j *journal) count(service, path string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts[service+" "+path]
}

func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records, j.bodies, j.counts = nil, 0, nil
}

func (j *journal) observe(fn func(Record)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fn = fn
}
