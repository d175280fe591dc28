package filter

import (
	"bytes"

	"github.com/wasmill/wasmill/runtime"
)

const (
	// freeWork and workPerByte are how much work, in tests of values and of conditions,
	// a record may cause: about 0.2 ms, and 60 ns a byte.
	freeWork    = 1 << 16
	workPerByte = 16
)

// machine reads one record at a time, along the plan's paths.
type machine struct {
	scanner
	p *plan
	// What has been seen where reading is: within an array, in its present element.
	there []bool // by node: it holds a value that is no object
	met   []bool // by condition: such a value meets it
	// By node: it holds an array, so that what is asked for below it is decided, in
	// held, by group.
	array []bool
	held  []bool

	dataOK, dataText bool // the data are JSON; they are text (a body's)

	// By node, the object that has last had it as a member; objects are numbered for
	// as long as the machine lives.
	member []uint32
	object uint32

	text []byte // where escapes are undone
	work int    // left
	hits int    // changes of what has been seen
	// Of arrays being read, one in the other.
	tallies []tally
	theres  []bool

	first [][]byte // by node, what it holds; only to explain, otherwise nil
}

// tally is how far one of a node's groups is, over the elements of an array.
type tally struct {
	first int // place of the first condition, in the group, whose path occurs
	held  bool
}

func newMachine(p *plan) *machine {
	return &machine{
		p: p, there: make([]bool, len(p.nodes)), met: make([]bool, len(p.conds)),
		array: make([]bool, len(p.nodes)), held: make([]bool, len(p.groups)), member: make([]uint32, len(p.nodes)),
	}
}

func (m *machine) over() bool { return m.work < 0 }

// run reads a record.
func (m *machine) run(r *Record) {
	p := m.p
	clear(m.there)
	clear(m.met)
	clear(m.array)
	m.work = freeWork + workPerByte*len(r.Data)
	m.dataOK, m.dataText = false, false
	m.tallies, m.theres = m.tallies[:0], m.theres[:0]
	if p.data != nil {
		m.dataOK = (p.Kind != runtime.KindSQS || bracket(r.Data)) && m.document(p.data, r.Data)
		if !m.dataOK {
			m.noJSON(r)
		}
	}
	if !p.meta || r.Meta == nil {
		return
	}
	for _, n := range p.root.kids {
		if n == p.data {
			continue
		}
		if b, ok := r.Meta(n.name); ok {
			m.work += workPerByte * len(b)
			if !m.document(n, b) {
				m.wipe(n.id, n.end, n.first, n.all)
			}
		}
	}
}

// noJSON: the data are none. A message's body is text then.
func (m *machine) noJSON(r *Record) {
	data := m.p.data
	m.dataOK = false
	if m.p.Kind != runtime.KindSQS || m.over() {
		return
	}
	m.wipe(data.id, data.end, data.first, data.all)
	m.dataText, m.there[data.id] = true, true
	m.string(data, r.Data)
}

