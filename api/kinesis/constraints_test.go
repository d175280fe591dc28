package kinesis

import (
	"bufio"
	"fmt"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/wire"
)

// facts reads a file of testdata: tab-separated fields, # begins a comment.
func facts(t testing.TB, name string, fields int) [][]string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows [][]string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			row := strings.Split(line, "\t")
			if len(row) != fields {
				t.Fatalf("%s: %d fields, want %d: %s", name, len(row), fields, line)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

var (
	repeated = regexp.MustCompile(`<([aA])\*(\d+)>`)
	listed   = regexp.MustCompile(`<(\d+)\*([^>]*)>`)
	mapped   = regexp.MustCompile(`<map\*(\d+)>`)
)

// expand writes out what stands for something long.
func expand(text string) string {
	text = repeated.ReplaceAllStringFunc(text, func(s string) string {
		m := repeated.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[2])
		return strings.Repeat(m[1], n)
	})
	text = mapped.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(mapped.FindStringSubmatch(s)[1])
		var entries []string
		for i := range n {
			entries = append(entries, fmt.Sprintf(`"k%d":"v"`, i))
		}
		return "{" + strings.Join(entries, ",") + "}"
	})
	return listed.ReplaceAllStringFunc(text, func(s string) string {
		m := listed.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[1])
		return strings.TrimSuffix(strings.Repeat(m[2]+",", n), ",")
	})
}

func TestInputIsRefusedInTheWordsOfAWS(t *testing.T) {
	e := emulate(t, 0, nil)
	for _, row := range facts(t, "constraints.txt", 7) {
		op, member, rule, input, code, want, source := row[0], row[1], row[2], row[3], row[4], row[5], row[6]
		status, answer := e.call(op, expand(input))
		gotCode, got := faultOf(answer)
		before, after, any := strings.Cut(expand(want), "<any>")
		matches := got == before || any && strings.HasPrefix(got, before) && strings.HasSuffix(got, after)
		if status != http.StatusBadRequest || gotCode != code || !matches {
			t.Errorf("%s.%s, %s: %s\n got %d %s: %.300s\nwant 400 %s: %s\n(%s)", op, member, rule, input, status, gotCode, got, code, want, source)
		}
	}
}

// notation writes a shape as the facts do.
func notation(s *wire.Shape, inner bool) string {
	bounds := ""
	if s.Min != math.MinInt64 || s.Max != math.MaxInt64 {
		low, high := "", ""
		if s.Min != math.MinInt64 {
			low = strconv.FormatInt(s.Min, 10)
		}
		if s.Max != math.MaxInt64 {
			high = strconv.FormatInt(s.Max, 10)
			if low == "" {
				low = "0" // of lengths: the same as none
			}
		}
		bounds = " " + low + ".." + high
	}
	switch s.Kind {
	case wire.KindString:
		if s.Enum != nil {
			return "string enum " + strings.Join(slices.Sorted(slices.Values(s.Enum)), "/")
		}
		if s.Pattern != "" {
			bounds += " `" + s.Pattern + "`"
		}
		return "string" + bounds
	case wire.KindInteger:
		return "integer" + bounds
	case wire.KindBlob:
		return "blob" + bounds
	case wire.KindBoolean:
		return "boolean"
	case wire.KindTimestamp:
		return "timestamp"
	case wire.KindList:
		return "list" + bounds + " of " + notation(s.Elem, true)
	case wire.KindMap:
		return "map" + bounds + " of " + notation(s.Key, true) + " -> " + notation(s.Elem, true)
	case wire.KindStructure:
		var names []string
		for _, m := range s.Members {
			if m.Required {
				m.Name += "*"
			}
			names = append(names, m.Name)
		}
		return "{" + strings.Join(slices.Sorted(slices.Values(names)), ", ") + "}"
	}
	return "?"
}

// sorted is a notation with the values of its set, or its members, in order.
func sorted(text string) string {
	if before, set, ok := strings.Cut(text, "string enum "); ok {
		values := strings.Split(set, "/")
		slices.Sort(values)
		return before + "string enum " + strings.Join(values, "/")
	}
	if before, rest, ok := strings.Cut(text, "{"); ok && strings.HasSuffix(rest, "}") {
		names := strings.Split(strings.TrimSuffix(rest, "}"), ", ")
		slices.Sort(names)
		return before + "{" + strings.Join(names, ", ") + "}"
	}
	return text
}

// rulesOf are the kinds of fault that a member can have.
func rulesOf(m wire.Member) []string {
	rules := []string{"type"}
	add := func(rule string, is bool) {
		if is {
			rules = append(rules, rule)
		}
	}
	s := m.Shape
	add("required", m.Required)
	add("min", s.Min != math.MinInt64)
	add("max", s.Max != math.MaxInt64)
	add("pattern", s.Pattern != "")
	add("enum", s.Enum != nil)
	add("element", s.Kind == wire.KindList && s.Elem.Kind == wire.KindString)
	add("key", s.Kind == wire.KindMap)
	add("value", s.Kind == wire.KindMap)
	return rules
}

func eachMember(path string, s *wire.Shape, each func(path string, m wire.Member)) {
	if s == nil {
		return
	}
	for _, m := range s.Members {
		each(path+m.Name, m)
		switch {
		case m.Shape.Kind == wire.KindStructure:
			eachMember(path+m.Name+".", m.Shape, each)
		case m.Shape.Kind == wire.KindList && m.Shape.Elem.Kind == wire.KindStructure:
			eachMember(path+m.Name+".member.", m.Shape.Elem, each)
		}
	}
}

// The facts name every operation and member that AWS has, and nothing else is in our
// tables; and each thing that AWS asks of a member has its row among the constraints.
func TestEachMemberIsAsInTheModelAndHasItsRows(t *testing.T) {
	model := make(map[string]string) // "Operation.Member" to "* constraint"
	for _, row := range facts(t, "model.txt", 4) {
		model[row[0]+"."+row[1]] = row[2] + " " + sorted(row[3])
	}
	tested := make(map[string]bool)
	for _, row := range facts(t, "constraints.txt", 7) {
		tested[row[0]+"."+row[1]+" "+row[2]] = true
	}
	ops := New(Deps{}).Ops
	if len(ops) != 39 {
		t.Errorf("%d operations, want 39", len(ops))
	}
	for _, op := range ops {
		if op.Input == nil {
			if _, ok := model[op.Name+"."]; !ok {
				t.Errorf("%s has no members here, but in the model", op.Name)
			}
			delete(model, op.Name+".")
		}
		eachMember(op.Name+".", op.Input, func(path string, m wire.Member) {
			got := notation(m.Shape, false)
			if m.Required {
				got = "* " + got
			} else {
				got = " " + got
			}
			if want := model[path]; got != want {
				t.Errorf("%s is %q, want %q", path, got, want)
			}
			delete(model, path)
			for _, rule := range rulesOf(m) {
				if !tested[path+" "+rule] {
					t.Errorf("%s: no row for %s", path, rule)
				}
			}
		})
	}
	for path := range model {
		t.Errorf("%s is in the model, and not in our tables", path)
	}
}
