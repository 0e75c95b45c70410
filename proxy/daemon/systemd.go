package daemon

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// lasting is a listener on a socket that systemd keeps open: the next process goes on
// with it. Nothing may be done to the socket itself, such as to shut it down, to
// filter what comes, or to remove its file. To close it closes our descriptor alone.
type lasting struct{ net.Listener }

// passedSocket is one that systemd opened and passed.
type passedSocket struct {
	name     string   // FileDescriptorName=, or what the .socket unit is called
	listener *lasting // nil if it is none
	err      error    // why
	taken    bool     // by a listener of the configuration
}

// passedSockets are all that systemd passed to this process.
type passedSockets struct {
	sockets []*passedSocket
	// astray says that some were passed to another process, which started this one.
	astray bool
}

// addresses are where the sockets of each name are, as addressOf writes it.
func (p *passedSockets) addresses() map[string][]string {
	all := map[string][]string{}
	for _, s := range p.sockets {
		if s.listener != nil {
			all[s.name] = append(all[s.name], addressOf(s.listener))
		}
	}
	return all
}

// take returns the listeners of a name. Its errors tell what to write instead.
func (p *passedSockets) take(name string) ([]net.Listener, error) {
	var found []net.Listener
	for _, s := range p.sockets {
		if s.name != name {
			continue
		}
		s.taken = true
		if s.err != nil {
			return nil, fmt.Errorf("what systemd passed by that name is %w", s.err)
		}
		found = append(found, s.listener)
	}
	switch {
	case len(found) > 0:
		return found, nil
	case p.astray:
		return nil, errors.New("systemd passed its sockets to another process (LISTEN_PID is not bearerd's); have ExecStart= start bearerd itself, or a script that ends with exec bearerd run")
	case len(p.sockets) == 0:
		return nil, fmt.Errorf("systemd passed no sockets; write FileDescriptorName=%s into a .socket unit that starts bearerd's service, and start that unit", name)
	}
	var others []string
	for _, s := range p.sockets {
		if !slices.Contains(others, s.name) {
			others = append(others, s.name)
		}
	}
	return nil, fmt.Errorf("systemd passed no socket of that name, only of %s; write FileDescriptorName=%s into its .socket unit, or that unit's name here", strings.Join(others, ", "), name)
}

// leaveRest lets go of what no listener has taken, and warns: systemd takes connections
// there, and nobody would ever answer.
func (d *daemon) leaveRest() {
	for _, s := range d.passed.sockets {
		if s.taken {
			continue
		}
		address := ""
		if s.listener != nil {
			address = addressOf(s.listener)
			_ = s.listener.Close()
		}
		d.log.Warn().Str("name", s.name).Str("address", address).
			Msg("systemd passed a socket that no listener takes, and whoever connects there waits for ever; write a listener on systemd:NAME, or take it out of the .socket unit")
	}
}
