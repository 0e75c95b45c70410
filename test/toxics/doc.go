// Package toxics holds a test of all that can become of a request on a bad network
// between bearerd and an upstream. The network is toxiproxy's, the outcomes wanted are
// in a table.
package toxics
