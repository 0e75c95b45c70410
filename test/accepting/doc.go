// Package accepting holds tests of what callers' connections can do to bearerd, and
// bearerd to them: too many, too slow, cut short, and drained.
package accepting
