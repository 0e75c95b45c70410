package policy

import (
	"regexp"
)

// Config is the policy section of config.yaml.
type Config struct {
	Identity IdentityConfig `yaml:"identity"`
	Callers  []CallerConfig `yaml:"callers"`
	Rules    []RuleConfig   `yaml:"rules"`
	Audit    AuditConfig    `yaml:"audit"`
}

// RuleConfig is one rule. It names operations of the upstreams' presets (allow),
// or methods with paths, or both; a request that is one of them and meets every
// condition on its query and body matches.
type RuleConfig struct {
	Name       string   `yaml:"name"` // appears in every answer and log line about it
	Callers    []string `yaml:"callers"`
	Upstreams  []string `yaml:"upstreams"`
	Allow      []string `yaml:"allow"`
	Methods    []string `yaml:"methods"`
	Paths      []string `yaml:"paths"`
	Credential string   `yaml:"credential"` // default: the upstream's
	// Query are conditions by the name of a parameter, Body by a JSON pointer to a
	// field (RFC 6901), where * is every element of a list.
	Query   map[string]ConditionConfig `yaml:"query"`
	Body    map[string]ConditionConfig `yaml:"body"`
	MaxBody Size                       `yaml:"max_body"` // a longer body does not match; default 64KiB, at most 16MiB
	Limits  LimitsConfig               `yaml:"limits"`
	// Deny refuses what matches. What cannot be told of a query or body counts as
	// matching then.
	Deny bool `yaml:"deny"`
}

// ConditionConfig is what a field or parameter must be: one key of the three.
type ConditionConfig struct {
	In       Values `yaml:"in"`        // one of these
	Under    string `yaml:"under"`     // a path below this one
	AbsentOr Values `yaml:"absent_or"` // not there, or one of these
}

// LimitsConfig bounds what each caller may do by one rule.
type LimitsConfig struct {
	Rate        string `yaml:"rate"`        // 5/s, 100/m or 10/h; default: any
	Concurrency int    `yaml:"concurrency"` // requests at a time; default: any number
}

// AuditConfig says what is written down of requests and decisions.
type AuditConfig struct {
	File     string `yaml:"file"`     // appended to; default: none
	Reads    bool   `yaml:"reads"`    // also requests that only read
	Required bool   `yaml:"required"` // what cannot be written down is refused
}

func (a AuditConfig) check(m Mistakes) {
	for key, set := range map[string]bool{"reads": a.Reads, "required": a.Required} {
		if set && a.File == "" {
			m.Add([]any{"audit", key}, "there is no file: to write to; write one, such as /var/log/bearerd/audit.jsonl")
		}
	}
}

// Mistakes collects what is wrong with a configuration. Paths are keys and list
// indexes from the section down.
type Mistakes interface {
	// Add notes what was found and what to write instead.
	Add(path []any, format string, args ...any)
	// Unknown notes that there is no such name, and offers the known ones.
	Unknown(path []any, kind, name string, known []string)
}

// Texts is one text or a list of them.
type Texts []string

// UnmarshalYAML reads either form.
func (t *Texts) UnmarshalYAML(read func(any) error) error {
	var one string
	if read(&one) == nil {
		*t = Texts{one}
		return nil
	}
	return read((*[]string)(t))
}

const maxName = 64

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

// ValidName reports whether a caller, rule, upstream or credential may have this
// name: lower-case letters, digits, ".", "_" and "-", so that it needs no
// quoting in a URL, a log line or YAML.
func ValidName(name string) bool { return len(name) <= maxName && validName.MatchString(name) }

func checkName(path []any, name string, taken bool, m Mistakes) {
	switch {
	case name == "":
		m.Add(path, "missing; give it a name of lower-case letters, digits and -")
	case !ValidName(name):
		m.Add(path, "%q cannot be a name; write lower-case letters, digits, ., _ and -, at most 64", name)
	case taken:
		m.Add(path, "there is %q already; choose another name", name)
	}
}
