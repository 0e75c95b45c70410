package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bearerd/credentials"
	"bearerd/policy"
)

// ListenerConfig is one address to accept requests on.
type ListenerConfig struct {
	// Address is host:port, unix:PATH of a socket in the file system, or systemd:NAME
	// of the sockets that systemd opened and passes under that name. localhost
	// is 127.0.0.1 and [::1]; without a host it is every address of the machine.
	// Port 0 takes a free one.
	Address string `yaml:"address"`
	// Mode says who may connect to a unix socket, as chmod does. Default 0600:
	// bearerd's own user alone.
	Mode string `yaml:"mode"`
	// Owner is the user and group a unix socket is given to, as chown has them:
	// user, user:group or :group, by name or number. Default: bearerd's own.
	Owner    string       `yaml:"owner"`
	Hosts    []string     `yaml:"hosts"`    // Host names accepted beside the listener's own
	Upstream string       `yaml:"upstream"` // the whole listener is this upstream, without prefix
	TLS      *ListenerTLS `yaml:"tls"`      // nil: plain HTTP
	// TrustedProxies are the addresses (CIDRs) whose X-Forwarded-For says who calls.
	TrustedProxies []string `yaml:"trusted_proxies"`
	Origins        []string `yaml:"origins"`        // of web pages that may send requests, as browsers write them
	RequireHeader  string   `yaml:"require_header"` // name of a header that every request must have
	// Forward takes requests as a forward proxy does, for the URLs of upstreams alone:
	// http_proxy leads here. They are decided on as below the upstream's prefix.
	Forward bool `yaml:"forward"`
	// Anonymous lets a listener off loopback serve who is not known as a caller.
	Anonymous bool `yaml:"anonymous"`
	// OwnUser serves bearerd's own user alone, where the system tells whose the other
	// end of a connection is (Linux).
	OwnUser bool `yaml:"-"`
}

// ListenerTLS is how a listener speaks TLS. Its files are read anew when they
// change.
type ListenerTLS struct {
	Certificate credentials.Reference `yaml:"certificate"` // PEM, with what leads to its authority
	Key         credentials.Reference `yaml:"key"`         // PEM
	// ClientCA has the authorities (PEM) of clients' certificates; with it every
	// client must show a certificate of theirs.
	ClientCA credentials.Reference `yaml:"client_ca"`
}

// maxSocketPath is how long the path of a unix socket may be: the kernel has room
// for 108 bytes and a closing zero.
const maxSocketPath = 107

// SocketWorkspace is how much longer than its directory the path is at which a
// socket is made before it gets its place.
const SocketWorkspace = len("/.123456/s")

// SocketPath returns the path of a listener on a unix socket.
func (l ListenerConfig) SocketPath() (path string, isSocket bool) {
	return strings.CutPrefix(l.Address, "unix:")
}

// SystemdName returns the name of the sockets of a listener that systemd opened. Where
// they are is in systemd's units, and known when it has passed them.
func (l ListenerConfig) SystemdName() (name string, isSystemd bool) {
	return strings.CutPrefix(l.Address, "systemd:")
}

// hasOwnPort reports whether the listener takes a free port, so that another of the
// same address does too.
func (l ListenerConfig) hasOwnPort() bool {
	_, isSocket := l.SocketPath()
	_, isSystemd := l.SystemdName()
	return !isSocket && !isSystemd && strings.HasSuffix(l.Address, ":0")
}

// sameAddress reports whether only one of two listeners can be.
func (l ListenerConfig) sameAddress(other ListenerConfig) bool {
	path, isSocket := l.SocketPath()
	otherPath, otherIsSocket := other.SocketPath()
	if isSocket && otherIsSocket {
		return filepath.Clean(path) == filepath.Clean(otherPath)
	}
	return l.Address == other.Address && !l.hasOwnPort()
}

