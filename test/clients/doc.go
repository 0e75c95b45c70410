// Package clients holds tests of bearerd with the tools people point at it: both
// Globus SDKs that are about, Python's requests, and curl. The Python programs
// beside this file are theirs. `make clients` installs what they need.
package clients
