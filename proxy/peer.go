package proxy

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"bearerd/policy"
)

// connKey is the context key of a connection's *conn.
type connKey struct{}

// conn is what is known of the connection that requests come in on.
type conn struct {
	net  net.Conn // nil where there is none
	once sync.Once
	user *policy.User // nil if it cannot be told
}

// ConnContext puts c into the context of the requests that come in on it; it is
// for http.Server's field of that name. Without it nobody's user is known.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, &conn{net: c})
}

// ownConnection is a context as of a connection that this process's user made.
func ownConnection(ctx context.Context) context.Context {
	me := &policy.User{UID: uint32(os.Geteuid()), GIDs: []uint32{uint32(os.Getegid())}, Self: true}
	if groups, err := os.Getgroups(); err == nil {
		for _, group := range groups {
			me.GIDs = append(me.GIDs, uint32(group))
		}
	}
	c := &conn{user: me}
	c.once.Do(func() {}) // nobody need be asked
	return context.WithValue(ctx, connKey{}, c)
}

// peerUser returns who runs the process at the other end of a request's connection:
// of a unix socket, and of TCP over loopback. It is nil if that cannot be told: on
// other systems than Linux, from other machines, and where the other end has closed
// its socket already. The kernel is asked once for each connection, and what it
// says of one that is still open does not change: both kinds of socket keep the
// user that made or connected them.
func peerUser(ctx context.Context) *policy.User {
	c, _ := ctx.Value(connKey{}).(*conn)
	if c == nil {
		return nil
	}
	c.once.Do(func() {
		if c.user = lookUpUser(underneath(c.net)); c.user != nil {
			c.user.Self = c.user.UID == uint32(os.Geteuid())
		}
	})
	return c.user
}

// underneath returns the socket that TLS and the like were put around.
func underneath(c net.Conn) net.Conn {
	for {
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = outer.NetConn()
	}
}

// peerSANs returns the names in a request's client certificate: those that stand
// in it as such, never its common name, and only if it was verified.
func peerSANs(r *http.Request) []policy.SAN {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	leaf := r.TLS.PeerCertificates[0]
	if time.Now().After(leaf.NotAfter) { // since the handshake
		return nil
	}
	var names []policy.SAN
	for _, uri := range rawURIs(leaf) {
		names = append(names, policy.SAN{Kind: "uri", Value: uri})
	}
	for _, name := range leaf.DNSNames {
		names = append(names, policy.SAN{Kind: "dns", Value: name})
	}
	for _, address := range leaf.EmailAddresses {
		names = append(names, policy.SAN{Kind: "email", Value: address})
	}
	return names
}

// rawURIs returns a certificate's URIs as they stand in it. What crypto/x509 made of
// them loses a # with nothing behind it.
func rawURIs(certificate *x509.Certificate) []string {
	var uris []string
	for _, extension := range certificate.Extensions {
		var names []asn1.RawValue
		if !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 {
			return nil
		}
		for _, name := range names {
			if name.Class == asn1.ClassContextSpecific && name.Tag == 6 { // RFC 5280 §4.2.1.6
				uris = append(uris, string(name.Bytes))
			}
		}
	}
	return uris
}
