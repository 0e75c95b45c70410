package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Mistakes is everything that is wrong with a configuration, in file order. Its
// text is one line each: FILE:LINE:COL: PATH: what was found; what to write.
type Mistakes []string

func (m Mistakes) Error() string { return strings.Join(m, "\n") }

// Count says how many there are, for a person.
func (m Mistakes) Count() string {
	if len(m) == 1 {
		return "1 mistake"
	}
	return fmt.Sprintf("%d mistakes", len(m))
}

// mistakes collects them; it is what the sections' packages call Mistakes.
type mistakes struct {
	*document
	prefix []any
	*findings
}

type findings struct {
	found  []mistake
	hushed map[string]bool // paths whose mistakes only follow from another
}

type mistake struct {
	line, column int
	text         string
}

func newMistakes(doc *document) *mistakes {
	return &mistakes{document: doc, findings: &findings{hushed: map[string]bool{}}}
}

// under returns the collector for a section.
func (m *mistakes) under(section string) *mistakes {
	return &mistakes{m.document, append(slices.Clip(m.prefix), section), m.findings}
}

// hush keeps quiet about paths that are wrong only because of what was noted already.
func (m *mistakes) hush(paths ...[]any) {
	for _, path := range paths {
		m.hushed[pathText(slices.Concat(m.prefix, path))] = true
	}
}

// Add notes a mistake at path, or at the nearest place above it that the file has.
func (m *mistakes) Add(path []any, format string, args ...any) {
	full := slices.Concat(m.prefix, path)
	if m.hushed[pathText(full)] {
		return
	}
	line, column := m.locate(full)
	m.addAt(line, column, pathText(full), fmt.Sprintf(format, args...))
}

func (m *mistakes) addAt(line, column int, path, text string) {
	if path != "" {
		text = path + ": " + text
	}
	m.found = append(m.found, mistake{line, column, fmt.Sprintf("%s:%d:%d: %s", m.name, line, column, text)})
}

// Unknown notes that there is no such name.
func (m *mistakes) Unknown(path []any, kind, name string, known []string) {
	if near := closest(name, known); near != "" {
		m.Add(path, "no %s %q; did you mean %q?", kind, name, near)
		return
	}
	m.Add(path, "no %s %q; write one of %s", kind, name, list(known))
}

// choice notes a value that is not one of the known.
func (m *mistakes) choice(path []any, kind, value string, known []string) {
	if !slices.Contains(known, value) {
		m.Unknown(path, kind, value, known)
	}
}

// all returns the mistakes in file order, or nil.
func (m *mistakes) all() error {
	if len(m.found) == 0 {
		return nil
	}
	slices.SortStableFunc(m.found, func(a, b mistake) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	lines := make(Mistakes, len(m.found))
	for i, one := range m.found {
		lines[i] = one.text
	}
	return lines
}

// pathText writes a path as proxy.upstreams.transfer.url or policy.rules[2].
func pathText(path []any) string {
	var b strings.Builder
	for _, step := range path {
		if index, ok := step.(int); ok {
			fmt.Fprintf(&b, "[%d]", index)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		text := fmt.Sprint(step)
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) { // a key can be anything
			text = strconv.Quote(text)
		}
		b.WriteString(text)
	}
	return b.String()
}

// closest returns the known name that a person probably meant, or "".
func closest(name string, known []string) string {
	best, bestDistance := "", 1+len(name)/3
	for _, candidate := range known {
		if d := distance(strings.ToLower(name), candidate); d <= bestDistance {
			best, bestDistance = candidate, d-1
		}
	}
	return best
}

// distance is how many letters to insert, delete, replace or swap with their
// neighbour to make a of b (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(replace, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// list writes names as a person would.
func list(names []string) string { return strings.Join(names, ", ") }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
