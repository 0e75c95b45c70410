//go:build !unix

package daemon

import "math"

// maxDescriptors: there is no such limit here.
func maxDescriptors() int { return math.MaxInt }
