package filter

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The reference: a pattern decided by what AWS's published matcher does, naively. An
// event becomes a list of fields, each a path, a value and the elements of arrays it
// is in; a pattern becomes maps of paths; and fields are tried in order of their
// paths, in every combination.

type field struct {
	path  string
	value any
	in    map[int]int // which element of which array
}

// refDecode keeps numbers as they are written, and lets the last of two keys count.
func refDecode(t testing.TB, s string) (any, bool) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return nil, false
	}
	return v, true
}

func refFields(path string, v any, in map[int]int, arrays *int, out *[]field) {
	join := func(k string) string {
		if path == "\x00" {
			return k
		}
		return path + "." + k
	}
	switch v := v.(type) {
	case map[string]any:
		for k, member := range v {
			refFields(join(k), member, in, arrays, out)
		}
	case []any:
		*arrays++
		id := *arrays
		for i, item := range v {
			switch item.(type) {
			case map[string]any, []any:
				inner := map[int]int{id: i}
				for a, e := range in {
					inner[a] = e
				}
				refFields(path, item, inner, arrays, out)
			default:
				refFields(path, item, in, arrays, out)
			}
		}
	default:
		*out = append(*out, field{path, v, in})
	}
}

// refRules multiplies $or out. Go's maps lose the order of keys, on which only
// patterns that name a path twice depend.
func refRules(rules []map[string][]any, path string, v map[string]any) []map[string][]any {
	for _, k := range slices.Sorted(maps2keys(v)) {
		member := v[k]
		if k == "$or" && refAlternatives(member) {
			var all []map[string][]any
			for _, alternative := range member.([]any) {
				var fresh []map[string][]any
				for _, r := range rules {
					c := map[string][]any{}
					for k, v := range r {
						c[k] = v
					}
					fresh = append(fresh, c)
				}
				all = append(all, refRules(fresh, path, alternative.(map[string]any))...)
			}
			rules = all
			continue
		}
		at := k
		if path != "\x00" {
			at = path + "." + k
		}
		switch member := member.(type) {
		case map[string]any:
			rules = refRules(rules, at, member)
		case []any:
			for _, r := range rules {
				r[at] = member
			}
		}
	}
	return rules
}

func maps2keys(v map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range v {
			if !yield(k) {
				return
			}
		}
	}
}

func refAlternatives(v any) bool {
	items, ok := v.([]any)
	if !ok || len(items) < 2 {
		return false
	}
	for _, item := range items {
		o, ok := item.(map[string]any)
		if !ok {
			return false
		}
		for k := range o {
			if slices.Contains(reserved, k) {
				return false
			}
		}
	}
	return true
}

// slowMatch is the reference's answer for a sound pattern.
func slowMatch(t testing.TB, pattern, event string) bool {
	t.Helper()
	p, ok := refDecode(t, pattern)
	if !ok {
		t.Fatalf("pattern %s", pattern)
	}
	e, ok := refDecode(t, event)
	if !ok {
		return false
	}
	var fields []field
	arrays := 0
	refFields("\x00", e, nil, &arrays, &fields)
	for _, r := range refRules([]map[string][]any{{}}, "\x00", p.(map[string]any)) {
		if refRule(slices.Sorted(rulePaths(r)), r, fields, nil) {
			return true
		}
	}
	return false
}

func rulePaths(r map[string][]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range r {
			if !yield(k) {
				return
			}
		}
	}
}

// refRule tries the first of the paths with every field that fits what was taken
// before, and then the others.
func refRule(paths []string, r map[string][]any, fields []field, in map[int]int) bool {
	if len(paths) == 0 {
		return true
	}
	path, there := paths[0], false
	for _, f := range fields {
		if f.path != path {
			continue
		}
		joined, fits := map[int]int{}, true
		for a, e := range in {
			joined[a] = e
		}
		for a, e := range f.in {
			if had, ok := joined[a]; ok && had != e {
				fits = false
			}
			joined[a] = e
		}
		if !fits {
			continue
		}
		there = true
		if slices.ContainsFunc(r[path], func(m any) bool { return refMeets(m, f.value) }) && refRule(paths[1:], r, fields, joined) {
			return true
		}
	}
	if there {
		return false
	}
	absent := slices.ContainsFunc(r[path], func(m any) bool {
		o, ok := m.(map[string]any)
		return ok && o["exists"] == false
	})
	return absent && refRule(paths[1:], r, fields, in)
}

