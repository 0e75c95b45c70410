package clients_test

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// A client is a tool as people have it.
type client struct {
	name    string
	version func(t *testing.T) string // what it says of itself
}

// A row is what a client did in all tests.
type row struct {
	version                 string
	requests, ours, stories int
}

var table = struct {
	mu   sync.Mutex // guards rows
	rows map[string]*row
}{rows: map[string]*row{}}

// checkOurs checks that all that reached Globus, a client's story told, carried
// one Authorization, of a token that bearerd and nobody else was issued. It is
// called once for an emulator, and counts for the table.
func checkOurs(t *testing.T, g *harness.Globus, who client) {
	t.Helper()
	issued := map[string]bool{}
	var received []emulator.Record
	for _, r := range g.Records() {
		switch {
		case r.Service != "auth" || r.Target != tokenPath:
			received = append(received, r)
		case !strings.HasPrefix(r.Header.Get("User-Agent"), "bearerd/"):
			t.Errorf("Auth got a token request of %s", r.Header.Get("User-Agent"))
		}
		for _, token := range r.Issued {
			issued[token] = true
		}
	}
	ours := 0
	for _, r := range received {
		if r.Authorizations == 1 && issued[r.Authorization] {
			ours++
			continue
		}
		t.Errorf("%s %s arrived with %d Authorization, %s, which is not bearerd's", r.Method, r.Target, r.Authorizations, r.Authorization)
	}
	if len(received) == 0 {
		t.Error("Globus received nothing")
	}
	said := versionOf(t, who)
	table.mu.Lock()
	defer table.mu.Unlock()
	if table.rows[who.name] == nil {
		table.rows[who.name] = &row{version: said}
	}
	line := table.rows[who.name]
	line.requests += len(received)
	line.ours += ours
	t.Cleanup(func() {
		table.mu.Lock()
		defer table.mu.Unlock()
		if !t.Failed() {
			line.stories++
		}
	})
}

var versionForm = regexp.MustCompile(`\d+(\.\w+)+`)

// versionOf returns the version of a client, without the words around it.
func versionOf(t *testing.T, who client) string {
	t.Helper()
	said := who.version(t)
	version := versionForm.FindString(said)
	if version == "" {
		t.Errorf("%s says its version is %q", who.name, said)
	}
	return version
}

// printTable is for the log of a run: see the Makefile.
func printTable() {
	table.mu.Lock()
	defer table.mu.Unlock()
	for _, name := range slices.SortedFunc(maps.Keys(table.rows), func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		r := table.rows[name]
		fmt.Printf("real client: %-24s %-10s %4d requests, %4d with exactly our Authorization, %2d stories passed\n",
			name, r.version, r.requests, r.ours, r.stories)
	}
}
