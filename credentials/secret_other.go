//go:build !unix

package credentials

import "io/fs"

const openNonBlocking = 0

// checkMode passes: there are no owner, group and other bits here to judge.
func checkMode(string, fs.FileInfo) error { return nil }
