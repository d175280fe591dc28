package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The operators, in the language's words.
const (
	opExactly    = "exactly"
	opIgnoreCase = "equals-ignore-case"
	opPrefix     = "prefix"
	opSuffix     = "suffix"
	opAnything   = "anything-but"
	opExists     = "exists"
	opWildcard   = "wildcard"
	opNumeric    = "numeric"
	opCIDR       = "cidr"
	opOr         = "$or"
)

// reserved are names that objects within $or must not have: EventBridge's operators,
// and what it keeps for later ones.
var reserved = []string{
	opExactly, opIgnoreCase, opPrefix, opSuffix, opAnything, opExists, opWildcard, opNumeric, opCIDR,
	"=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case",
	"date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range",
	"ip-address-in-range", "ip-address-not-in-range",
}

// fault is an error at a value.
func fault(at int, format string, args ...any) *Error {
	return &Error{Offset: at, Reason: fmt.Sprintf(format, args...)}
}

// condition reads the array at the end of a path.
func (c *compiler) condition(v value) (*condition, *Error) {
	if len(v.items) == 0 {
		return nil, fault(v.at, "Empty arrays are not allowed")
	}
	cond := &condition{source: string(v.raw)}
	for _, item := range v.items {
		switch item.kind {
		case object:
			if err := c.operator(cond, item); err != nil {
				return nil, err
			}
		case text:
			cond.exactly(item.text)
			// Two ways to write one IPv6 address are equal, as they are on AWS.
			if a, ok := address(item.text); ok && a.Is6() {
				cond.tests = append(cond.tests, network(netip.PrefixFrom(a, 128)))
			}
		case number:
			cond.number(item.raw)
		case truth:
			cond.truth = true
		case falsehood:
			cond.falsehood = true
		case null:
			cond.null = true
		default:
			return nil, fault(item.at, "Match value must be String, number, true, false, or null")
		}
	}
	cond.seal()
	return cond, nil
}

// operator reads {"name": value}.
func (c *compiler) operator(cond *condition, v value) *Error {
	if len(v.members) == 0 {
		return fault(v.at, "Match expression name not found")
	}
	op := v.members[0]
	arg := op.value
	only := func(message string) *Error {
		if len(v.members) > 1 {
			return fault(v.members[1].at, "%s", message)
		}
		return nil
	}
	const oneKey = "Only one key allowed in match expression"
	if c.Strict && (op.name == opWildcard || op.name == opCIDR) {
		return fault(op.at, "%s is not supported in event source mappings (strict filters)", op.name)
	}
	switch op.name {
	case opExactly, opIgnoreCase, opWildcard, opCIDR:
		if arg.kind != text {
			word := op.name
			switch word {
			case opExactly:
				word = "exact"
			case opCIDR:
				word = opPrefix // so says EventBridge
			}
			return fault(arg.at, "%s match pattern must be a string", word)
		}
		switch op.name {
		case opExactly:
			cond.exactly(arg.text)
		case opIgnoreCase:
			cond.tests = append(cond.tests, folded(arg.text))
		case opWildcard:
			w, err := newWildcard(arg)
			if err != nil {
				return err
			}
			cond.tests = append(cond.tests, w)
		case opCIDR:
			n, err := newNetwork(arg)
			if err != nil {
				return err
			}
			cond.tests = append(cond.tests, n)
		}
		return only(oneKey)
	case opPrefix, opSuffix:
		return c.affix(cond, op, only)
	case opNumeric:
		if arg.kind != array {
			return fault(arg.at, "Value of numeric must be an array.")
		}
		r, err := numericRange(arg)
		if err != nil {
			return err
		}
		cond.ranges = append(cond.ranges, r)
		return only("Too many elements in numeric expression")
	case opExists:
		switch arg.kind {
		case truth:
			cond.exists = true
		case falsehood:
			cond.absent = true
		default:
			return fault(arg.at, "exists match pattern must be either true or false.")
		}
		return only(oneKey)
	case opAnything:
		b, err := c.anythingBut(op)
		if err != nil {
			return err
		}
		cond.buts = append(cond.buts, b)
		return only("Too many elements in numeric expression")
	}
	return fault(op.at, "Unrecognized match type %s", op.name)
}

