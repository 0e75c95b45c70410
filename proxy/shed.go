package proxy

import "fmt"

// tooManyDetail is said to who cannot be asked what they want.
const tooManyDetail = "bearerd: overloaded: too many connections are open; try again, or raise proxy.limits\n"

// TooMany is the answer to a connection that is one too many, whatever it was to
// ask: all of it, as it goes over the wire. Nothing was read, so there is no
// request that it could name.
var TooMany = fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\n%s: overloaded\r\nRetry-After: 1\r\nCache-Control: no-store\r\n"+
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", errorHeader, len(tooManyDetail), tooManyDetail)
