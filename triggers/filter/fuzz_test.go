package filter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wasmill/wasmill/runtime"
)

// maker makes patterns and events that have a lot to do with each other.
type maker struct{ *rand.Rand }

func (m maker) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m maker) key() string { return m.pick("a", "b", "c", "a-b", "d", "\\u0061", "a.b", "b.a.c") }

func (m maker) event(depth int, inArray bool) string {
	n := m.IntN(10)
	switch {
	case depth == 0 || n < 3:
		return m.pick(`"x"`, `"y"`, `"xy"`, `""`, `"\u0078"`, "1", "2", "1.0", "10e-1", "-3", "true", "false", "null", "6000000000", `"10.1.2.3"`, `"a\"b"`, "[]", "{}")
	case n < 7 || inArray && n < 9:
		var members []string
		seen := map[string]bool{}
		for range m.IntN(4) {
			// A path that is spelled in two ways is judged by the array, other than by AWS.
			k := m.key()
			first, _, _ := strings.Cut(strings.ReplaceAll(k, "\\u0061", "a"), ".")
			if seen[first] {
				continue
			}
			seen[first] = true
			members = append(members, fmt.Sprintf(`"%s":%s`, k, m.event(depth-1, false)))
		}
		return "{" + strings.Join(members, m.pick(",", " , ", ",\n")) + "}"
	}
	var items []string
	for range m.IntN(4) {
		items = append(items, m.event(depth-1, true))
	}
	return "[" + strings.Join(items, ",") + "]"
}

func (m maker) pattern(depth int) string {
	var members []string
	seen := map[string]bool{}
	for range 1 + m.IntN(3) {
		k := m.key()
		// No path may be named twice, on which the order of keys would decide.
		first, _, _ := strings.Cut(strings.ReplaceAll(k, "\\u0061", "a"), ".")
		if seen[first] {
			continue
		}
		seen[first] = true
		if depth > 0 && m.IntN(2) == 0 {
			members = append(members, fmt.Sprintf(`"%s":%s`, k, m.pattern(depth-1)))
			continue
		}
		var items []string
		for range 1 + m.IntN(3) {
			items = append(items, m.pick(`"x"`, `"y"`, `""`, "1", "1.00", "2", "true", "null", "6000000000", `"\u0061\"b"`,
				`{"prefix":"x"}`, `{"suffix":"y"}`, `{"equals-ignore-case":"X"}`, `{"prefix":{"equals-ignore-case":"X"}}`, `{"suffix":{"equals-ignore-case":"Y"}}`,
				`{"anything-but":"x"}`, `{"anything-but":[1,2]}`, `{"anything-but":{"prefix":"x"}}`, `{"anything-but":{"wildcard":"*y"}}`, `{"numeric":[">",0,"<=",1.5]}`, `{"numeric":["<",2]}`,
				`{"exists":true}`, `{"exists":false}`, `{"exists":false}`, `{"wildcard":"*x*"}`, `{"cidr":"10.0.0.0/8"}`, `{"exactly":"xy"}`))
		}
		members = append(members, fmt.Sprintf(`"%s":[%s]`, k, strings.Join(items, ",")))
	}
	if depth > 0 && m.IntN(4) == 0 {
		// Below names of their own, for the same reason.
		members = append(members, fmt.Sprintf(`"$or":[{"o":%s},{"p":%s}]`, m.pattern(depth-1), m.pattern(depth-1)))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// differ compares Match with the reference.
func differ(t *testing.T, pattern, event string) bool {
	t.Helper()
	s, err := Compile([]string{`{"data":` + pattern + `}`}, Options{})
	if err != nil {
		t.Fatalf("%s: %v", pattern, err)
	}
	r := &Record{Data: []byte(event)}
	got, want := s.Match(r), slowMatch(t, pattern, event)
	if got != want {
		t.Errorf("%s on %s = %t, the reference says %t", pattern, event, got, want)
	}
	if e := s.Explain(r); e[0].Match != want {
		t.Errorf("%s on %s explained as %+v", pattern, event, e)
	}
	return got
}

func TestMatchesAsTheReferenceDoes(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(1, 2))}
	matched := 0
	const rounds = 5_000
	for range rounds {
		pattern := m.pattern(3)
		for range 3 {
			if differ(t, pattern, m.event(5, false)) {
				matched++
			}
		}
		if t.Failed() {
			return
		}
	}
	if matched < rounds/10 || matched > rounds*29/10 {
		t.Errorf("%d of %d match: they tell little", matched, 3*rounds)
	}
}