func (l ListenerConfig) check(path []any, upstreams map[string]UpstreamConfig, m Mistakes) {
	_, isSocket := l.SocketPath()
	_, isSystemd := l.SystemdName()
	switch {
	case isSocket:
		l.checkSocket(path, m)
	case isSystemd:
		l.checkSystemd(path, m)
	default:
		l.checkTCP(path, m)
	}
	if _, known := upstreams[l.Upstream]; l.Upstream != "" && !known {
		m.Unknown(append(path, "upstream"), "upstream", l.Upstream, names(upstreams))
	}
	for i, name := range l.Hosts {
		checkHost(append(path, "hosts", i), name, m)
	}
	for i, text := range l.TrustedProxies {
		if _, err := policy.ParseNetwork(text); err != nil {
			m.Add(append(path, "trusted_proxies", i), "%q is no address; write one such as 10.1.2.3 or 10.0.0.0/8", text)
		} else if strings.HasSuffix(text, "/0") {
			m.Add(append(path, "trusted_proxies", i), "%q trusts everybody to say who calls; write the proxies' own addresses", text)
		}
	}
	for i, origin := range l.Origins {
		if want, ok := checkOrigin(origin); !ok {
			m.Add(append(path, "origins", i), "%q is no origin; write it as browsers send it, such as %s", origin, want)
		}
	}
	l.checkRequiredHeader(append(path, "require_header"), m)
	if l.Anonymous && !l.canBeAnonymous() {
		m.Add(append(path, "anonymous"), "means nothing on loopback and on unix sockets, where local is who is not known otherwise; leave it out")
	}
	l.TLS.check(append(path, "tls"), m)
}

// canBeAnonymous reports whether others than this machine's users reach the address,
// or may, as far as it is known.
func (l ListenerConfig) canBeAnonymous() bool {
	if _, isSystemd := l.SystemdName(); isSystemd {
		return true
	}
	if _, isSocket := l.SocketPath(); isSocket {
		return false
	}
	host, _, err := net.SplitHostPort(l.Address)
	addr, notIP := netip.ParseAddr(host)
	return err != nil || host != "localhost" && (notIP != nil || !addr.Unmap().IsLoopback())
}

func (l ListenerConfig) checkTCP(path []any, m Mistakes) {
	host, port, err := net.SplitHostPort(l.Address)
	if err == nil && host != "" && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	if number, errPort := strconv.Atoi(port); err != nil || errPort != nil || number < 0 || number > 65535 {
		m.Add(append(path, "address"), "%q is no address to listen on; write localhost:8080, :8080, an IP address and port, unix:PATH, or systemd:NAME", l.Address)
	}
	for key, value := range map[string]string{"mode": l.Mode, "owner": l.Owner} {
		if value != "" {
			m.Add(append(path, key), "means nothing but on a unix socket; leave it out, or write address: unix:/run/bearerd/bearerd.sock")
		}
	}
}

var validMode = regexp.MustCompile(`^0?[0-7]{3}$`)

func (l ListenerConfig) checkSocket(path []any, m Mistakes) {
	socket, _ := l.SocketPath()
	switch base := filepath.Base(socket); {
	case socket == "", strings.HasSuffix(socket, "/"), strings.HasPrefix(socket, "@"), strings.ContainsAny(socket, "\x00\r\n"), base == ".", base == "..":
		m.Add(append(path, "address"), "%q is no path of a socket; write one such as unix:/run/bearerd/bearerd.sock", l.Address)
	default:
		tooLong := max(len(socket), len(filepath.Dir(socket))+SocketWorkspace) - maxSocketPath
		if tooLong > 0 {
			m.Add(append(path, "address"), "a socket's path may have %d bytes, and this is %d too long; write a shorter one", maxSocketPath, tooLong)
		}
	}
	if l.Mode != "" && !validMode.MatchString(l.Mode) {
		m.Add(append(path, "mode"), "%q is no mode; write one such as \"0600\" for bearerd's own user, \"0660\" for a group too", l.Mode)
	}
}

// maxSystemdName is how long a name of sockets may be to systemd.
const maxSystemdName = 255

func (l ListenerConfig) checkSystemd(path []any, m Mistakes) {
	name, _ := l.SystemdName()
	unknown := func(r rune) bool { return r < ' ' || r > '~' || r == ':' } // to systemd, which joins names with colons
	if name == "" || len(name) > maxSystemdName || strings.ContainsFunc(name, unknown) {
		m.Add(append(path, "address"), "%q names no sockets that systemd could pass; write what FileDescriptorName= in the .socket unit says, without a colon, such as systemd:bearerd", l.Address)
	}
	if l.Mode != "" {
		m.Add(append(path, "mode"), "means nothing for a socket that systemd opens; leave it out, and write SocketMode= into the .socket unit")
	}
	if l.Owner != "" {
		m.Add(append(path, "owner"), "means nothing for a socket that systemd opens; leave it out, and write SocketUser= and SocketGroup= into the .socket unit")
	}
}

