package daemon

import "bearerd/proxy"

// ownDescriptors is what bearerd has open beside connections, at most: its log,
// audit log and files, and the ways to token endpoints and stores.
const ownDescriptors = 24

// descriptorsFor returns how many descriptors so many callers' connections can take,
// with a request under way on each, and connections kept to every other upstream.
func descriptorsFor(c proxy.Config, connections int) int {
	kept, busiest := 0, 0
	for _, u := range c.Upstreams {
		pool := min(connections, u.Limits.Concurrency)
		kept, busiest = kept+pool, max(busiest, pool)
	}
	listeners := 2*len(c.Listeners) + 4 // localhost is two
	return ownDescriptors + listeners + adminShare(connections) + lingerers(connections) + 2*connections + kept - busiest
}

// adminShare is how many connections the admin section's addresses may have.
func adminShare(connections int) int { return min(adminConnections, 4+connections/16) }

// fit lowers the limit on connections to what the process may open, and warns if it
// had to.
func (d *daemon) fit(c proxy.Config) proxy.ConnectionLimits {
	limits := c.Limits
	most := maxDescriptors()
	for limits.Connections > 1 && descriptorsFor(c, limits.Connections) > most {
		limits.Connections--
	}
	if limits.Connections < c.Limits.Connections {
		d.log.Warn().Int("connections", limits.Connections).Int("wanted", c.Limits.Connections).Int("descriptors", most).
			Int("needed", descriptorsFor(c, c.Limits.Connections)).
			Msg("too few descriptors for proxy.limits.connections, which is lowered; raise LimitNOFILE= of the unit or ulimit -n to what is needed")
	}
	return limits
}
