package filter

import (
	"fmt"
	"unicode/utf8"

	"github.com/wasmill/wasmill/triggers"
)

// kind of a JSON value.
type kind uint8

const (
	object kind = iota
	array
	text
	number
	truth
	falsehood
	null
)

// value is a JSON value of a pattern.
type value struct {
	kind    kind
	at      int      // its first byte
	end     int      // the byte after it
	raw     []byte   // as it is written
	text    string   // of a text
	items   []value  // of an array
	members []member // of an object, in order
}

type member struct {
	name  string
	at    int
	value value
	// stale: a later member has the same name, and counts.
	stale bool
}

// parse reads a pattern's JSON.
func parse(pattern string) (value, *Error) {
	if n := utf8.RuneCountInString(pattern); n > triggers.MaxPattern {
		return value{}, &Error{Reason: fmt.Sprintf("Filter is longer than %d characters: it has %d", triggers.MaxPattern, n)}
	}
	p := &parser{scanner{b: []byte(pattern)}}
	v, ok := p.value()
	if ok && p.space() != 0 || ok && p.i < len(p.b) {
		ok = false
	}
	if !ok {
		return value{}, p.syntax()
	}
	return v, nil
}

type parser struct{ scanner }

// syntax is the error where the parser has stopped.
func (p *parser) syntax() *Error {
	if p.space(); p.i >= len(p.b) {
		return &Error{Offset: len(p.b), Reason: "Unexpected end of the filter: it is not JSON"}
	}
	r, _ := utf8.DecodeRune(p.b[p.i:])
	return &Error{Offset: p.i, Reason: fmt.Sprintf("Unexpected character (%q): the filter is not JSON", r)}
}

func (p *parser) value() (v value, ok bool) {
	c := p.space()
	v.at = p.i
	switch c {
	case '{':
		v.kind, ok = object, p.enter() && p.object(&v)
	case '[':
		v.kind, ok = array, p.enter() && p.array(&v)
	case '"':
		v.kind = text
		v.text, ok = p.text()
	case 't', 'f', 'n':
		v.kind = map[byte]kind{'t': truth, 'f': falsehood, 'n': null}[c]
		ok = p.scalar(c)
	default:
		v.kind = number
		_, ok = p.number()
	}
	v.end = p.i
	if ok {
		v.raw = p.b[v.at:v.end]
	}
	return v, ok
}

func (p *parser) text() (string, bool) {
	raw, plain, ok := p.str()
	if !ok || plain {
		return string(raw), ok
	}
	return string(unescape(nil, raw)), true
}

func (p *parser) object(v *value) bool {
	seen := map[string]int{}
	for c := p.space(); c != '}'; c = p.space() {
		if len(v.members) > 0 {
			if c != ',' {
				return false
			}
			p.i++
			c = p.space()
		}
		m := member{at: p.i}
		if c != '"' {
			return false
		}
		var ok bool
		if m.name, ok = p.text(); !ok || !p.colon() {
			return false
		}
		if m.value, ok = p.value(); !ok {
			return false
		}
		if i, twice := seen[m.name]; twice {
			v.members[i].stale = true
		}
		seen[m.name] = len(v.members)
		v.members = append(v.members, m)
	}
	p.leave()
	return true
}

func (p *parser) array(v *value) bool {
	for c := p.space(); c != ']'; c = p.space() {
		if len(v.items) > 0 {
			if c != ',' {
				return false
			}
			p.i++
		}
		item, ok := p.value()
		if !ok {
			return false
		}
		v.items = append(v.items, item)
	}
	p.leave()
	return true
}
