package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"bearerd/credentials"
	"bearerd/proxy/admin"
)

// maxConfigBytes bounds a configuration file.
const maxConfigBytes = 1 << 20

// maxStructural is how many mistakes of structure are told at once; a file with
// more is some other file.
const maxStructural = 100

// searchPath is where a configuration is looked for when nobody names one.
var searchPath = []string{"config.yaml", "/etc/bearerd/config.yaml"}

// FindConfig returns path, or the first of ./config.yaml and
// /etc/bearerd/config.yaml that exists. Its error is a Mistakes.
func FindConfig(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	for _, candidate := range searchPath {
		if _, err := os.Stat(candidate); err == nil {
			return candidate, nil
		}
	}
	return "", Mistakes{fmt.Sprintf("no configuration: neither %s exists; write one, or name it with --config", strings.Join(searchPath, " nor "))}
}

// Load reads the configuration file and resolves it: exactly what Run runs with
// and what Reload loads. Its error is a Mistakes: mistakes of syntax alone, else
// all of structure, else all of meaning.
func Load(path string, overrides Overrides) (*Config, error) {
	info, err := os.Stat(path)
	if err == nil && (info.Size() > maxConfigBytes || !info.Mode().IsRegular()) {
		return nil, Mistakes{path + ": not a file of at most 1 MiB; name the configuration file itself"}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Mistakes{fmt.Sprintf("%s: cannot be read: %v; name the configuration file with --config", path, readCause(err))}
	}
	return parse(path, data, overrides)
}

// adminAddress reads admin.address and nothing else, so that who asks a running
// bearerd needs none of its secrets and variables, and a mistake made since it
// started is none of theirs. A file that is no YAML says nothing, and neither does
// one without the key: the usual address then.
func adminAddress(path string) (string, error) {
	usual := admin.Default().Address
	data, err := os.ReadFile(path)
	if err != nil {
		return "", Mistakes{fmt.Sprintf("%s: cannot be read: %v; name the configuration file with --config, or --admin-url", path, readCause(err))}
	}
	var file struct {
		Admin struct {
			Address *string `yaml:"address"`
		} `yaml:"admin"`
	}
	if yaml.Load(data, &file) != nil || file.Admin.Address == nil {
		return usual, nil
	}
	return *file.Admin.Address, nil
}

// readCause drops the operation and path that the caller names.
func readCause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

func parse(name string, data []byte, overrides Overrides) (*Config, error) {
	doc := &document{name: name}
	m := newMistakes(doc)
	cfg := defaultConfig()
	// The tree comes first: it has the places, and syntax errors and duplicate keys of its own.
	err := yaml.Load(data, &doc.root)
	if err == nil {
		err = yaml.Load(data, cfg, yaml.WithKnownFields())
	}
	m.structure(err)
	m.emptyItems(&doc.root, nil)
	if err := m.all(); err != nil {
		return nil, err
	}
	overrides.apply(cfg)
	if overrides.WithoutSecrets {
		m.hush(cfg.secretPaths()...)
	}
	cfg.resolve(m)
	if err := m.all(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// document is a parsed file, to find where things stand in it.
type document struct {
	name string
	root yaml.Node
}

// locate returns line and column of what path names, or of the nearest above it:
// of a single value, else of its key, else of the list item.
func (d *document) locate(path []any) (line, column int) {
	node := content(&d.root)
	line, column = max(node.Line, 1), max(node.Column, 1)
	for _, step := range path {
		key, value := child(node, step)
		if value == nil {
			break
		}
		node = content(value)
		line, column = node.Line, node.Column
		if key != nil && node.Kind != yaml.ScalarNode {
			line, column = key.Line, key.Column
		}
	}
	return line, column
}

// emptyItems notes items of lists that say nothing, which would otherwise be
// dropped or taken for defaults. A null is one too, but where any value may stand.
func (m *mistakes) emptyItems(node *yaml.Node, path []any) {
	for i, part := range node.Content {
		at := path
		switch node.Kind {
		case yaml.SequenceNode:
			at = append(path[:len(path):len(path)], i)
			if part.Kind == yaml.ScalarNode && part.Tag == "!!null" && !(part.Value == "null" && mayBeNull(at)) {
				m.addAt(part.Line, part.Column, pathText(at), "an empty item; write it or leave it out")
			}
		case yaml.MappingNode:
			at = append(path[:len(path):len(path)], node.Content[i-i%2].Value)
		}
		m.emptyItems(part, at)
	}
}

func mayBeNull(path []any) bool {
	t := typeAt(path)
	return t != nil && t.Kind() == reflect.Interface
}

// content looks through documents and aliases.
func content(node *yaml.Node) *yaml.Node {
	for {
		switch {
		case node.Kind == yaml.DocumentNode && len(node.Content) > 0:
			node = node.Content[0]
		case node.Kind == yaml.AliasNode && node.Alias != nil:
			node = node.Alias
		default:
			return node
		}
	}
}

func child(node *yaml.Node, step any) (key, value *yaml.Node) {
	switch step := step.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && step < len(node.Content) {
			return nil, node.Content[step]
		}
	case string:
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i], node.Content[i+1]
			}
		}
	}
	return nil, nil
}

