package wire

import (
	"math"
	"regexp"
	"sync"
)

// Kind is what a [Shape] describes.
type Kind uint8

const (
	KindStructure Kind = iota
	KindString
	KindInteger
	KindLong
	KindBoolean
	KindBlob
	KindTimestamp
	KindList
	KindMap
	KindDouble
)

// Shape is the type of a member and what AWS asks of its values. Operations' tables are
// written with the constructors below, in the order in which AWS lists what is wrong.
type Shape struct {
	Kind Kind
	// Min and Max bound a number's value, or the length of anything else: characters,
	// bytes, elements or entries. Unbounded are math.MinInt64 and math.MaxInt64.
	Min, Max int64
	Pattern  string   // a string as a whole must match it (RE2 but for [Shape.Matching], printed as it stands)
	Enum     []string // the values a string may have, in the order AWS prints
	Members  []Member // of a structure
	Elem     *Shape   // of a list; a map's values
	Key      *Shape   // a map's keys: always strings
	// Print is how AWS prints a structure inside a list or map that it complains of:
	// Java's class and hash.
	Print string

	pattern func() *regexp.Regexp
}

// Member is a member of a structure.
type Member struct {
	Name     string
	Shape    *Shape
	Required bool // null and missing are refused
	// In is where a REST operation's member travels, and Key its name there, or in the body,
	// if that is not Name.
	In  Place
	Key string
}

func length(kind Kind, low, high int64) *Shape {
	if low == 0 {
		low = math.MinInt64
	}
	if high == 0 {
		high = math.MaxInt64
	}
	return &Shape{Kind: kind, Min: low, Max: high}
}

// String has low to high characters and matches the pattern as a whole. Zero, zero and ""
// do not restrict.
func String(low, high int64, pattern string) *Shape {
	s := length(KindString, low, high)
	s.Pattern = pattern
	if pattern != "" {
		s.Matching(pattern)
	}
	return s
}

// Matching has a string match another expression than the one that is printed: AWS's may look
// around, and RE2 does not.
func (s *Shape) Matching(re2 string) *Shape {
	s.pattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A(?:` + re2 + `)\z`) })
	return s
}

// Enum is a string out of a set.
func Enum(values ...string) *Shape {
	s := length(KindString, 0, 0)
	s.Enum = values
	return s
}

func number(kind Kind, bounds []int64) *Shape {
	s := length(kind, 0, 0)
	if len(bounds) > 0 {
		s.Min = bounds[0]
	}
	if len(bounds) > 1 {
		s.Max = bounds[1]
	}
	return s
}

// Integer has 32 bits. Bounds are none, the least value, or the least and the greatest.
func Integer(bounds ...int64) *Shape { return number(KindInteger, bounds) }

// Long has 64 bits. Bounds as with Integer.
func Long(bounds ...int64) *Shape { return number(KindLong, bounds) }

// Double is a floating-point number. NaN and the infinities are such numbers too, where the
// protocol has them.
func Double() *Shape { return length(KindDouble, 0, 0) }

// Boolean is true or false.
func Boolean() *Shape { return length(KindBoolean, 0, 0) }

// Timestamp is a time, in seconds since 1970.
func Timestamp() *Shape { return length(KindTimestamp, 0, 0) }

// Blob has low to high bytes; zero does not restrict.
func Blob(low, high int64) *Shape { return length(KindBlob, low, high) }

// List has low to high elements; zero does not restrict.
func List(elem *Shape, low, high int64) *Shape {
	s := length(KindList, low, high)
	s.Elem = elem
	return s
}

// Map has low to high entries with strings as keys; zero does not restrict.
func Map(key, value *Shape, low, high int64) *Shape {
	s := length(KindMap, low, high)
	s.Key, s.Elem = key, value
	return s
}

// Structure has members.
func Structure(members ...Member) *Shape {
	s := length(KindStructure, 0, 0)
	s.Members = members
	return s
}

// Printed sets how AWS prints the structure.
func (s *Shape) Printed(as string) *Shape { s.Print = as; return s }
