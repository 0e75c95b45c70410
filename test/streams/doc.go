// Package streams holds tests of what long bodies cost bearerd: up and down, and up
// with a token that is refused.
package streams
