package runtime

import (
	"bytes"
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// What follows walks over JSON that is known to be valid, without making
// anything of what nobody asks for: replies are up to 6 MB, most of it base64.
// Keys are matched with their case, which encoding/json does not do for structs.

// members gives the members of an object, in order, doubles too; none of what
// is no object. Keys are decoded, values are as they stand.
func members(b []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		i := blank(b, 0)
		if i == len(b) || b[i] != '{' {
			return
		}
		for i = blank(b, i+1); b[i] != '}'; i = blank(b, i) {
			if b[i] == ',' {
				i = blank(b, i+1)
			}
			end := valueEnd(b, i)
			key, _ := unquote(b[i:end])
			i = blank(b, blank(b, end)+1) // past the colon
			end = valueEnd(b, i)
			if !yield(key, b[i:end:end]) {
				return
			}
			i = end
		}
	}
}

// elements gives the elements of a list.
func elements(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := blank(b, blank(b, 0)+1); b[i] != ']'; i = blank(b, i) {
			if b[i] == ',' {
				i = blank(b, i+1)
			}
			end := valueEnd(b, i)
			if !yield(b[i:end:end]) {
				return
			}
			i = end
		}
	}
}

// without is an object less the members of one name.
func without(b []byte, name string) []byte {
	out := []byte{'{'}
	for key, value := range members(b) {
		if key == name {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(appendString(out, key), ':'), value...)
	}
	return append(out, '}')
}

func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// valueEnd is where the value that begins at i ends.
func valueEnd(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch b[i] {
			case '"':
				i = stringEnd(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(b) && bytes.IndexByte([]byte(",]} \n\t\r"), b[i]) < 0 {
		i++
	}
	return i
}

func stringEnd(b []byte, i int) int {
	for i++; ; i++ {
		i += bytes.IndexByte(b[i:], '"')
		n := 0 // backslashes before it: an odd number escapes it
		for b[i-1-n] == '\\' {
			n++
		}
		if n%2 == 0 {
			return i + 1
		}
	}
}

// unquote is the text of a JSON string; false: it is no string.
func unquote(raw []byte) (string, bool) {
	if raw[0] != '"' {
		return "", false
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// kindOf names what a JSON value is.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}