// refNumber is a number's value, if operators take it.
func refNumber(v any) (*big.Rat, bool) {
	n, ok := v.(json.Number)
	if !ok || len(n) > 100 {
		return nil, false
	}
	r, ok := new(big.Rat).SetString(string(n))
	if !ok || new(big.Rat).Abs(r).Cmp(big.NewRat(5_000_000_000, 1)) > 0 {
		return nil, false
	}
	return r, true
}

func refMeets(m, v any) bool {
	s, isText := v.(string)
	o, isOp := m.(map[string]any)
	if !isOp {
		if want, ok := m.(string); ok {
			a, err := netip.ParseAddr(want)
			b, err2 := netip.ParseAddr(s)
			return isText && (want == s || err == nil && err2 == nil && a == b)
		}
		a, ok := refNumber(m)
		b, ok2 := refNumber(v)
		return m == v || ok && ok2 && a.Cmp(b) == 0
	}
	for op, arg := range o {
		return refOperator(op, arg, v, s, isText)
	}
	return false
}

func refOperator(op string, arg, v any, s string, isText bool) bool {
	text, _ := arg.(string)
	switch op {
	case "exactly":
		return isText && s == text
	case "equals-ignore-case":
		return isText && refFold(s) == refFold(text)
	case "prefix", "suffix":
		if inner, ok := arg.(map[string]any); ok {
			text, s = refFold(inner["equals-ignore-case"].(string)), refFold(s)
		}
		return isText && (op == "prefix" && strings.HasPrefix(s, text) || op == "suffix" && strings.HasSuffix(s, text))
	case "wildcard":
		return isText && refWildcard(text, s)
	case "cidr":
		p, _ := netip.ParsePrefix(text)
		a, err := netip.ParseAddr(s)
		return isText && err == nil && p.Contains(a)
	case "exists":
		return arg == true
	case "numeric":
		n, ok := refNumber(v)
		if !ok {
			return false
		}
		terms := arg.([]any)
		for i := 0; i < len(terms); i += 2 {
			bound, _ := refNumber(terms[i+1])
			c := n.Cmp(bound)
			if !map[any]bool{"=": c == 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[terms[i]] {
				return false
			}
		}
		return true
	case "anything-but":
		inner := "exactly"
		if o, ok := arg.(map[string]any); ok {
			for inner, arg = range o {
			}
		}
		list, ok := arg.([]any)
		if !ok {
			list = []any{arg}
		}
		return !slices.ContainsFunc(list, func(not any) bool {
			if _, ok := not.(json.Number); ok {
				return refMeets(not, v)
			}
			return refOperator(inner, not, v, s, isText)
		})
	}
	panic(op)
}

func refFold(s string) string { return strings.Map(unicode.ToLower, s) }

// refWildcard matches by trying everything.
func refWildcard(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		return refWildcard(p[1:], s) || s != "" && refWildcard(p, s[1:])
	case p[0] == '\\':
		p = p[1:]
	}
	return s != "" && s[0] == p[0] && refWildcard(p[1:], s[1:])
}

// refusal is a pattern that is refused, and why.
type refusal struct{ from, pattern, reason string }

func refusals(t *testing.T, rows []refusal) {
	t.Helper()
	for _, r := range rows {
		_, err := Compile([]string{`{"data":{"fine":[1]}}`, r.pattern}, Options{})
		e, ok := err.(*Error)
		if !ok || e.Reason != r.reason || e.Pattern != 1 || e.Offset < 0 || e.Offset > len(r.pattern) {
			t.Errorf("%s: %s: %#v, want %s", r.from, r.pattern, err, r.reason)
		}
	}
}
