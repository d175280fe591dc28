package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// jsonSource walks through JSON. The body has passed json.Valid.
type jsonSource struct {
	body []byte
	at   int
}

// peek is the next byte that is not space; 0 at the end.
func (j *jsonSource) peek() byte {
	for ; j.at < len(j.body); j.at++ {
		switch c := j.body[j.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (j *jsonSource) next() item {
	switch c := j.peek(); c {
	case '{':
		j.at++
		return item{kind: itemMap}
	case '[':
		j.at++
		return item{kind: itemList}
	case '"':
		return item{kind: itemText, text: j.text()}
	case 't':
		j.at += len("true")
		return item{kind: itemBool, num: 1}
	case 'f':
		j.at += len("false")
		return item{kind: itemBool}
	case 'n':
		j.at += len("null")
		return item{}
	}
	from := j.at
	for j.at < len(j.body) && bytes.IndexByte([]byte("+-.eE0123456789"), j.body[j.at]) >= 0 {
		j.at++
	}
	text := string(j.body[from:j.at])
	f, ferr := strconv.ParseFloat(text, 64) // out of range: infinite
	whole, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		whole = truncate(f)
	}
	return item{kind: itemNumber, num: f, whole: whole, tooLarge: ferr != nil}
}

// truncate is the number without its fraction, or the nearest that an int64 can hold.
func truncate(f float64) int64 {
	switch {
	case math.IsNaN(f):
		return 0
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}

// raw is the string that follows, quotes and all, and whether it has escapes.
func (j *jsonSource) raw() (raw []byte, escaped bool) {
	from := j.at
	j.at++
	end := j.at // of what has been searched for the quote
	for {
		if j.at >= end {
			end = j.at + bytes.IndexByte(j.body[j.at:], '"')
		}
		slash := bytes.IndexByte(j.body[j.at:end], '\\')
		if slash < 0 {
			j.at = end + 1
			return j.body[from:j.at], escaped
		}
		escaped = true
		j.at += slash + 2 // what is escaped may be the quote
	}
}

// text reads a string.
func (j *jsonSource) text() string {
	raw, escaped := j.raw()
	if !escaped && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it is valid: j's caller has seen to it
	return s
}

// blob reads base64 that is in order, without a copy of its text; else it has not moved.
func (j *jsonSource) blob() (data []byte, ok bool) {
	if j.peek() != '"' {
		return nil, false
	}
	at := j.at
	raw, escaped := j.raw()
	raw = raw[1 : len(raw)-1]
	if !escaped && len(raw)%4 == 0 { // no line breaks either: JSON escapes them
		data = make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
		if n, err := base64.StdEncoding.Strict().Decode(data, raw); err == nil {
			return data[:n], true
		}
	}
	j.at = at
	return nil, false
}

func (j *jsonSource) more() bool {
	switch j.peek() {
	case ',':
		j.at++
	case ']', '}':
		j.at++
		return false
	}
	return true
}

func (j *jsonSource) key() string {
	j.peek()
	key := j.text()
	j.peek()
	j.at++ // the colon
	return key
}

func (j *jsonSource) skip() {
	for depth := 0; ; {
		switch j.peek() {
		case '{', '[':
			j.at++
			depth++
		case '}', ']':
			j.at++
			depth--
		case '"':
			j.raw()
		case ',', ':':
			j.at++
			continue
		default:
			j.next()
		}
		if depth == 0 {
			return
		}
	}
}
