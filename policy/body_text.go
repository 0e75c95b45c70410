package policy

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return
		}
	}
}

// word reads a number, true, false or null.
func (r *reader) word() string {
	start := r.at
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n,]}", r.text[r.at]) < 0 {
		r.at++
	}
	if r.at-start > maxLiteral {
		return string(r.text[start : start+maxLiteral+1]) // too long already
	}
	return string(r.text[start:r.at])
}

// string reads a string. What cannot be written in UTF-8, or was replaced because
// of that, is odd: readers do not agree on what it is.
func (r *reader) string() []byte {
	r.at++ // "
	end, escaped := r.at, false
	for ; r.text[end] != '"'; end++ {
		if r.text[end] == '\\' {
			escaped = true
			end++
		}
	}
	raw := r.text[r.at:end]
	r.at = end + 1
	if escaped {
		raw = unquote(raw)
	}
	if bytes.ContainsRune(raw, utf8.RuneError) {
		r.odd = bodyRunes
	}
	return raw
}

// unquote decodes what stands between the quotes of a JSON string; half of a
// surrogate pair becomes U+FFFD.
func unquote(raw []byte) []byte {
	text := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		if raw[0] != '\\' {
			text, raw = append(text, raw[0]), raw[1:]
			continue
		}
		switch c := raw[1]; c {
		case 'u':
			one := hexRune(raw[2:])
			raw = raw[6:]
			if utf16.IsSurrogate(one) && len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
				if both := utf16.DecodeRune(one, hexRune(raw[2:])); both != utf8.RuneError {
					one, raw = both, raw[6:]
				}
			}
			text = utf8.AppendRune(text, one)
			continue
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		default: // ", \ or /
			text = append(text, c)
		}
		raw = raw[2:]
	}
	return text
}

func hexRune(digits []byte) rune {
	n, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError // cannot be: the body is JSON
	}
	return rune(n)
}
