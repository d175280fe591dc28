package filter

import (
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime"
)

const (
	// maxRules is how many combinations the $or of a set's patterns may come to. With
	// EventBridge it is of one pattern; but each record is judged by all of them.
	maxRules = 1000
	// maxTerms is how many conditions all combinations of a set may have together.
	maxTerms = 20_000

	tooMany = "Rule is too complex - try using fewer $or alternatives: at most %d combinations, with %d conditions in all, in all filters together"
)

// rule is one combination of a pattern's $or: for each path, by its name with dots,
// the condition it has to meet.
type rule struct {
	pattern int
	paths   map[string]*condition
}

// compiler turns patterns into rules, and rules into a plan.
type compiler struct {
	Options
	key   string // that leads to the data
	rules []rule
	terms int // conditions of rules
}

// pattern adds a pattern's rules.
func (c *compiler) pattern(n int, source string) *Error {
	v, err := parse(source)
	if err != nil {
		return err
	}
	if v.kind != object {
		return fault(v.at, "Filter is not an object")
	}
	rules, err := c.object([]rule{{n, map[string]*condition{}}}, "", v, false)
	if err != nil {
		return err
	}
	if c.Kind != runtime.KindSQS {
		// Only a message's body can be text that is no JSON.
		for _, m := range v.members {
			if m.name == c.key && m.value.kind == array && !m.stale {
				return fault(m.value.at, "%q must be an object: the filter pattern for %s must be in a valid JSON format", c.key, c.key)
			}
		}
	}
	c.rules = append(c.rules, rules...)
	for _, r := range rules {
		c.terms += len(r.paths)
	}
	if len(c.rules) > maxRules || c.terms > maxTerms {
		return fault(v.at, tooMany, maxRules, maxTerms)
	}
	return nil
}

// object adds what an object at a path asks for to each of the rules. inOr: it is
// within $or.
func (c *compiler) object(rules []rule, path string, v value, inOr bool) ([]rule, *Error) {
	if len(v.members) == 0 {
		return nil, fault(v.at, "Empty objects are not allowed")
	}
	var err *Error
	for _, m := range v.members {
		if m.stale {
			continue
		}
		if m.name == opOr && alternatives(m.value) {
			if rules, err = c.or(rules, path, m.value); err != nil {
				return nil, err
			}
			continue
		}
		if inOr && slices.Contains(reserved, m.name) {
			return nil, fault(m.at, "%s is Ruler reserved fieldName which cannot be used inside $or.", m.name)
		}
		at := m.name
		if path != "" {
			at = path[1:] + "." + m.name
		}
		switch m.value.kind {
		case object:
			// The mark in front tells a path that is one empty name from none.
			if rules, err = c.object(rules, "/"+at, m.value, inOr); err != nil {
				return nil, err
			}
		case array:
			cond, err := c.condition(m.value)
			if err != nil {
				return nil, err
			}
			for _, r := range rules {
				r.paths[at] = cond
			}
			if len(rules) > 1 && len(rules)*len(rules[0].paths) > maxTerms {
				return nil, fault(m.value.at, tooMany, maxRules, maxTerms)
			}
		default:
			return nil, fault(m.value.at, "%q must be an object or an array", m.name)
		}
	}
	return rules, nil
}

// or multiplies the rules by the alternatives.
func (c *compiler) or(rules []rule, path string, v value) (all []rule, err *Error) {
	terms := 0
	for _, alternative := range v.items {
		var fresh []rule
		for _, r := range rules {
			copied := make(map[string]*condition, len(r.paths)+1)
			for path, cond := range r.paths {
				copied[path] = cond
			}
			fresh = append(fresh, rule{r.pattern, copied})
		}
		if fresh, err = c.object(fresh, path, alternative, true); err != nil {
			return nil, err
		}
		all = append(all, fresh...)
		for _, r := range fresh {
			terms += len(r.paths)
		}
		if len(all) > maxRules || terms > maxTerms {
			return nil, fault(v.at, tooMany, maxRules, maxTerms)
		}
	}
	return all, nil
}

// alternatives says whether the value of a key $or makes it the operator: two objects
// or more whose keys are no operators. Otherwise it is a field's name.
func alternatives(v value) bool {
	if v.kind != array || len(v.items) < 2 {
		return false
	}
	for _, item := range v.items {
		if item.kind != object {
			return false
		}
		for _, m := range item.members {
			if slices.Contains(reserved, m.name) {
				return false
			}
		}
	}
	return true
}