// affix reads prefix or suffix, of a string or {"equals-ignore-case": string}.
func (c *compiler) affix(cond *condition, op member, only func(string) *Error) *Error {
	arg := op.value
	const oneKey = "Only one key allowed in match expression"
	fold := arg.kind == object
	if fold {
		title := strings.ToUpper(op.name[:1]) + op.name[1:]
		if len(arg.members) == 0 {
			return fault(arg.at, "%s expression name not found", title)
		}
		inner := arg.members[0]
		if inner.name != opIgnoreCase {
			return fault(inner.at, "Unsupported %s pattern: %s", op.name, inner.name)
		}
		if inner.value.kind != text {
			return fault(inner.value.at, "equals-ignore-case match pattern must be a string")
		}
		if len(arg.members) > 1 {
			return fault(arg.members[1].at, oneKey)
		}
		arg = inner.value
	}
	if arg.kind != text {
		return fault(arg.at, "%s match pattern must be a string", op.name)
	}
	switch {
	case op.name == opPrefix && fold:
		cond.tests = append(cond.tests, foldedPrefix(arg.text))
	case op.name == opPrefix:
		cond.prefixes = append(cond.prefixes, arg.text)
	case fold:
		cond.tests = append(cond.tests, foldedSuffix(arg.text))
	default:
		cond.suffixes = append(cond.suffixes, arg.text)
	}
	return only(oneKey)
}

// anythingBut reads what must not be: strings, numbers, or one kind of operator with
// a string or several.
func (c *compiler) anythingBut(op member) (but, *Error) {
	arg, inner := op.value, ""
	if arg.kind == object {
		if len(arg.members) == 0 {
			return but{}, fault(arg.at, "Anything-But expression name not found")
		}
		m := arg.members[0]
		switch m.name {
		case opIgnoreCase, opPrefix, opSuffix, opWildcard:
		default:
			return but{}, fault(m.at, "Unsupported anything-but pattern: %s", m.name)
		}
		if c.Strict {
			return but{}, fault(m.at, "%s within anything-but is not supported in event source mappings (strict filters)", m.name)
		}
		if len(arg.members) > 1 {
			return but{}, fault(arg.members[1].at, "Too many elements in numeric expression")
		}
		arg, inner = m.value, m.name
	}
	items := arg.items
	switch arg.kind {
	case array:
	case text, number:
		items = []value{arg}
	default:
		return but{}, fault(arg.at, "Value of anything-but must be an array or single string/number value.")
	}
	var b but
	for _, item := range items {
		if err := b.add(inner, item); err != nil {
			return but{}, err
		}
	}
	if inner == "" && (len(b.texts) > 0) == (len(b.numbers) > 0) {
		return but{}, fault(arg.at, "Inside anything but list, either all values are number or string, mixed type is not supported")
	}
	slices.Sort(b.texts)
	slices.Sort(b.numbers)
	return b, nil
}

