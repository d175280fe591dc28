package logs

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/api/wire"
)

// A filter pattern is a row of terms, each of letters, digits and _, or anything in double
// quotes. An event must contain all of them, none of those with a minus before it, or, where
// only terms with a question mark are given, at least one of them. A term is found wherever it
// stands, also within a word, and case counts. Terms with a question mark beside others are
// ignored, as on AWS.
//
// AWS's patterns for JSON, for columns and of regular expressions are refused.
type pattern struct{ all, none, any [][]byte }

// compile reads a pattern; nil without terms.
func compile(text string) (func([]byte) bool, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	switch text[0] {
	case '{':
		return nil, refusedPattern("that look into JSON ({…})")
	case '[':
		return nil, refusedPattern("of columns ([…])")
	case '%':
		return nil, refusedPattern("of regular expressions (%…%)")
	}
	var p pattern
	for text != "" {
		to := &p.all
		switch text[0] {
		case '-':
			to, text = &p.none, text[1:]
		case '?':
			to, text = &p.any, text[1:]
		}
		term, rest, err := cutTerm(text)
		if err != nil {
			return nil, err
		}
		*to = append(*to, []byte(term))
		text = strings.TrimLeft(rest, " \t\r\n")
	}
	return p.match, nil
}

func refusedPattern(what string) *wire.Error {
	return invalid("Invalid filter pattern: patterns %s are not supported here; give terms, \"phrases\", -terms to leave out, or ?terms of which one is enough.", what)
}

// cutTerm takes the first term off.
func cutTerm(text string) (term, rest string, err error) {
	if quoted, ok := strings.CutPrefix(text, `"`); ok {
		var b strings.Builder
		for i := 0; i < len(quoted); i++ {
			switch {
			case quoted[i] == '\\' && i+1 < len(quoted) && (quoted[i+1] == '"' || quoted[i+1] == '\\'):
				i++
				b.WriteByte(quoted[i])
			case quoted[i] == '"':
				return b.String(), quoted[i+1:], nil
			default:
				b.WriteByte(quoted[i])
			}
		}
		return "", "", invalid("Invalid filter pattern: a \" is not closed.")
	}
	end := 0
	for end < len(text) && plain(text[end]) {
		end++
	}
	if end == 0 || end < len(text) && !strings.ContainsRune(" \t\r\n", rune(text[end])) {
		bad := "its end"
		if end < len(text) {
			r, _ := utf8.DecodeRuneInString(text[end:])
			bad = string(r)
		}
		return "", "", invalid("Invalid character(s) in term '%s': %s; put terms with other characters than letters, digits and _ into double quotes.", text, bad)
	}
	return text[:end], text[end:], nil
}

func plain(c byte) bool {
	return c == '_' || c >= utf8.RuneSelf || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *pattern) match(text []byte) bool {
	for _, t := range p.all {
		if !bytes.Contains(text, t) {
			return false
		}
	}
	for _, t := range p.none {
		if bytes.Contains(text, t) {
			return false
		}
	}
	if len(p.any) == 0 || len(p.all)+len(p.none) > 0 {
		return true
	}
	for _, t := range p.any {
		if bytes.Contains(text, t) {
			return true
		}
	}
	return false
}
