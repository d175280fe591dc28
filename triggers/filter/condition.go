package filter

import (
	"bytes"
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// condition is the array at the end of a path: what the value there may be. One is
// enough.
type condition struct {
	source string // as the pattern has it

	exists, absent         bool // {"exists": true}, {"exists": false}
	truth, falsehood, null bool
	texts                  []string // exactly these, sorted
	numbers                []int64  // orders of numbers, sorted
	far                    []string // numbers that have none, as they are written
	ranges                 []span
	affixes
	tests []test
	buts  []but

	work int // how much testing a value costs, beside its length
}

// span of numbers' orders, both ends in it.
type span struct{ low, high int64 }

// test is an operator on strings.
type test interface {
	text(s []byte) bool
}

// but is one anything-but.
type but struct {
	texts   []string // sorted
	numbers []int64  // sorted
	affixes
	tests []test
}

// affixes are prefixes and suffixes, searched rather than tried one by one: there may be
// hundreds, and a record may have thousands of values.
type affixes struct{ prefixes, suffixes []string }

// seal sorts them, and drops those that another one covers: what is left of which a string
// could begin with one is then the last that is not above it.
func (a *affixes) seal() {
	slices.Sort(a.prefixes)
	a.prefixes = uncovered(a.prefixes, strings.HasPrefix)
	slices.SortFunc(a.suffixes, fromTheEnd[string])
	a.suffixes = uncovered(a.suffixes, strings.HasSuffix)
}

// uncovered drops of sorted affixes those that have one before them.
func uncovered(sorted []string, has func(s, affix string) bool) []string {
	kept := sorted[:0]
	for _, s := range sorted {
		if len(kept) == 0 || !has(s, kept[len(kept)-1]) {
			kept = append(kept, s)
		}
	}
	return kept
}

// affixed says whether s begins or ends with one of them.
func (a *affixes) affixed(s []byte) bool {
	return len(a.prefixes) > 0 && nearest(a.prefixes, s, fromTheStart, begins) ||
		len(a.suffixes) > 0 && nearest(a.suffixes, s, fromTheEnd, ends)
}

// nearest says whether s has one of sorted affixes. Of many only one can be it.
func nearest(sorted []string, s []byte, compare func(string, []byte) int, has func(string, []byte) bool) bool {
	if len(sorted) > 8 {
		i, same := slices.BinarySearchFunc(sorted, s, compare)
		return same || i > 0 && has(sorted[i-1], s)
	}
	for _, t := range sorted {
		if has(t, s) {
			return true
		}
	}
	return false
}

func begins(p string, s []byte) bool { return len(s) >= len(p) && string(s[:len(p)]) == p }

func ends(p string, s []byte) bool { return len(s) >= len(p) && string(s[len(s)-len(p):]) == p }

// cost is how much testing a string takes.
func (a *affixes) cost() int {
	return bits.Len(uint(len(a.prefixes))) + bits.Len(uint(len(a.suffixes)))
}

func fromTheStart(t string, s []byte) int {
	switch {
	case t < string(s):
		return -1
	case t > string(s):
		return 1
	}
	return 0
}

// fromTheEnd compares as if both were written backwards.
func fromTheEnd[S string | []byte](t string, s S) int {
	for i := 1; i <= len(t) && i <= len(s); i++ {
		if c := cmp.Compare(t[len(t)-i], s[len(s)-i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(t), len(s))
}

func (c *condition) exactly(s string) { c.texts = append(c.texts, s) }

func (c *condition) number(raw []byte) {
	if n, ok := order(raw); ok && n%2 == 0 {
		c.numbers = append(c.numbers, n)
	} else {
		c.far = append(c.far, string(raw))
	}
}

// seal makes it ready to match.
func (c *condition) seal() {
	slices.Sort(c.texts)
	slices.Sort(c.numbers)
	slices.Sort(c.far)
	c.affixes.seal()
	c.work = 1 + c.affixes.cost() + len(c.tests) + len(c.ranges)
	for i := range c.buts {
		c.buts[i].affixes.seal()
		c.work += 1 + c.buts[i].affixes.cost() + len(c.buts[i].tests)
	}
}

// text says whether a string matches.
func (c *condition) text(s []byte) bool {
	if c.exists || has(c.texts, s) || c.affixed(s) {
		return true
	}
	for _, t := range c.tests {
		if t.text(s) {
			return true
		}
	}
	for i := range c.buts {
		if c.buts[i].text(s) {
			return true
		}
	}
	return false
}

func (b *but) text(s []byte) bool {
	return !has(b.texts, s) && !b.affixed(s) && !slices.ContainsFunc(b.tests, func(t test) bool { return t.text(s) })
}

// has says whether sorted has s.
func has(sorted []string, s []byte) bool {
	if len(sorted) <= 8 {
		for _, t := range sorted {
			if t == string(s) {
				return true
			}
		}
		return false
	}
	_, ok := slices.BinarySearchFunc(sorted, s, fromTheStart)
	return ok
}

// value says whether a number matches.
func (c *condition) value(raw []byte) bool {
	if c.exists || has(c.far, raw) {
		return true
	}
	if len(c.numbers) == 0 && len(c.ranges) == 0 && len(c.buts) == 0 {
		return false
	}
	n, ok := order(raw)
	if ok {
		if _, found := slices.BinarySearch(c.numbers, n); found {
			return true
		}
		for _, r := range c.ranges {
			if r.low <= n && n <= r.high {
				return true
			}
		}
	}
	for i := range c.buts {
		_, found := slices.BinarySearch(c.buts[i].numbers, n)
		if !ok || !found {
			return true
		}
	}
	return false
}

// literal says whether true, false or null, given by its first letter, matches.
func (c *condition) literal(letter byte) bool {
	switch {
	case c.exists || len(c.buts) > 0:
		return true
	case letter == 't':
		return c.truth
	case letter == 'f':
		return c.falsehood
	}
	return c.null
}

// The operators on strings.
type (
	folded       string
	foldedPrefix string
	foldedSuffix string
	network      netip.Prefix
)

func (p folded) text(s []byte) bool {
	n, ok := foldCompare(string(p), s)
	return ok && n == len(s)
}

func (p foldedPrefix) text(s []byte) bool {
	_, ok := foldCompare(string(p), s)
	return ok
}

func (p foldedSuffix) text(s []byte) bool {
	// The same number of characters, counted from the end.
	start := len(s)
	for range utf8.RuneCountInString(string(p)) {
		_, n := utf8.DecodeLastRune(s[:start])
		if n == 0 {
			return false
		}
		start -= n
	}
	n, ok := foldCompare(string(p), s[start:])
	return ok && n == len(s)-start
}

// foldCompare says whether s begins with p but for the case of letters, and how many
// bytes of s that takes.
func foldCompare(p string, s []byte) (n int, ok bool) {
	for _, want := range p {
		got, size := utf8.DecodeRune(s[n:])
		if size == 0 || got != want && got != unicode.ToLower(want) && got != unicode.ToUpper(want) {
			return 0, false
		}
		n += size
	}
	return n, true
}

func (p network) text(s []byte) bool {
	if len(s) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") {
		return false
	}
	a, ok := address(string(s))
	return ok && netip.Prefix(p).Contains(a)
}

// wildcard is a pattern's pieces between its stars.
type wildcard [][]byte

// maxReadings is how many readings of a string a wildcard may have at once. What AWS's
// limit is, is not known: it takes a wildcard with 7 and refuses one with 11.
const maxReadings = 10

func newWildcard(v value) (wildcard, *Error) {
	pieces := wildcard{nil}
	s := v.text
	for i := 0; i < len(s); i++ {
		last := &pieces[len(pieces)-1]
		switch s[i] {
		case '*':
			if i+1 < len(s) && s[i+1] == '*' {
				// Positions are those of the string in its quotes.
				return nil, fault(v.at, "Consecutive wildcard characters at pos %d", i+1)
			}
			pieces = append(pieces, nil)
		case '\\':
			if i+1 == len(s) || s[i+1] != '*' && s[i+1] != '\\' {
				return nil, fault(v.at, "Invalid escape character at pos %d", i+1)
			}
			i++
			*last = append(*last, s[i])
		default:
			*last = append(*last, s[i])
		}
	}
	if pieces.readings() > maxReadings {
		return nil, fault(v.at, "%s", tooComplex)
	}
	return pieces, nil
}

const tooComplex = "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"

// readings is how many places in the wildcard the end of one string may be at, at
// most: each star, and the beginnings of what follows a star that can be at hand at
// the same time, which all end in the same byte.
func (w wildcard) readings() int {
	var ending [256]int
	for _, piece := range w[1:] {
		// border[n]: the longest proper beginning of piece[:n+1] that also ends it;
		// nested[n]: how many beginnings end it, itself among them.
		border, nested := make([]int, len(piece)), make([]int, len(piece))
		var most [256]int
		for n := range piece {
			k := 0
			if n > 0 {
				for k = border[n-1]; k > 0 && piece[k] != piece[n]; {
					k = border[k-1]
				}
				if piece[k] == piece[n] {
					k++
				}
			}
			border[n], nested[n] = k, 1
			if k > 0 {
				nested[n] += nested[k-1]
			}
			most[piece[n]] = max(most[piece[n]], nested[n])
		}
		for c, n := range most {
			ending[c] += n
		}
	}
	return len(w) - 1 + slices.Max(ending[:])
}

func (w wildcard) text(s []byte) bool {
	first, last := w[0], w[len(w)-1]
	if len(w) == 1 {
		return bytes.Equal(s, first)
	}
	if !bytes.HasPrefix(s, first) || !bytes.HasSuffix(s[len(first):], last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	// What is found first leaves most for the rest.
	for _, piece := range w[1 : len(w)-1] {
		i := bytes.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):]
	}
	return true
}
