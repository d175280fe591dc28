package filter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/triggers"
)

func compiled(t testing.TB, patterns ...string) *Set {
	t.Helper()
	s, err := Compile(patterns, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDepthCostsNoStackAndEndsAtALimit(t *testing.T) {
	s := compiled(t, `{"data":{"a":["x"],"b":{"c":[1]}}}`, `{"data":{"a":{"b":[2]}}}`)
	for _, depth := range []int{5_000, 9_998, 100_000, 1_000_000} {
		deep := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		objects := strings.Repeat(`{"a":`, depth) + `1` + strings.Repeat("}", depth)
		mixed := strings.Repeat(`[{"b":`, depth/2) + `{"c":1}` + strings.Repeat("}]", depth/2)
		fine := depth < 10_000 // what is deeper is not taken for JSON
		for _, e := range []string{`{"a":"x","b":{"c":1},"z":` + deep + `}`, `{"a":["x",` + deep + `],"b":{"c":1}}`} {
			if got := s.Match(&Record{Data: []byte(e)}); got != fine {
				t.Errorf("%d deep: %t", depth, got)
			}
		}
		for _, e := range []string{deep, objects, mixed, deep[:depth], objects[:5*depth], mixed[:3*depth], strings.Repeat(`{"z":[`, depth)} {
			if s.Match(&Record{Data: []byte(e)}) {
				t.Errorf("%d deep: %.20s… matches", depth, e)
			}
		}
	}
	// Half of the depth on a pattern's path, half beside it.
	for half, want := range map[int]bool{4_000: true, 6_000: false} {
		beside := strings.Repeat("[", half) + `{"b":1,"z":` + strings.Repeat("[", half) + strings.Repeat("]", half) + "}" + strings.Repeat("]", half)
		if got := s.Match(&Record{Data: []byte(`{"a":["x",` + beside + `],"b":{"c":1}}`)}); got != want {
			t.Errorf("twice %d deep: %t", half, got)
		}
	}
	long := compiled(t, `{"data":{"`+strings.Repeat("a.", 2000)+`a":["x"]}}`)
	if got := long.Match(&Record{Data: []byte(strings.Repeat(`{"a":`, 2001) + `["x"]` + strings.Repeat("}", 2001))}); !got {
		t.Error("a path of 2001 steps is not found")
	}
	if s.Undecided() != 0 {
		t.Errorf("%d are undecided", s.Undecided())
	}
}

func TestLargeArraysAreDecided(t *testing.T) {
	s := compiled(t, `{"data":{"items":{"sku":["wanted"],"n":[{"numeric":[">",3]}],"gone":[{"exists":false}]}}}`)
	const n = 50_000
	for at, want := range map[int]bool{0: true, n / 2: true, n - 1: true, n: false} {
		var b strings.Builder
		b.WriteString(`{"items":[`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			sku, count := "wanted", i%4
			if i == at {
				count = 4
			} else if i%2 == 0 {
				sku, count = "other", 9
			}
			fmt.Fprintf(&b, `{"sku":"%s","n":%d,"title":["a","b"]}`, sku, count)
		}
		b.WriteString(`]}`)
		if got := s.Match(&Record{Data: []byte(b.String())}); got != want {
			t.Errorf("wanted at %d: %t", at, got)
		}
	}
	if s.Undecided() != 0 {
		t.Errorf("%d are undecided", s.Undecided())
	}
}

// Patterns and records that multiply: they are given up after work in proportion to the record's
// length, go to the function, and are counted.
func TestWhatMultipliesIsGivenUpAndCounted(t *testing.T) {
	var stars strings.Builder
	for i := range 180 {
		fmt.Fprintf(&stars, `{"wildcard":"*%d*x"},`, i)
	}
	product := func(n int) string { // of alternatives below one array
		var groups []string
		for g := range n {
			var alternatives []string
			for i := range 9 {
				alternatives = append(alternatives, fmt.Sprintf(`{"%c%d":["x"]}`, 'a'+g, i))
			}
			groups = append(groups, `"$or":[`+strings.Join(alternatives, ",")+`]`)
		}
		return `{"data":{"e":{` + groups[0] + `,"n":{` + groups[1] + `},"o":{` + groups[2] + `}}}}`
	}
	elements := func(e string, n int) string { return strings.TrimSuffix(strings.Repeat(e+",", n), ",") }
	for _, r := range []struct {
		name, pattern, event string
		times                int
	}{
		{"a product of $or on elements", product(3), `{"e":[` + elements(`{"a0":"x","b0":1}`, 100_000) + `]}`, 1},
		{"wildcards on values", `{"data":{"a":[` + stars.String() + `"q"]}}`, `{"a":[` + elements(`"0"`, 100_000) + `]}`, 3},
		{"wildcards on one value", `{"data":{"a":[` + stars.String() + `"q"]}}`, `{"a":"` + strings.Repeat("012345678 ", 100_000) + `"}`, 3},
	} {
		s := compiled(t, slices.Repeat([]string{r.pattern}, r.times)...)
		if s.News() {
			t.Errorf("%s: news before any", r.name)
		}
		if !s.Match(&Record{Data: []byte(r.event)}) {
			t.Errorf("%s: it is kept from the function", r.name)
		}
		if s.Undecided() != 1 || !s.News() || s.News() {
			t.Errorf("%s: %d undecided", r.name, s.Undecided())
		}
		if v := s.Explain(&Record{Data: []byte(r.event)}); !v[0].Match || v[0].Reason == "" {
			t.Errorf("%s: explained as %+v", r.name, v[0].Reason)
		}
		// The next record is none the worse for it.
		if s.Match(&Record{Data: []byte(`{"z":1}`)}) || s.Undecided() != 1 {
			t.Errorf("%s: the next record", r.name)
		}
	}
}

// Hundreds of prefixes or suffixes and thousands of values are a search each, not a product.
func TestManyAffixesOnManyValuesAreDecided(t *testing.T) {
	for _, r := range []struct {
		name, operator, value, wanted string
		n                             int
	}{
		{"prefixes", `{"prefix":"%03d"}`, `"x%06d"`, `"199-wanted"`, 200},
		{"suffixes", `{"suffix":"%03d"}`, `"%06dx"`, `"wanted-199"`, 200},
	} {
		var operators, values []string
		for i := range r.n {
			operators = append(operators, fmt.Sprintf(r.operator, i))
		}
		for i := range 20_000 {
			values = append(values, fmt.Sprintf(r.value, i))
		}
		s := compiled(t, `{"data":{"ids":[`+strings.Join(operators, ",")+`]}}`)
		for _, more := range []string{"", r.wanted} {
			data := `{"ids":[` + strings.TrimSuffix(strings.Join(append(slices.Clone(values), more), ","), ",") + `]}`
			if got := s.Match(&Record{Data: []byte(data)}); got != (more != "") {
				t.Errorf("%s, with %q: %t", r.name, more, got)
			}
		}
		if n := s.Undecided(); n > 0 {
			t.Errorf("%s: %d are undecided", r.name, n)
		}
	}
}

func TestManyAffixesMatchAsEachAlone(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 4))
	word := func(most int) string {
		b := make([]byte, dice.IntN(most))
		for i := range b {
			b[i] = "ab"[dice.IntN(2)]
		}
		return string(b)
	}
	for range 500 {
		var a, all affixes
		for range dice.IntN(40) {
			all.prefixes = append(all.prefixes, "a"+word(8))
		}
		for range dice.IntN(40) {
			all.suffixes = append(all.suffixes, word(8)+"b")
		}
		a.prefixes, a.suffixes = slices.Clone(all.prefixes), slices.Clone(all.suffixes)
		a.seal()
		for range 50 {
			s := word(12)
			want := slices.ContainsFunc(all.prefixes, func(p string) bool { return strings.HasPrefix(s, p) }) ||
				slices.ContainsFunc(all.suffixes, func(p string) bool { return strings.HasSuffix(s, p) })
			if got := a.affixed([]byte(s)); got != want {
				t.Fatalf("%q with %q: %t", s, all, got)
			}
		}
	}
}

