// Package soak runs bearerd for half an hour under everything at once: `make soak`,
// which sets the build tag soak. Callers come, go and leave half-way, upstreams
// break, stall and refuse, tokens are revoked and configurations reloaded, half of
// them broken. Each request has the outcome that is written beside it, and what
// bearerd holds afterwards is what it held before.
package soak
