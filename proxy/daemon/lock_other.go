//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package daemon

func lockDirectory(string) (unlock func()) { return func() {} }
