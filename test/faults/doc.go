// Package faults holds tests of what an upstream can do to the requests that bearerd
// takes to it: close kept connections, send GOAWAY, reset, stall, answer early. What is
// counted is what the upstream did, and how often.
package faults