// bracket says whether JSON is an object or an array.
func bracket(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

// document reads JSON as what a node holds, to its end.
func (m *machine) document(n *node, b []byte) bool {
	m.b, m.i, m.deep = b, 0, 0
	return m.value(n) && m.space() == 0 && m.i == len(m.b)
}

// verdict says whether one rule is met.
func (m *machine) verdict() bool {
	for _, r := range m.p.rules {
		if m.rule(r) {
			return true
		}
	}
	return false
}

// rule says whether a rule is met.
func (m *machine) rule(r planned) bool {
	g := &m.p.groups[r.group]
	for i := range g.parts {
		t := &g.parts[i]
		if m.p.data != nil && t.node == m.p.data.id {
			// Data are looked into only as what they are.
			if t.sub >= 0 && !m.dataOK || t.cond >= 0 && !m.dataText {
				return false
			}
		}
		if !m.part(t) {
			return false
		}
	}
	return true
}

// group says whether what a group asks for is met by what has been seen below its
// node.
func (m *machine) group(id int) bool {
	g := &m.p.groups[id]
	for i := range g.parts {
		if !m.part(&g.parts[i]) {
			return false
		}
	}
	return true
}

func (m *machine) part(t *part) bool {
	if t.cond >= 0 && !m.met[t.cond] && (m.there[t.node] || !m.p.conds[t.cond].absent) {
		return false
	}
	if t.sub < 0 {
		return true
	}
	if m.array[t.node] {
		return m.held[t.sub]
	}
	return m.group(t.sub)
}

// wipe forgets what was seen in a range of nodes and of conditions.
func (m *machine) wipe(node, end, cond, all int) {
	clear(m.there[node:end])
	clear(m.array[node:end])
	clear(m.met[cond:all])
}

// value reads a value that a node holds.
func (m *machine) value(n *node) bool {
	switch c := m.space(); c {
	case '{':
		if len(n.kids) == 0 {
			return m.skip()
		}
		return m.members(n)
	case '[':
		return m.elements(n)
	default:
		return m.leaf(n, c)
	}
}

// leaf reads a value that is no object or array.
func (m *machine) leaf(n *node, c byte) bool {
	if n.first == n.own { // nothing is asked of it
		return m.scalar(c)
	}
	m.there[n.id] = true
	m.hits++
	m.work -= n.own - n.first
	start := m.i
	switch c {
	case '"':
		raw, plain, ok := m.str()
		if !ok {
			return false
		}
		if !plain {
			m.text = unescape(m.text[:0], raw)
			raw = m.text
		}
		m.string(n, raw)
	case 't', 'f', 'n':
		if !m.scalar(c) {
			return false
		}
		for i := n.first; i < n.own; i++ {
			m.met[i] = m.met[i] || m.p.conds[i].literal(c)
		}
	default:
		raw, ok := m.number()
		if !ok {
			return false
		}
		for i := n.first; i < n.own; i++ {
			if !m.met[i] {
				m.work -= m.p.conds[i].work * (1 + len(raw)/16)
				m.met[i] = m.p.conds[i].value(raw)
			}
		}
	}
	if m.first != nil && m.first[n.id] == nil {
		m.first[n.id] = m.b[start:m.i]
	}
	return m.work >= 0
}

// string tests a string that a node holds.
func (m *machine) string(n *node, s []byte) {
	for i := n.first; i < n.own; i++ {
		if !m.met[i] {
			m.work -= m.p.conds[i].work * (1 + len(s)/16)
			m.met[i] = m.p.conds[i].text(s)
		}
	}
}

// members reads an object of which a node's kids are wanted.
func (m *machine) members(n *node) bool {
	if !m.enter() {
		return false
	}
	m.object++
	serial := m.object
	if m.space() == '}' {
		m.leave()
		return true
	}
	for {
		if m.space() != '"' {
			return false
		}
		name, plain, ok := m.str()
		if !ok || !m.colon() {
			return false
		}
		if !plain {
			m.text = unescape(m.text[:0], name)
			name = m.text
		}
		if k := n.find(name); k == nil {
			ok = m.skip()
		} else {
			if m.member[k.id] == serial { // the last of two counts
				m.wipe(k.id, k.end, k.first, k.all)
			}
			m.member[k.id] = serial
			ok = m.value(k)
		}
		if !ok {
			return false
		}
		switch m.space() {
		case ',':
			m.i++
		case '}':
			m.leave()
			return true
		default:
			return false
		}
	}
}

// find returns the node that an object's member of a name leads to, or nil.
func (n *node) find(name []byte) *node {
	if n.index != nil {
		if k := n.index[string(name)]; k != nil {
			return k
		}
		if dot := bytes.IndexByte(name, '.'); dot >= 0 {
			if k := n.index[string(name[:dot])]; k != nil {
				return k.find(name[dot+1:])
			}
		}
		return nil
	}
	for _, k := range n.kids {
		size := len(k.name)
		switch {
		case len(name) < size || string(name[:size]) != k.name:
		case len(name) == size:
			return k
		case name[size] == '.':
			return k.find(name[size+1:])
		}
	}
	return nil
}

// elements reads an array that a node holds. Values in it are the node's; of objects
// and arrays in it, each by itself, what rules ask for below the node has to hold in
// one.
func (m *machine) elements(n *node) bool {
	if !m.enter() {
		return false
	}
	if len(n.kids) == 0 {
		return m.list(n)
	}
	// What counts so far is gone: an array decides for its node.
	kid, cond := n.id+1, n.own
	if m.work -= 1 + (n.end-kid)/4 + (n.all-cond)/32; m.work < 0 {
		return false
	}
	m.wipe(kid, n.end, cond, n.all)
	tallies, theres := len(m.tallies), len(m.theres)
	for range n.groups {
		m.tallies = append(m.tallies, tally{first: -1})
	}
	m.theres = append(m.theres, m.there[kid:n.end]...)
	for c := m.space(); c != ']'; {
		m.array[n.id] = false
		var ok bool
		if c == '{' || c == '[' {
			hits := m.hits
			if ok = m.value(n); ok && m.hits != hits {
				m.count(n, m.tallies[tallies:])
				for i, there := range m.there[kid:n.end] {
					if there {
						m.theres[theres+i] = true
					}
				}
				m.work -= 1 + (n.end-kid)/4 + (n.all-cond)/32
				m.wipe(kid, n.end, cond, n.all)
			}
		} else {
			ok = m.leaf(n, c)
		}
		if !ok || m.work < 0 {
			return false
		}
		if c = m.space(); c == ',' {
			m.i++
			if c = m.space(); c == ']' {
				return false
			}
		} else if c != ']' {
			return false
		}
	}
	m.leave()
	m.array[n.id] = true
	m.hits++
	for i, g := range n.groups {
		t := m.tallies[tallies+i]
		m.held[g] = t.held || t.first < 0 && m.p.groups[g].absent
	}
	copy(m.there[kid:n.end], m.theres[theres:])
	m.tallies, m.theres = m.tallies[:tallies], m.theres[:theres]
	return true
}

// count adds an element in which something was seen. Only elements with the path that
// comes first of those that any element has can be what a rule asks for.
func (m *machine) count(n *node, tallies []tally) {
	for i, id := range n.groups {
		g, t := &m.p.groups[id], &tallies[i]
		first := 0
		for first < len(g.nodes) && !m.there[g.nodes[first]] {
			first++
		}
		m.work -= 1 + first
		if first == len(g.nodes) || t.first >= 0 && (first > t.first || first == t.first && t.held) {
			continue
		}
		held := false
		if m.array[n.id] { // the element is an array itself
			held = m.held[id]
		} else {
			m.work -= len(g.conds)
			held = m.group(id)
		}
		*t = tally{first, held}
	}
}

// list reads an array of values only.
func (m *machine) list(n *node) bool {
	if m.space() == ']' {
		m.leave()
		return true
	}
	for {
		var ok bool
		switch c := m.space(); c {
		case '{':
			ok = m.skip()
		case '[':
			ok = m.elements(n)
		default:
			ok = m.leaf(n, c)
		}
		if !ok {
			return false
		}
		switch m.space() {
		case ',':
			m.i++
		case ']':
			m.leave()
			return true
		default:
			return false
		}
	}
}
