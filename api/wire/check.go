package wire

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxProblems is how many problems AWS lists.
const maxProblems = 10

// Length is a string's length as AWS counts it: in UTF-16 units, like Java.
func Length(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > math.MaxUint16 {
			n++
		}
	}
	return n
}

// check finds what is wrong with an operation's input whose types are right.
func (s *Service) check(op *Operation, in Values) *Error {
	err := check(op.Input, in, s.Terse)
	if err != nil && s.Invalid != "" {
		err.Code = s.Invalid
	}
	return err
}

// check finds what is wrong with input whose types are right.
func check(s *Shape, in Values, terse bool) *Error {
	if s == nil {
		return nil
	}
	c := checker{terse: terse}
	c.members("", s, in)
	if len(c.problems) == 0 {
		return nil
	}
	noun := "errors"
	if len(c.problems) == 1 {
		noun = "error"
	}
	return Errorf(codeValidation, "%d validation %s detected: %s", len(c.problems), noun, strings.Join(c.problems, "; "))
}

type checker struct {
	problems []string
	terse    bool // see [Service]
}

func (c *checker) full() bool { return len(c.problems) >= maxProblems }

func (c *checker) fail(path string, s *Shape, v any, format string, args ...any) {
	if c.full() {
		return
	}
	value := "null "
	switch {
	case v == nil:
	case c.terse:
		value = ""
	default:
		value = "'" + bounded(print(s, v)) + "' "
	}
	c.problems = append(c.problems, "Value "+value+"at '"+path+"' failed to satisfy constraint: "+fmt.Sprintf(format, args...))
}

func (c *checker) members(path string, s *Shape, in Values) {
	for i := range s.Members {
		m := &s.Members[i]
		c.value(path+lowerFirst(m.Name), m.Shape, m.Required, in[m.Name])
	}
}

// value checks one value, in the order in which AWS complains.
func (c *checker) value(path string, s *Shape, required bool, v any) {
	if c.full() {
		return
	}
	if v == nil {
		if required {
			c.fail(path, s, v, "Member must not be null")
		}
		return
	}
	if text, ok := v.(string); ok {
		if s.Enum != nil && !slices.Contains(s.Enum, text) {
			c.fail(path, s, v, "%s", s.enumRule())
		}
		if s.Pattern != "" && !s.pattern().MatchString(text) {
			c.fail(path, s, v, "%s", s.patternRule())
		}
	}
	if n, of := measure(s, v); n < s.Min {
		c.fail(path, s, v, "Member must have %s greater than or equal to %d", of, s.Min)
	} else if n > s.Max {
		c.fail(path, s, v, "Member must have %s less than or equal to %d", of, s.Max)
	}
	switch v := v.(type) {
	case Values:
		if s.Kind == KindStructure {
			c.members(path+".", s, v)
			return
		}
		c.entries(path, s, v)
	case []any:
		c.elements(path, s, v)
	}
}

// measure is what a shape's bounds are about.
func measure(s *Shape, v any) (n int64, of string) {
	switch v := v.(type) {
	case int64:
		return v, "value"
	case string:
		return int64(Length(v)), "length"
	case []byte:
		return int64(len(v)), "length"
	case []any:
		return int64(len(v)), "length"
	case Values:
		if s.Kind == KindMap {
			return int64(len(v)), "length"
		}
	}
	return 0, "value" // structures, booleans and times have no bounds
}

// elements checks the elements of a list: each by itself if it holds others, else all
// of them at once.
func (c *checker) elements(path string, s *Shape, v []any) {
	if s.Elem.Kind.holds() {
		for i, e := range v {
			c.value(path+"."+strconv.Itoa(i+1)+".member", s.Elem, true, e)
		}
		return
	}
	if !s.Elem.allFit(slices.Values(v)) {
		c.fail(path, s, v, "Member must satisfy constraint: [%s]", s.Elem.rules(c.terse))
	}
}