// add adds one value that must not be.
func (b *but) add(inner string, item value) *Error {
	if inner == "" {
		switch item.kind {
		case text:
			b.texts = append(b.texts, item.text)
		case number:
			n, err := patternNumber(item)
			if err != nil {
				return err
			}
			b.numbers = append(b.numbers, n)
		default:
			return fault(item.at, "Inside anything but list, start|null|boolean is not supported.")
		}
		return nil
	}
	if item.kind != text {
		switch inner {
		case opIgnoreCase:
			return fault(item.at, "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
		case opWildcard:
			return fault(item.at, "wildcard match pattern must be a string")
		}
		return fault(item.at, "prefix/suffix match pattern must be a string")
	}
	if item.text == "" && (inner == opPrefix || inner == opSuffix) {
		return fault(item.at, "Null prefix/suffix not allowed")
	}
	switch inner {
	case opIgnoreCase:
		b.tests = append(b.tests, folded(item.text))
	case opPrefix:
		b.prefixes = append(b.prefixes, item.text)
	case opSuffix:
		b.suffixes = append(b.suffixes, item.text)
	case opWildcard:
		w, err := newWildcard(item)
		if err != nil {
			return err
		}
		b.tests = append(b.tests, w)
	}
	return nil
}

// patternNumber is the order of a number that an operator names.
func patternNumber(v value) (int64, *Error) {
	n, ok := order(v.raw)
	if !ok {
		return 0, fault(v.at, "Value must be between -5.0E9 and 5.0E9, inclusive")
	}
	if n%2 != 0 {
		return 0, fault(v.at, "Only values upto 6 decimals are supported: %s", v.raw)
	}
	return n, nil
}

// numericRange reads ["<", n], ["=", n] or [">=", n, "<", m] and the like.
func numericRange(v value) (r span, err *Error) {
	at := func(i int) value { // the end of the array, past its items
		if i < len(v.items) {
			return v.items[i]
		}
		return value{kind: array, at: v.end - 1, raw: []byte("]")}
	}
	op := at(0)
	if op.kind != text {
		return r, fault(op.at, "Invalid member in numeric match: %s", op.raw)
	}
	if !slices.Contains([]string{"=", "<", "<=", ">", ">="}, op.text) {
		return r, fault(op.at, "Unrecognized numeric range operator: %s", op.text)
	}
	bound := func(op string, v value) (int64, *Error) {
		if op == "=" {
			op = "equals"
		}
		if v.kind != number {
			return 0, fault(v.at, "Value of %s must be numeric", op)
		}
		return patternNumber(v)
	}
	n, err := bound(op.text, at(1))
	if err != nil {
		return r, err
	}
	r = span{-maxOrder, maxOrder}
	switch op.text {
	case "=":
		r = span{n, n}
	case "<":
		r.high = n - 1
	case "<=":
		r.high = n
	case ">":
		r.low = n + 1
	case ">=":
		r.low = n
	}
	if len(v.items) == 2 {
		return r, nil
	}
	if op.text[0] != '>' {
		return r, fault(at(2).at, "Too many elements in numeric expression")
	}
	second := at(2)
	if second.kind != text {
		return r, fault(second.at, "Bad value in numeric range: %s", second.raw)
	}
	if second.text != "<" && second.text != "<=" {
		return r, fault(second.at, "Bad numeric range operator: %s", second.text)
	}
	top, err := bound(second.text, at(3))
	if err != nil {
		return r, err
	}
	if len(v.items) > 4 {
		return r, fault(at(4).at, "Too many terms in numeric range expression")
	}
	if top <= n {
		return r, fault(at(3).at, "Bottom must be less than top")
	}
	r.high = top
	if second.text == "<" {
		r.high--
	}
	return r, nil
}

// address reads an IP address that is written as EventBridge knows them.
func address(s string) (netip.Addr, bool) {
	for _, c := range []byte(s) {
		if c|0x20 > 'f' || c != '.' && c < '0' {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

func newNetwork(v value) (network, *Error) {
	addr, mask, ok := strings.Cut(v.text, "/")
	if !ok || strings.Contains(mask, "/") || mask == "" {
		return network{}, fault(v.at, "Malformed CIDR, one '/' required")
	}
	n, err := strconv.Atoi(mask)
	if err != nil {
		return network{}, fault(v.at, "Malformed CIDR, mask bits must be an integer")
	}
	if n < 0 {
		return network{}, fault(v.at, "Malformed CIDR, mask bits must not be negative")
	}
	a, ok := address(addr)
	if !ok {
		return network{}, fault(v.at, "Nonstandard IP address: %s", addr)
	}
	if n > a.BitLen() {
		return network{}, fault(v.at, "IPv%d mask bits must be < %d", map[int]int{32: 4, 128: 6}[a.BitLen()], a.BitLen()+1)
	}
	p, _ := a.Prefix(n)
	return network(p), nil
}
