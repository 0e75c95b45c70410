package policy

import (
	"strings"
	"unicode/utf8"
)

// lookalikes are characters that servers which normalise Unicode (NFKC) make dots
// and slashes of.
var lookalikes = strings.NewReplacer("．", ".", "․", ".", "﹒", ".", "‥", "..", "…", "...", "／", "/", "＼", `\`, "﹨", `\`)

// HasDotSegment reports whether some server finds a segment . or .. in text. It splits
// at whatever some server takes for a separator, and stops a segment at ";" as servlet
// containers do.
func HasDotSegment(text string) bool {
	if !isASCII(text) {
		text = lookalikes.Replace(text)
	}
	for text != "" {
		segment := text
		if at := strings.IndexAny(text, `/\`); at >= 0 {
			segment, text = text[:at], text[at+1:]
		} else {
			text = ""
		}
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return true
		}
	}
	return false
}

func isASCII(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// HasOverlong reports whether text has characters written in more bytes than they
// need, which some decoders take for ASCII: C0 AE for a dot.
func HasOverlong(text string) bool {
	for i := 0; i < len(text); i++ {
		next := byte(0)
		if i+1 < len(text) {
			next = text[i+1]
		}
		switch c := text[i]; {
		case (c == 0xC0 || c == 0xC1) && isContinuation(next),
			c == 0xE0 && 0x80 <= next && next < 0xA0,
			c == 0xF0 && 0x80 <= next && next < 0x90:
			return true
		}
	}
	return false
}

func isContinuation(c byte) bool { return c&0xC0 == 0x80 }
