package emulator

import "sync"

const (
	consentCode    = "ConsentRequired"
	consentMessage = "Missing required data_access consent"
)

// A consent lets a service use a collection's data_access on the client's behalf.
type consent struct{ collection, service string }

// consents are those that were given, which a service account does by being
// granted the scope. There is no taking back.
type consents struct {
	mu    sync.Mutex // guards given
	given map[consent]bool
}

// onBehalf returns whose tokens stand for data_access that is asked for under a
// root scope; "" for scopes under which it means nothing.
func onBehalf(root string) string {
	switch root {
	case TransferScope:
		return transferServer
	case timersScope:
		return timersServer
	}
	return ""
}

// add remembers what the scopes of a grant consent to: data_access right below
// Transfer's scope, and that again below the scope of another service, which then
// asks Transfer on the client's behalf.
func (c *consents) add(roots []scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given == nil {
		c.given = map[consent]bool{}
	}
	for _, root := range roots {
		below := root.dependent
		if root.name != TransferScope {
			below = nil
			for _, s := range root.dependent {
				if s.name == TransferScope {
					below = append(below, s.dependent...)
				}
			}
		}
		for _, s := range below {
			if id, ok := collectionOf(s.name); ok && onBehalf(root.name) != "" {
				c.given[consent{id, onBehalf(root.name)}] = true
			}
		}
	}
}

func (c *consents) has(one consent) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.given[one]
}

// consentDemand is what a ConsentRequired has beside code and message.
func consentDemand(resource string, scopes ...string) object {
	return object{
		"resource":                 resource,
		"required_scopes":          scopes,
		"authorization_parameters": object{"required_scopes": scopes, "session_message": consentMessage},
	}
}
