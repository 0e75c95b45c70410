//go:build unix

package credentials

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// openNonBlocking keeps a named pipe from holding start-up for ever.
const openNonBlocking = syscall.O_NONBLOCK

// checkMode refuses a secret file that others may read, as ssh does. Group read
// is fine where the group is one of ours, as with Kubernetes' fsGroup.
func checkMode(path string, info fs.FileInfo) error {
	if underCredentialsDirectory(path) {
		return nil
	}
	mode := info.Mode().Perm()
	if mode&0o007 != 0 {
		return fmt.Errorf("file %s has mode %04o, which others can use; run: chmod 600 %s", path, mode, path)
	}
	if mode&0o070 == 0 {
		return nil
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	groups, _ := os.Getgroups()
	ours := ok && slices.Contains(append(groups, os.Getegid()), int(stat.Gid))
	if mode&0o030 != 0 || !ours {
		return fmt.Errorf("file %s has mode %04o, which its group can use; run: chmod 600 %s", path, mode, path)
	}
	return nil
}
