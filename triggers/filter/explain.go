package filter

import (
	"strings"

	"github.com/wasmill/wasmill/runtime"
)

// Verdict is what one pattern says of a record.
type Verdict struct {
	Pattern int
	Match   bool
	// Reason tells what is wrong with the record as a whole, if something is.
	Reason string
	// Failed are conditions that are not met: of the combination of $or that has the
	// fewest of them.
	Failed []Failed
}

// Failed is a condition that a record does not meet.
type Failed struct {
	Path string // its keys, with dots between
	Want string // JSON of the pattern's array
	// Have is the JSON of the value there, the first if there are several, empty if there
	// is none. In an array it may be one that would do: then no element has met all.
	Have string
	// Array: the conditions are met, but by different elements of an array.
	Array bool
}

// Explain says of each pattern whether it matches a record, and why not. It is made
// for people, and slower than [Set.Match].
func (s *Set) Explain(r *Record) []Verdict {
	if s == nil {
		return nil
	}
	m := newMachine(s.plan)
	m.first = make([][]byte, len(s.nodes))
	m.run(r)
	var out []Verdict
	for _, rule := range s.rules {
		v := Verdict{Pattern: rule.pattern, Match: m.rule(rule)}
		switch {
		case m.over():
			v.Match, v.Reason = true, "the record takes more work than its length allows: it goes to the function undecided"
		case !v.Match:
			v.Failed = m.failed(&s.groups[rule.group])
			v.Reason = m.reason(&s.groups[rule.group])
		}
		if n := len(out); n == 0 || out[n-1].Pattern != v.Pattern {
			out = append(out, v)
		} else if last := &out[n-1]; !last.Match && (v.Match || len(v.Failed) < len(last.Failed)) {
			*last = v
		}
	}
	return out
}

// reason is what is wrong with the data as a whole, for a rule.
func (m *machine) reason(g *group) string {
	if m.p.data == nil {
		return ""
	}
	for _, t := range g.parts {
		switch {
		case t.node != m.p.data.id:
		case t.sub >= 0 && !m.dataOK:
			return m.p.data.name + " is not JSON"
		case t.cond >= 0 && !m.dataText && m.p.Kind == runtime.KindSQS:
			return m.p.data.name + " is JSON, the pattern wants text"
		}
	}
	return ""
}

// failed lists a rule's conditions that are not met.
func (m *machine) failed(g *group) []Failed {
	var out, inArrays []Failed
	for i, cond := range g.conds {
		c, n := m.p.conds[cond], m.p.nodes[g.nodes[i]]
		f := Failed{Path: n.path, Want: c.source, Have: strings.TrimSpace(string(m.first[n.id]))}
		switch {
		case m.inArray(n):
			f.Array = true
			inArrays = append(inArrays, f)
		case !m.met[cond] && (m.there[n.id] || !c.absent):
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return inArrays
	}
	return out
}

// inArray says whether a node above n holds an array.
func (m *machine) inArray(n *node) bool {
	for _, above := range m.p.nodes {
		if above.id < n.id && n.id < above.end && m.array[above.id] {
			return true
		}
	}
	return false
}
