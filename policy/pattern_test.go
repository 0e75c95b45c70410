package policy

import (
	"strings"
	"testing"
)

func TestParsePattern_SaysWhatToWrite(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // "" if the pattern is good
	}{
		{"/", ""}, {"/*", ""}, {"/**", ""}, {"/a/", ""}, {"/a/*/b/**", ""}, {"/a%20b", ""}, {"/%2A%2A", ""}, {"/...", ""}, {"/.a", ""}, {"/é", ""}, {"/a:b;c@d", ""},
		{"", "does not start with /; write the path below the upstream, such as /v0.10/task/*"},
		{"a", "does not start with /"},
		{"*", "does not start with /"},
		{"https://example.org/a", "does not start with /"},
		{"/a?b=c", "has a ? or #; write the path alone"},
		{"/a#b", "has a ? or #"},
		{"/a/%", "has a % that starts no escape; write %25 for the character itself"},
		{"/%zz/a", "has a % that starts no escape"},
		{"/a*", `has * inside segment "a*"; write * for a whole segment, ** at the end for all the rest, or %2A for the character itself`},
		{"/**/a", `has * inside segment "**"`},
		{"/***", `has * inside segment "***"`},
		{"/*%2A", `has * inside segment "*%2A"`},
		{"/./a", "has a dot segment, which no request has; write the path without it"},
		{"/a/..", "has a dot segment"},
		{"/%2e%2E/a", "has a dot segment"},
		{"//a", "has an empty segment, which no request has; write one / between segments"},
		{"/a//", "has an empty segment"},
		{"/a//**", "has an empty segment"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			p, err := ParsePattern(tt.text)
			if tt.want == "" {
				if err != nil || p.String() != tt.text {
					t.Errorf("ParsePattern() = %q, %v; want the pattern", p, err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestPattern_Matches(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		match, forbid bool
	}{
		{"/", "/", true, true},
		{"/", "/a", false, false},
		{"/a", "/a", true, true},
		{"/a", "/a/", false, true},
		{"/a", "/a/b", false, true},
		{"/a", "/A", false, true},
		{"/a", "/ab", false, false},
		{"/a", "/", false, false},
		{"/a/", "/a", false, false},
		{"/a/", "/a/", true, true},
		{"/*", "/a", true, true},
		{"/*", "/", false, true},
		{"/a/**", "/a", true, true},
		{"/a/**", "/a/b/c", true, true},
		{"/a/**", "/b", false, false},
		{"/*/b/**", "/x/b", true, true},
		{"/*/b/**", "/x/y/b", false, false},
		{"/%C3%A9", "/é", true, true},
		{"/é", "/%c3%a9", true, true},
		{"/%C3%A9", "/%C3%89", false, true},
		{"/a%2Fb", "/a/b", false, false},
		{"/a%2Fb", "/a%2fb", true, true},
		{"/=a", "/=a", true, true},
		{"/a", "/=a", false, false},
	} {
		segments, ok := splitPath(tt.path)
		if !ok {
			t.Fatalf("splitPath(%q) failed", tt.path)
		}
		p := pattern(tt.pattern)
		if match, forbid := p.match(segments), p.forbids(segments); match != tt.match || forbid != tt.forbid {
			t.Errorf("%q: match(%q) = %v, forbids = %v; want %v, %v", tt.pattern, tt.path, match, forbid, tt.match, tt.forbid)
		}
	}
}