// node is one step of the paths that patterns name. Nodes are numbered from front to
// back, so that a node's own come right after it.
type node struct {
	id, end  int // end is one after the last node below
	name     string
	path     string
	kids     []*node
	index    map[string]*node // of the kids, if there are many
	first    int              // number of its first condition
	own, all int              // one after its own last condition, and after the last below
	groups   []int            // what rules ask for below it
}

// group is what a rule asks for below a node.
type group struct {
	conds  []int // in order of their paths
	nodes  []int // theirs
	parts  []part
	absent bool // it is met if there is nothing at all
}

// part is what a group asks for at one kid of its node.
type part struct {
	node int
	cond int // the kid's own condition, or -1
	sub  int // the group below the kid, or -1
}

// plan is what machines run. It is never changed.
type plan struct {
	Options
	root   *node
	nodes  []*node
	conds  []*condition
	at     []int // each condition's node
	groups []group
	rules  []planned
	data   *node // nil if no pattern names it
	meta   bool  // patterns name other keys
}

type planned struct{ pattern, group int }

// plan arranges the rules' paths as a tree.
func (c *compiler) plan() *plan {
	p := &plan{Options: c.Options, root: &node{}}
	type entry struct {
		node *node
		cond *condition
	}
	var entries []entry // distinct
	known := map[entry]bool{}
	for _, r := range c.rules {
		for path, cond := range r.paths {
			n := p.root
			for step := range strings.SplitSeq(path, ".") {
				n = n.kid(step)
			}
			n.path = path
			if e := (entry{n, cond}); !known[e] {
				known[e] = true
				entries = append(entries, e)
			}
		}
	}
	own := map[*node][]*condition{}
	for _, e := range entries {
		own[e.node] = append(own[e.node], e.cond)
	}
	number := map[entry]int{}
	var lay func(n *node)
	lay = func(n *node) {
		n.id, n.first = len(p.nodes), len(p.conds)
		p.nodes = append(p.nodes, n)
		for _, cond := range own[n] {
			number[entry{n, cond}] = len(p.conds)
			p.conds, p.at = append(p.conds, cond), append(p.at, n.id)
		}
		n.own = len(p.conds)
		// As AWS's matcher has the paths: in order of their text.
		slices.SortFunc(n.kids, func(a, b *node) int { return strings.Compare(a.sortName(), b.sortName()) })
		for _, k := range n.kids {
			lay(k)
		}
		if len(n.kids) > 8 {
			n.index = map[string]*node{}
			for _, k := range n.kids {
				n.index[k.name] = k
			}
		}
		n.end, n.all = len(p.nodes), len(p.conds)
	}
	lay(p.root)
	seen := map[string]int{}
	for _, r := range c.rules {
		var conds []int
		for path, cond := range r.paths {
			n := p.root
			for step := range strings.SplitSeq(path, ".") {
				n = n.kid(step)
			}
			conds = append(conds, number[entry{n, cond}])
		}
		slices.Sort(conds)
		p.rules = append(p.rules, planned{r.pattern, p.group(p.root, conds, seen)})
	}
	for _, k := range p.root.kids {
		if k.name == c.key {
			p.data = k
		} else {
			p.meta = true
		}
	}
	return p
}

// kid returns the kid of a name, new if there is none.
func (n *node) kid(name string) *node {
	if n.index != nil {
		return n.index[name]
	}
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	k := &node{name: name}
	n.kids = append(n.kids, k)
	return k
}

// sortName is what its path is sorted by among its neighbours'.
func (n *node) sortName() string {
	if len(n.kids) > 0 {
		return n.name + "."
	}
	return n.name
}

// group numbers what a rule's conditions, all of them below n, ask for. Rules that ask
// for the same share one.
func (p *plan) group(n *node, conds []int, seen map[string]int) int {
	key := make([]byte, 0, 3*len(conds)+3)
	for _, v := range append([]int{n.id}, conds...) {
		key = append(key, byte(v), byte(v>>8), byte(v>>16))
	}
	if g, ok := seen[string(key)]; ok {
		return g
	}
	g := group{conds: conds, absent: true}
	for _, i := range conds {
		g.nodes = append(g.nodes, p.at[i])
		g.absent = g.absent && p.conds[i].absent
	}
	for _, k := range n.kids {
		lo, _ := slices.BinarySearch(conds, k.first)
		hi, _ := slices.BinarySearch(conds, k.all)
		if lo == hi {
			continue
		}
		t := part{k.id, -1, -1}
		if conds[lo] < k.own {
			t.cond = conds[lo]
			lo++
		}
		if lo < hi {
			t.sub = p.group(k, conds[lo:hi], seen)
		}
		g.parts = append(g.parts, t)
	}
	id := len(p.groups)
	p.groups = append(p.groups, g)
	seen[string(key)] = id
	n.groups = append(n.groups, id)
	return id
}
