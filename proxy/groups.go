package proxy

import (
	"slices"
	"strconv"
	"strings"
)

// groupsOf returns the groups that the machine's own files give a user: the one of
// its entry in passwd(5), and those of group(5) that list its name. It is os/user's
// own reading of them, but also where that would ask a directory, which may be away.
func groupsOf(uid uint32, passwd, group string) []uint32 {
	name, gids := "", []uint32(nil)
	for fields := range entries(passwd) {
		if id, ok := parseID(fields, 2); ok && id == uid && name == "" {
			name = fields[0]
			if gid, ok := parseID(fields, 3); ok {
				gids = append(gids, gid)
			}
		}
	}
	for fields := range entries(group) {
		gid, ok := parseID(fields, 2)
		if ok && name != "" && len(fields) > 3 && slices.Contains(strings.Split(fields[3], ","), name) && !slices.Contains(gids, gid) {
			gids = append(gids, gid)
		}
	}
	return gids
}

// entries yields the fields of each line, but not of comments and of lines that
// stand for a directory (+ and -).
func entries(text string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.ContainsAny(line[:1], "#+-:") && !yield(strings.Split(line, ":")) {
				return
			}
		}
	}
}

func parseID(fields []string, i int) (uint32, bool) {
	if i >= len(fields) {
		return 0, false
	}
	id, err := strconv.ParseUint(fields[i], 10, 32)
	return uint32(id), err == nil
}
