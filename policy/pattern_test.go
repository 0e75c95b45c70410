package policy

import (
	"math/rand/v2"
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

// randomPattern is a pattern of few different segments, so that paths match it.
func randomPattern(r *rand.Rand) Pattern {
	text := ""
	for range 1 + r.IntN(4) {
		text += "/" + []string{"a", "b", "*", "%61", "%2A", "c%20d"}[r.IntN(6)]
	}
	return pattern(text + []string{"", "", "/", "/**"}[r.IntN(4)])
}

func randomPath(r *rand.Rand) string {
	path := ""
	for range 1 + r.IntN(5) {
		path += "/" + []string{"a", "b", "%62", "*", "c d", "%63%20d", "A", "", "abc", "a%2Fb"}[r.IntN(10)]
	}
	return path
}

func TestRoute_MatchesWhatItsPatternMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	matched := 0
	for range 20_000 {
		w := newWords()
		p, path := randomPattern(r), randomPath(r)
		w.route(&Pattern{segments: []segment{{text: "b"}, {text: "c d"}}})
		route := w.route(&p)
		list, more, ok := w.read(path, make([]word, 0, len(route.words)+r.IntN(3)))
		segments, okToo := splitPath(path)
		want := p.match(segments)
		if got := route.match(list, more, false); !ok || !okToo || got != want || got && !route.mayMatch(list) {
			t.Fatalf("route of %s: match(%q) = %v, want %v", p, path, got, want)
		}
		if want {
			matched++
		}
	}
	if matched < 500 {
		t.Errorf("only %d matched", matched)
	}
}

func TestWords_ReadRefusesWhatIsNoPath(t *testing.T) {
	for _, path := range []string{"", "a", "*", "/%", "/a%2", "/%zz", "/a/%4", "/" + strings.Repeat("a/", 50) + "%"} {
		_, _, got := newWords().read(path, make([]word, 0, 4))
		if _, want := splitPath(path); got || want {
			t.Errorf("read(%q) = %v, splitPath %v, want both to refuse it", path, got, want)
		}
	}
	long := "/" + strings.Repeat("%41", 500)
	w := newWords()
	p := pattern(long)
	route := w.route(&p)
	if list, more, ok := w.read(strings.ReplaceAll(long, "%41", "A"), make([]word, 0, 1)); !ok || !route.match(list, more, false) {
		t.Error("a long segment does not match itself")
	}
	if list, more, ok := w.read(long, make([]word, 0, 1)); !ok || !route.match(list, more, false) {
		t.Error("a long segment does not match itself with escapes")
	}
}

func TestPattern_Covers(t *testing.T) {
	for _, tt := range []struct {
		pattern, other string
		want           bool
	}{
		{"/**", "/a/*/b/**", true},
		{"/**", "/", true},
		{"/a/**", "/a", true},
		{"/a/**", "/a/**", true},
		{"/a/**", "/a/*/c/", true},
		{"/a/**", "/**", false},
		{"/a/*", "/a/b", true},
		{"/a/*", "/a/*", true},
		{"/a/*", "/a/", false},
		{"/a/*", "/a/**", false},
		{"/a/*", "/a/b/c", false},
		{"/*/**", "/a/**", true},
		{"/*/**", "/**", false},
		{"/a/b", "/a/*", false},
		{"/%61", "/a", true},
		{"/a", "/A", false},
		{"/%2A", "/*", false},
		{"/*", "/%2A", true},
	} {
		p := pattern(tt.pattern)
		if got := p.covers(pattern(tt.other), false); got != tt.want {
			t.Errorf("%q covers %q: %v, want %v", tt.pattern, tt.other, got, tt.want)
		}
	}
	r := rand.New(rand.NewPCG(7, 8))
	covered := 0
	for range 20_000 {
		p, other := randomPattern(r), randomPattern(r)
		if !p.covers(other, false) {
			continue
		}
		covered++
		for range 20 {
			if segments, _ := splitPath(randomPath(r)); other.match(segments) && !p.match(segments) {
				t.Fatalf("%s covers %s, but not its %q", p, other, segments)
			}
		}
	}
	if covered < 500 {
		t.Errorf("only %d patterns cover another", covered)
	}
}
