package daemon

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// severalUsers reports whether the machine looks as if others than one person log
// in there, so that loopback is not one person's.
func severalUsers() bool {
	read := func(path string) string {
		data, _ := os.ReadFile(path) // without one, there is nobody in it
		return string(data)
	}
	return hasSeveralUsers(read("/etc/passwd"), read("/etc/nsswitch.conf"))
}

const (
	firstPerson = 1000  // numbers below are the system's own
	nobodyUID   = 65534 // and so is this
)

// directories are the sources of accounts in nsswitch.conf(5) that have a whole
// organisation's.
var directories = []string{"sss", "ldap", "nis", "nisplus", "winbind"}

// noShells are what accounts that nobody logs in to have for a shell.
var noShells = []string{"nologin", "false", "true", "sync", "shutdown", "halt"}

func hasSeveralUsers(passwd, nsswitch string) bool {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		database, sources, _ := strings.Cut(line, ":")
		if strings.TrimSpace(database) == "passwd" && slices.ContainsFunc(strings.Fields(sources), func(source string) bool { return slices.Contains(directories, source) }) {
			return true
		}
	}
	people := map[uint64]bool{} // some have two names
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 7 {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		shell := fields[6][strings.LastIndexByte(fields[6], '/')+1:]
		if err == nil && uid >= firstPerson && uid != nobodyUID && !slices.Contains(noShells, shell) {
			people[uid] = true
		}
	}
	return len(people) > 1
}