// structure notes what the YAML library found, in words without Go types.
func (m *mistakes) structure(err error) {
	var all *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &all):
		for _, e := range all.Errors[:min(len(all.Errors), maxStructural)] {
			m.structural(e)
		}
	case errors.As(err, &one):
		m.structural(one)
	case err != nil:
		m.addAt(1, 1, "", "not YAML; write a configuration as the shipped config.yaml")
	}
}

func (m *mistakes) structural(e *yaml.LoadError) {
	line, column := max(e.Mark.Line, 1), max(e.Mark.Column, 1)
	name, unknown := strings.CutPrefix(e.Message, "field ")
	if unknown {
		name, _, _ = strings.Cut(name, " not found in type ")
	}
	path, node := m.find(&m.root, nil, line, column)
	switch {
	case strings.HasPrefix(e.Message, "mapping key "):
		m.addAt(line, column, pathText(path), "written twice; keep one of them")
	case strings.Contains(e.Message, "no documents"):
		m.addAt(1, 1, "", "empty; write a configuration as the shipped config.yaml")
	case strings.Contains(e.Message, "multiple"):
		m.addAt(1, 1, "", "several documents (---); write one")
	case unknown:
		m.unknownKey(line, column, path, name)
	case node != nil && strings.HasPrefix(e.Message, "cannot construct"):
		m.addAt(line, column, pathText(path), misfit(typeAt(path), node))
	case strings.Contains(e.Message, "anchor"): // whose name may be a secret that begins with *
		m.addAt(line, column, pathText(path), "not an alias of anything here; quote text that begins with *")
	case e.Stage == "constructor": // its other words are Go's
		m.addAt(line, column, pathText(path), "not understood here; write a configuration as the shipped config.yaml")
	default:
		m.addAt(line, column, "", "not YAML: "+e.Message+"; check indentation, quotes and brackets")
	}
}

func (m *mistakes) unknownKey(line, column int, path []any, name string) {
	known := keysOf(typeAt(path[:max(len(path)-1, 0)]))
	hint := "write one of " + list(known)
	if near := closest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if len(known) == 0 {
		hint = "leave it out"
	}
	m.addAt(line, column, pathText(path), "unknown key; "+hint)
}

// find returns path and value of the key or value that stands at line and column.
func (m *mistakes) find(node *yaml.Node, path []any, line, column int) ([]any, *yaml.Node) {
	if node.Kind != yaml.DocumentNode && node.Line == line && node.Column == column && node.Kind == yaml.ScalarNode {
		return path, node
	}
	for i, part := range node.Content {
		at := path
		switch node.Kind {
		case yaml.SequenceNode:
			at = append(path[:len(path):len(path)], i)
		case yaml.MappingNode:
			at = append(path[:len(path):len(path)], node.Content[i-i%2].Value)
		}
		if found, value := m.find(part, at, line, column); value != nil {
			return found, value
		}
	}
	if node.Kind != yaml.DocumentNode && node.Line == line && node.Column == column {
		return path, node
	}
	return nil, nil
}

// typeAt returns the Go type that a path of the file is read into, or nil.
func typeAt(path []any) reflect.Type {
	t := reflect.TypeFor[Config]()
	for _, step := range path {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Struct:
			field, ok := fieldOf(t, fmt.Sprint(step))
			if !ok {
				return nil
			}
			t = field.Type
		case reflect.Map, reflect.Slice:
			t = t.Elem()
		default:
			return nil
		}
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for field := range t.Fields() {
		if field.Tag.Get("yaml") == key {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	if t != nil && t.Kind() == reflect.Struct {
		for field := range t.Fields() {
			if key := field.Tag.Get("yaml"); key != "" && key != "-" {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// misfit says that a value is not of the kind its key wants. What stands where a
// reference belongs may be a secret, and is not repeated.
func misfit(want reflect.Type, node *yaml.Node) string {
	found := map[yaml.Kind]string{yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}[node.Kind]
	if found == "" {
		found = fmt.Sprintf("%q", node.Value)
	}
	if want == nil {
		return found + " does not belong here; leave it out"
	}
	switch {
	case want == reflect.TypeFor[credentials.Reference]():
		return "not a reference; write env:NAME, file:PATH or credential:NAME"
	case want == reflect.TypeFor[time.Duration]():
		return found + " is not a duration; write one such as 500ms, 20s or 5m"
	case want.Kind() == reflect.Slice:
		return found + " is not a list; write [" + strings.Trim(found, `"`) + "] or one item a line, each after -"
	case want.Kind() == reflect.Bool:
		return found + " is neither true nor false; write one of them"
	case want.Kind() == reflect.Int:
		return found + " is not a whole number; write one such as 64"
	case want.Kind() == reflect.Map || want.Kind() == reflect.Struct:
		return found + " is not a mapping; write keys and values, such as {name: value}"
	}
	return found + " is not text; write a single value"
}
