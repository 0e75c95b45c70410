package daemon

import "bearerd/proxy"

const (
	// ownDescriptors is what bearerd has open beside connections, at most: its log,
	// audit log and files, and the ways to token endpoints and stores.
	ownDescriptors = 24
	// idlePerUpstream is how many connections to each upstream are kept unused.
	idlePerUpstream = 256
)

// descriptorsFor returns how many descriptors so many callers' connections can take,
// with a request under way on each, and idle connections to every other upstream.
func descriptorsFor(connections, listeners, upstreams int) int {
	elsewhere := max(upstreams-1, 0) * min(connections, idlePerUpstream)
	return ownDescriptors + listeners + adminShare(connections) + lingerers(connections) + 2*connections + elsewhere
}

// adminShare is how many connections the admin section's addresses may have.
func adminShare(connections int) int { return min(adminConnections, 4+connections/16) }

// fit lowers the limit on connections to what the process may open, and warns if it
// had to.
func (d *daemon) fit(c proxy.Config) proxy.ConnectionLimits {
	limits := c.Limits
	most := maxDescriptors()
	listeners, upstreams := 2*len(c.Listeners)+4, len(c.Upstreams) // localhost is two
	for limits.Connections > 1 && descriptorsFor(limits.Connections, listeners, upstreams) > most {
		limits.Connections--
	}
	if limits.Connections < c.Limits.Connections {
		d.log.Warn().Int("connections", limits.Connections).Int("wanted", c.Limits.Connections).Int("descriptors", most).
			Int("needed", descriptorsFor(c.Limits.Connections, listeners, upstreams)).
			Msg("too few descriptors for proxy.limits.connections, which is lowered; raise LimitNOFILE= of the unit or ulimit -n to what is needed")
	}
	return limits
}
