package kinesis

import (
	"bytes"

	"github.com/wasmill/wasmill/stream"
)

// jsonTokens reads JSON whose strings have no escapes.
type jsonTokens struct {
	b     []byte
	at    int
	bad   bool
	fresh bool    // nothing has been read yet of the list or object just opened
	ends  [3]byte // how the open lists and objects end, innermost last
	depth int
}

func (t *jsonTokens) refuse() { t.bad = true }

// next is the next byte that is no space, itself not taken; 0 if there is none.
func (t *jsonTokens) next() byte {
	for ; t.at < len(t.b); t.at++ {
		switch c := t.b[t.at]; c {
		case ' ', '\n', '\r', '\t':
		default:
			return c
		}
	}
	return 0
}

func (t *jsonTokens) take(c byte) {
	if t.next() != c {
		t.bad = true
		return
	}
	t.at++
}

func (t *jsonTokens) open(list bool) {
	begin, end := byte('{'), byte('}')
	if list {
		begin, end = '[', ']'
	}
	t.take(begin)
	if t.depth == len(t.ends) {
		t.bad = true
		return
	}
	t.ends[t.depth] = end
	t.depth++
	t.fresh = true
}

func (t *jsonTokens) more() bool {
	if t.bad {
		return false
	}
	fresh := t.fresh
	t.fresh = false
	switch c := t.next(); {
	case c == t.ends[t.depth-1]:
		t.at++
		t.depth--
		return false
	case fresh:
		return true
	case c == ',':
		t.at++
		return true // an end that follows is no name and no value
	}
	t.bad = true
	return false
}

func (t *jsonTokens) name() []byte {
	name := t.quoted()
	t.take(':')
	return name
}

func (t *jsonTokens) text() string {
	b := t.quoted()
	if !plain(b) {
		t.bad = true
		return ""
	}
	return string(b)
}

func (t *jsonTokens) blob() []byte { return t.quoted() }

// quoted is what stands up to the next quotation mark, which ends the string unless there
// is a backslash before it: nobody takes what has one.
func (t *jsonTokens) quoted() []byte {
	if t.take('"'); t.bad {
		return nil
	}
	n := bytes.IndexByte(t.b[t.at:], '"')
	if n < 0 {
		t.bad = true
		return nil
	}
	b := t.b[t.at : t.at+n : t.at+n]
	t.at += n + 1
	return b
}

func (t *jsonTokens) integer() int {
	t.next()
	n, from := 0, t.at
	for ; t.at < len(t.b) && '0' <= t.b[t.at] && t.b[t.at] <= '9'; t.at++ {
		if n = n*10 + int(t.b[t.at]-'0'); t.at-from > 8 {
			t.bad = true
			return 0
		}
	}
	if from == t.at || t.b[from] == '0' && t.at > from+1 {
		t.bad = true
	}
	return n // a fraction or exponent is no end of a member
}

func (t *jsonTokens) end() bool { return !t.bad && t.depth == 0 && t.next() == 0 && t.at == len(t.b) }

func (t *jsonTokens) data(entries []stream.Entry) bool {
	for i := range entries {
		text := entries[i].Data
		data, ok := decodeBase64(text)
		if ok && len(data) <= stream.MaxRecordBytes {
			entries[i].Data = data
			continue
		}
		if ok {
			i++ // it too is to be as it was
			entries[i-1].Data = data
		}
		for _, e := range entries[:i] {
			copy(e.Data[:cap(e.Data)], appendBase64(nil, e.Data))
		}
		return false
	}
	return true
}