// Conditions below arrays, which rarely meet by chance.
func TestMatchesArraysAsTheReferenceDoes(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(3, 4))}
	leaf := func() string { return m.pick(`"x"`, `"y"`, "null") }
	var items func(depth int) string
	items = func(depth int) string {
		var out []string
		for range m.IntN(4) {
			if depth > 0 && m.IntN(5) == 0 {
				out = append(out, items(depth-1))
				continue
			}
			var members []string
			for _, k := range []string{"a", "a-b", "b", "c"} {
				switch m.IntN(3) {
				case 0:
					members = append(members, fmt.Sprintf(`"%s":%s`, k, leaf()))
				case 1:
					if depth > 0 {
						members = append(members, fmt.Sprintf(`"%s":%s`, k, items(depth-1)))
					}
				}
			}
			out = append(out, "{"+strings.Join(members, ",")+"}")
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	var ask func(depth int) string
	ask = func(depth int) string {
		var members []string
		for _, k := range []string{"c", "b", "a-b", "a"} {
			switch m.IntN(4) {
			case 0:
				members = append(members, fmt.Sprintf(`"%s":[%s]`, k, m.pick(`"x"`, `"y"`, `{"exists":true}`, `{"exists":false}`, `{"anything-but":"x"},{"exists":false}`)))
			case 1:
				if depth > 0 {
					members = append(members, fmt.Sprintf(`"%s":%s`, k, ask(depth-1)))
				}
			}
		}
		if len(members) == 0 {
			return `{"b":["x"]}`
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	matched := 0
	for range 15_000 {
		if differ(t, ask(2), items(3)) {
			matched++
		}
		if t.Failed() {
			return
		}
	}
	if matched < 1_500 {
		t.Errorf("%d of 15000 match: they tell little", matched)
	}
}

// Every byte at every place of strings that take the scanner one step or several.
func TestStringsEndWhereEncodingJSONHasThem(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				for _, tail := range []string{`"`, `" `, `":1,"abcdefghijkl"`} {
					text := []byte("\"" + strings.Repeat("x", length) + tail)
					text[at+1] = byte(c)
					s := &scanner{b: text}
					// What is after the string is of no matter.
					end, want := 0, false
					for n := 2; n <= len(text) && !want; n++ {
						if want = json.Valid(text[:n]) && utf8.Valid(text[:n]); want {
							end = n
						}
					}
					if raw, _, ok := s.str(); ok != want || ok && (s.i != end || string(raw) != string(text[1:end-1])) {
						t.Fatalf("%q ends at %d: %t", text, s.i, ok)
					}
				}
			}
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, p := range []string{
		`{"data":{"a":["x",1,true,null,{"prefix":"p"},{"numeric":[">",1,"<=",2]}]}}`, `{"data":{"$or":[{"a":[1]},{"b":[{"anything-but":{"wildcard":["a*b\\*"]}}]}]}}`,
		`{"data":{"a":[{"cidr":"10.0.0.0/8"},{"exists":false},{"suffix":{"equals-ignore-case":"É"}}]}}`, `{"partitionKey":["x"],"data.b":{"":[-1e5]}}`, `{"a":[{"numeric":[`, `"`, `{"a":{"a":{"a":{`,
	} {
		f.Add(p, `{"a":"x","b":[{"c":1},null]}`)
	}
	f.Fuzz(func(t *testing.T, pattern, event string) {
		if !utf8.ValidString(pattern) || !json.Valid([]byte(pattern)) {
			if _, err := Compile([]string{pattern}, Options{}); err == nil {
				t.Fatalf("%q is no JSON, and taken", pattern)
			}
			return
		}
		for _, k := range []runtime.Kind{runtime.KindKinesis, runtime.KindDynamoDB, runtime.KindSQS} {
			s, err := Compile([]string{pattern}, Options{Kind: k})
			if err != nil {
				if e := err.(*Error); e.Offset < 0 || e.Offset > len(pattern) || e.Reason == "" {
					t.Fatalf("%q: %#v", pattern, e)
				}
				continue
			}
			r := &Record{Data: []byte(event), Meta: func(string) ([]byte, bool) { return []byte(event), true }}
			if e := s.Explain(r); s.Match(r) != e[0].Match {
				t.Fatalf("%q on %q: Match is %t, Explain %+v", pattern, event, s.Match(r), e)
			}
		}
	})
}

func FuzzEvent(f *testing.F) {
	patterns := []string{
		`{"data":{"a":["x"]}}`,
		`{"data":{"a":{"b":["x",{"numeric":[">",1]}],"c":[{"exists":false}]}}}`,
		`{"data":{"$or":[{"a":{"c":[{"anything-but":"x"}]}},{"a":[{"wildcard":"*a*"}]}],"b":[null,1]}}`,
	}
	for _, e := range []string{`{"a":"x"}`, `{"a":[{"b":2},{"c":"\ud83d"}],"b":1}`, `{"a":{"b":[[1,2e5,"\\"]]},"z":[{"}":"]"}]}`, "{\"a\":\"x\",\"b\":\"\xff\"}", `[[[[`,
		`{"a":"\"x\\","long enough":"with \"quotes\" and \\ in it \/","b":"\q"}`, "{\"a\":\"x\tabcdefgh\u007f\",\"é\":\"abcdefg\x1f\"}", `{"a":-0.5E+2,"z":[true,false,null,{},[]]} `} {
		f.Add([]byte(e))
	}
	var sets []*Set
	for _, p := range patterns {
		s, err := Compile([]string{p}, Options{})
		if err != nil {
			f.Fatal(err)
		}
		sets = append(sets, s)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		scan := &scanner{b: event}
		valid := json.Valid(event) && utf8.Valid(event)
		if sound := scan.skip() && scan.space() == 0 && scan.i == len(event); sound != valid {
			t.Fatalf("%q is sound: %t", event, sound)
		}
		for i, s := range sets {
			got := s.Match(&Record{Data: event})
			if got && !valid {
				t.Fatalf("%s matches %q, which is no JSON", patterns[i], event)
			}
			if e := s.Explain(&Record{Data: event}); e[0].Match != got {
				t.Fatalf("%s on %q: %t, explained as %+v", patterns[i], event, got, e)
			}
		}
	})
}
