// Package harness runs bearerd as a black box: it builds the program, starts it
// with a configuration as a person would write it, in front of an emulated Globus
// on loopback, reads its log and ends it. Whatever bearerd writes is searched for
// tokens and secrets. Tests use it, and nothing else does.
package harness
