package policy

// User is who runs the process at the other end of a connection, as the kernel
// tells it.
type User struct {
	UID  uint32
	GIDs []uint32 // all groups: the process's own first, then the others
	Self bool     // bearerd's own uid
}

// SAN is one subject alternative name of a client certificate (RFC 5280 §4.2.1.6).
type SAN struct {
	Kind  SANKind
	Value string // as the certificate has it
}

// SANKind is uri, dns or email.
type SANKind string