// SocketMode is Mode as a number. It is for a Config resolved without mistakes.
func (l ListenerConfig) SocketMode() uint32 {
	if mode, err := strconv.ParseUint(l.Mode, 8, 32); err == nil {
		return uint32(mode)
	}
	return 0o600
}

// checkOrigin reports whether a text is an origin as browsers send it (RFC 6454
// §6.2), and returns one that is: nearly the same where that can be told.
func checkOrigin(text string) (want string, ok bool) {
	want = "https://portal.example.org"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Contains(u.Host, "*") {
		return want, false
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") != "" || host == "" {
		return want, false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if number, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || strconv.FormatUint(number, 10) != port) {
		return want, false
	}
	want = u.Scheme + "://" + host
	if port != "" && port != usualPorts[u.Scheme] { // which they leave out
		want += ":" + port
	}
	return want, text == want
}

// headersOfAll are headers that requests have anyway, that say who calls, or that
// do not reach who is to see them. To require them would keep nobody out.
var headersOfAll = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Connection", "Content-Language", "Content-Length",
	"Content-Type", "Cookie", "Date", "Dnt", "Expect", "Forwarded", "Host", "If-Modified-Since", "If-None-Match", "Keep-Alive", "Origin", "Pragma",
	"Priority", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Range", "Referer", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Upgrade-Insecure-Requests", "User-Agent", "Via", "X-Api-Key", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip",
}

func (l ListenerConfig) checkRequiredHeader(path []any, m Mistakes) {
	name := l.RequireHeader
	switch {
	case name == "":
	case strings.Contains(name, "_") || !isToken(name):
		m.Add(path, "%q is no name of a header; write one of letters, digits and -, such as X-Bearerd", name)
	case slices.Contains(headersOfAll, http.CanonicalHeaderKey(name)), strings.HasPrefix(http.CanonicalHeaderKey(name), "Sec-"):
		m.Add(path, "%q has a meaning of its own, and web pages or other programs send it; write one that only yours do, such as X-Bearerd", name)
	}
}

func isToken(name string) bool {
	return strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && strings.Trim(name, "-") != ""
}

func (t *ListenerTLS) check(path []any, m Mistakes) {
	if t == nil {
		return
	}
	for _, one := range []struct {
		key string
		ref credentials.Reference
	}{{"certificate", t.Certificate}, {"key", t.Key}, {"client_ca", t.ClientCA}} {
		switch {
		case one.ref == "" && one.key == "client_ca":
		case one.ref == "":
			m.Add(path, "%s is missing; write tls: {certificate: file:PATH, key: file:PATH}", one.key)
			return
		case !credentials.IsReference(string(one.ref)): // not repeated: it may be the key
			m.Add(append(path, one.key), "not a reference, and keys are not kept in this file; write file:PATH")
			return
		case strings.HasPrefix(string(one.ref), "env:"):
			m.Add(append(path, one.key), "%s does not change while bearerd runs, and certificates do; write file:PATH", one.ref)
			return
		}
	}
	if _, err := credentials.ReadCertificate(t.Certificate, t.Key); err != nil {
		m.Add(path, "%v", err)
	}
	if t.ClientCA == "" {
		return
	}
	if _, err := t.ClientCA.ReadAuthorities(); err != nil {
		m.Add(append(path, "client_ca"), "%v", err)
	}
}

// ownNames are the Host names that the address itself stands for. The address a
// connection came in on is accepted too; see guardHost.
func (l ListenerConfig) ownNames() []string {
	if _, isSystemd := l.SystemdName(); isSystemd {
		return nil // the connection alone tells
	}
	if _, isSocket := l.SocketPath(); isSocket {
		return []string{"localhost"} // what its clients write where a URL wants a name
	}
	host, _, _ := net.SplitHostPort(l.Address)
	if host == "localhost" {
		return []string{"localhost", "127.0.0.1", "::1"}
	}
	if host == "" {
		return nil
	}
	return []string{strings.ToLower(host)}
}
