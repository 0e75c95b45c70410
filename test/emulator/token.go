package emulator

import (
	"crypto/rand"
	"fmt"
	"maps"
	"sync"
	"time"
)

// A token is what one access token stands for.
type token struct {
	resourceServer  string
	scopes          []string // root scopes only, as they are echoed
	issued, expires time.Time
}

// tokens are all that were issued and may still be live. What is not here or
// has expired is refused alike.
type tokens struct {
	mu      sync.Mutex // guards the fields below
	live    map[string]token
	sweepAt int // size of live at which the expired ones are swept out
}

func (t *tokens) issue(resourceServer string, scopes []string, life time.Duration) (value string) {
	now := time.Now()
	value = "AgEMU" + randomText(48) // a prefix of our own, so that a leak can be searched for
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.live) >= t.sweepAt {
		maps.DeleteFunc(t.live, func(_ string, tok token) bool { return tok.expired(now) })
		t.sweepAt = max(1024, 2*len(t.live))
	}
	if t.live == nil {
		t.live = make(map[string]token)
	}
	t.live[value] = token{resourceServer, scopes, now, now.Add(life)}
	return value
}

// lookup returns the token if it is live now.
func (t *tokens) lookup(value string) (token, bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	tok, ok := t.live[value]
	return tok, ok && !tok.expired(now)
}

func (t *tokens) revoke(resourceServer string) (n int) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for value, tok := range t.live {
		if resourceServer != "" && tok.resourceServer != resourceServer {
			continue
		}
		if !tok.expired(now) {
			n++
		}
		delete(t.live, value)
	}
	return n
}

func (tok token) expired(now time.Time) bool { return !now.Before(tok.expires) }

// randomText returns n characters of base62. The first few letters come up a
// little more often than the rest, which matters to no test.
func randomText(n int) string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = base62[int(b[i])%len(base62)]
	}
	return string(b)
}

func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return formatUUID(b)
}

// formatUUID writes b as a version 4 UUID (RFC 9562 §5.4).
func formatUUID(b [16]byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
