//go:build race

package harness

// buildFlags build bearerd as the tests themselves were built.
var buildFlags = []string{"-race"}