func TestThePatternsOfASetAreBoundedTogether(t *testing.T) {
	or := func(name string, n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"%s%d":[%d]}`, name, i, i))
		}
		return `{"$or":[` + strings.Join(all, ",") + `]}`
	}
	combinations := func(n int) string { return `{"data":{"x":` + or("a", 10) + `,"y":` + or("b", n) + `}}` }
	if _, err := Compile([]string{combinations(50), combinations(50)}, Options{}); err != nil {
		t.Errorf("1,000 combinations in two patterns: %v", err)
	}
	_, err := Compile([]string{combinations(50), combinations(50), `{"data":{"z":[1]}}`}, Options{})
	var e *Error
	if !errors.As(err, &e) || e.Pattern != 2 || !strings.Contains(e.Reason, "Rule is too complex") {
		t.Errorf("1,001 combinations in three patterns: %v", err)
	}
}

func TestPatternsThatMultiplyAreRefused(t *testing.T) {
	alternatives := func(n int) string {
		return `"$or":[` + strings.TrimSuffix(strings.Repeat(`{"a":[1]},`, n), ",") + `]`
	}
	nest := func(depth int) string { // 2 to the power of depth combinations
		s := `"z":[1]`
		for i := range depth {
			s = fmt.Sprintf(`"n%d":{"$or":[{"x%d":[1]},{"y%d":[1]}]},%s`, i, i, i, s)
		}
		return `{"data":{` + s + `}}`
	}
	for _, r := range []struct {
		name, pattern string
		fine          bool
	}{
		{"512 combinations", nest(9), true},
		{"1024 combinations", nest(10), false},
		{"2^60 combinations", nest(60), false},
		{"31 times 32", `{"data":{"p":{` + alternatives(31) + `},"q":{` + alternatives(32) + `}}}`, true},
		{"32 times 32", `{"data":{"p":{` + alternatives(32) + `},"q":{` + alternatives(32) + `}}}`, false},
		{"300 alternatives", `{"data":{` + alternatives(300) + `}}`, true},
		{"many conditions beside many combinations", strings.Replace(nest(9), `"z":[1]`, `"z":[1]`+conditions(100), 1), false},
		{"10 readings", `{"data":{"a":[{"wildcard":"*a*a*a*a*a"}]}}`, true},
		{"11 readings", `{"data":{"a":[{"wildcard":"*a*a*a*a*a*"}]}}`, false},
		{"what follows repeats itself ten times", `{"data":{"a":[{"wildcard":"*` + strings.Repeat("ab", 10) + `"}]}}`, false},
		{"what follows repeats itself nine times", `{"data":{"a":[{"wildcard":"*` + strings.Repeat("ab", 9) + `"}]}}`, true},
		{"a long wildcard without repeats", `{"data":{"a":[{"wildcard":"` + strings.Repeat("aaaaaaaaaa", 300) + `*bcdef"}]}}`, true},
		{"within anything-but too", `{"data":{"a":[{"anything-but":{"wildcard":"*a*a*a*a*a*a"}}]}}`, false},
	} {
		_, err := Compile([]string{r.pattern}, Options{})
		if r.fine != (err == nil) || err != nil && (!errors.Is(err, triggers.ErrInvalid) || !strings.Contains(err.Error(), "Rule is too complex")) {
			t.Errorf("%s: %v", r.name, err)
		}
	}
}

func conditions(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"c%d":[1]`, i)
	}
	return b.String()
}

// What is deep, long or many in a pattern ends at its 4,096 characters.
func TestHostilePatternsAreReadInFull(t *testing.T) {
	for _, p := range []string{
		strings.Repeat(`{"a":`, 819), strings.Repeat(`[`, 4096), `{"a":[` + strings.Repeat(`1,`, 2043) + `1]}`, `{"data":{"a":["` + strings.Repeat(`\u0061`, 679) + `"]}}`,
		`{"data":{"` + strings.Repeat(`.`, 4000) + `":[1]}}`, strings.Repeat(`{"":`, 1000) + `[1]` + strings.Repeat(`}`, 1000),
	} {
		s, err := Compile([]string{p, p, p, p, p, p, p, p, p, p}, Options{})
		if err == nil && s.Match(&Record{Data: []byte(`{"b":` + strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000) + `}`)}) {
			t.Errorf("%.20s… matches", p)
		}
	}
}