func (c *checker) entries(path string, s *Shape, v Values) {
	keys := javaOrder(v)
	if !s.Key.allFit(func(yield func(any) bool) {
		for _, key := range keys {
			if !yield(key) {
				return
			}
		}
	}) {
		c.fail(path, s, v, "Map keys must satisfy constraint: [%s]", s.Key.rules(c.terse))
	}
	if s.Elem.Kind.holds() {
		for _, key := range keys {
			c.value(path+"."+bounded(key)+".member", s.Elem, true, v[key])
		}
		return
	}
	if !s.Elem.allFit(func(yield func(any) bool) {
		for _, key := range keys {
			if !yield(v[key]) {
				return
			}
		}
	}) {
		c.fail(path, s, v, "Map value must satisfy constraint: [%s]", s.Elem.rules(c.terse))
	}
}

func (k Kind) holds() bool { return k == KindStructure || k == KindList || k == KindMap }

func (s *Shape) allFit(all func(func(any) bool)) bool {
	for v := range all {
		var c checker
		if c.value("", s, true, v); len(c.problems) > 0 {
			return false
		}
	}
	return true
}

// rules are all that is asked of elements, keys or values that hold no others.
func (s *Shape) rules(terse bool) string {
	var out []string
	if s.Min != math.MinInt64 || s.Max != math.MaxInt64 {
		of, most := "length", min(s.Max, math.MaxInt32)
		if s.Kind == KindInteger || s.Kind == KindLong {
			of = "value"
		}
		out = append(out, fmt.Sprintf("Member must have %s less than or equal to %d", of, most),
			fmt.Sprintf("Member must have %s greater than or equal to %d", of, max(s.Min, 0)))
	}
	if s.Pattern != "" {
		out = append(out, s.patternRule())
	}
	if s.Enum != nil {
		out = append(out, s.enumRule())
	}
	if out == nil || terse {
		out = append(out, "Member must not be null")
	}
	return strings.Join(out, ", ")
}

func (s *Shape) enumRule() string {
	return "Member must satisfy enum value set: [" + strings.Join(s.Enum, ", ") + "]"
}

func (s *Shape) patternRule() string {
	return "Member must satisfy regular expression pattern: " + s.Pattern
}

// print writes a value as AWS does.
func print(s *Shape, v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%d cap=%[1]d]", len(v))
	case []any:
		var b strings.Builder
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.WriteString(print(s.Elem, e)); b.Len() > maxPrinted {
				break
			}
		}
		return b.String() + "]"
	case Values:
		if s.Kind == KindStructure {
			return s.Print
		}
		var b strings.Builder
		b.WriteByte('{')
		for i, key := range javaOrder(v) {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.WriteString(key + "=" + print(s.Elem, v[key])); b.Len() > maxPrinted {
				break
			}
		}
		return b.String() + "}"
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

// javaOrder lists keys as a Java HashMap does that has grown to hold them, so that
// errors show maps as AWS does. Only keys that fall into one bucket, which Java lists as
// they came, are listed by name.
func javaOrder(v Values) []string {
	buckets := 16
	for len(v)*4 > buckets*3 {
		buckets *= 2
	}
	type place struct {
		key    string
		bucket uint32
	}
	places := make([]place, 0, len(v))
	for key := range v {
		var h uint32
		for _, r := range key {
			if r > math.MaxUint16 {
				hi, lo := utf16Pair(r)
				h = (h*31+hi)*31 + lo
			} else {
				h = h*31 + uint32(r)
			}
		}
		h ^= h >> 16
		places = append(places, place{key, h & uint32(buckets-1)})
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.bucket != b.bucket {
			return int(a.bucket) - int(b.bucket)
		}
		return strings.Compare(a.key, b.key)
	})
	keys := make([]string, len(places))
	for i, p := range places {
		keys[i] = p.key
	}
	return keys
}

func utf16Pair(r rune) (hi, lo uint32) {
	r -= 0x10000
	return 0xd800 + uint32(r>>10), 0xdc00 + uint32(r&0x3ff)
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}
