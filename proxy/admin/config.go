package admin

import (
	"net"
	"net/netip"
	"strconv"
)

// Config is the admin section of config.yaml.
type Config struct {
	// Address is where operators ask: loopback only, default localhost:9641; ""
	// turns it off.
	Address string `yaml:"address"`
	// ProbeAddress is where kubelets and Prometheus ask, from other machines and
	// under any Host name: whether bearerd lives and is ready, and its metrics.
	// Default "": nowhere.
	ProbeAddress string `yaml:"probe_address"`
	// Profiles has Address answer with profiles of CPU and memory below /debug/pprof/.
	// Default false: taking one costs CPU, and whoever may ask Address may take one.
	Profiles bool `yaml:"pprof"`
}

// Default returns the section as it is where the file says nothing.
func Default() Config { return Config{Address: "localhost:9641"} }

// Mistakes collects what is wrong with a configuration. Paths are keys from the
// section down.
type Mistakes interface {
	// Add notes what was found and what to write instead.
	Add(path []any, format string, args ...any)
}

// Resolve notes everything that is wrong with c.
func (c Config) Resolve(m Mistakes) {
	for _, one := range []struct{ key, address string }{{"address", c.Address}, {"probe_address", c.ProbeAddress}} {
		if one.address == "" {
			continue
		}
		host, port, err := net.SplitHostPort(one.address)
		addr, notIP := netip.ParseAddr(host)
		number, notNumber := strconv.Atoi(port)
		switch {
		case err != nil || notNumber != nil || number < 0 || number > 65535 || (notIP != nil && host != "" && host != "localhost"):
			m.Add([]any{one.key}, "%q is no address to listen on; write localhost:9641, or an IP address and port", one.address)
		case one.key == "address" && host != "localhost" && !addr.IsLoopback():
			m.Add([]any{one.key}, "%q can be reached from other machines; write localhost:9641, and probe_address for kubelets and Prometheus", one.address)
		}
	}
	if c.Profiles && c.Address == "" {
		m.Add([]any{"pprof"}, "true, but address, where profiles would be answered, is off; write address: localhost:9641, or leave pprof out")
	}
	if c.Address != "" && c.Address == c.ProbeAddress && !isAnyPort(c.Address) {
		m.Add([]any{"probe_address"}, "%q is address's already; write another port", c.ProbeAddress)
	}
}

func isAnyPort(address string) bool {
	_, port, _ := net.SplitHostPort(address)
	return port == "0"
}
