package wire

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
)

// One mechanism reads JSON and CBOR: a source gives items one by one, in the order of
// the body, and the shape says what they must be. What the shape does not know is
// skipped.

// maxValues is how many values a body may make: far more than any operation takes, and
// few enough that a body of nothing but braces fits into memory.
const maxValues = 1 << 18

// source walks through a body that is known to be well-formed.
type source interface {
	// next gives the next value. The elements of a list or map follow, each after
	// more has said that there is one.
	next() item
	// more says whether the innermost list or map has another element, and leaves it if
	// not.
	more() bool
	key() string // of the next element of a map
	skip()       // over the next value
}

// item is a value of a body, or the beginning of a list or map.
type item struct {
	kind  itemKind
	text  string  // of itemText
	data  []byte  // of itemBytes: part of the body
	whole int64   // of itemNumber: without its fraction, and the nearest that an int64 can hold
	num   float64 // of itemNumber and itemBool (0 is false)

	tooLarge bool // an itemNumber that no float64 can hold: num is infinite
}

type itemKind uint8

const (
	itemNull itemKind = iota
	itemBool
	itemNumber
	itemText
	itemBytes
	itemList
	itemMap
)

// reader reads values of one format.
type reader struct {
	source
	format Format
	values int // so far
}

// read reads input that is well-formed: the values, or what is wrong with their types.
func read(f Format, s *Shape, body []byte) (Values, *Error) {
	r := reader{format: f}
	if f.JSON() {
		r.source = &jsonSource{body: body}
	} else {
		r.source = &cborSource{body: body}
	}
	if s == nil {
		s = &Shape{}
	}
	v, err := r.value(s)
	if err != nil {
		return nil, err
	}
	in, _ := v.(Values) // null is no values
	return in, nil
}

func (r *reader) value(s *Shape) (any, *Error) {
	if r.values++; r.values > maxValues {
		return nil, serialization("The request has more than %d values", maxValues)
	}
	if s.Kind == KindBlob {
		if j, ok := r.source.(*jsonSource); ok { // the code of a function has megabytes
			if data, ok := j.blob(); ok {
				return data, nil
			}
		}
	}
	it := r.next()
	if it.kind == itemNull {
		return nil, nil
	}
	switch s.Kind {
	case KindStructure:
		return r.structure(s, it)
	case KindMap:
		return r.mapping(s, it)
	case KindList:
		return r.list(s, it)
	case KindBlob:
		return blob(it)
	case KindDouble:
		return double(it)
	case KindBoolean:
		return boolean(it)
	case KindTimestamp:
		return r.timestamp(it)
	case KindString:
		if it.kind == itemText {
			return it.text, nil
		}
		return nil, it.unfit("String")
	case KindInteger:
		if it.kind == itemNumber {
			return min(max(it.whole, math.MinInt32), math.MaxInt32), nil
		}
		return nil, it.unfit("Integer")
	case KindLong:
		if it.kind == itemNumber {
			return it.whole, nil
		}
		return nil, it.unfit("Long")
	}
	panic(fmt.Sprintf("wire: a shape of kind %d", s.Kind))
}

func (r *reader) structure(s *Shape, it item) (any, *Error) {
	if it.kind == itemList {
		return nil, errList
	}
	if it.kind != itemMap {
		return nil, serialization("Expected null")
	}
	out := Values{}
	for r.more() {
		m := s.member(r.key())
		if m == nil {
			r.skip()
			continue
		}
		v, err := r.value(m.Shape)
		if err != nil {
			return nil, err
		}
		if v == nil {
			delete(out, m.Name)
		} else {
			out[m.Name] = v
		}
	}
	return out, nil
}

func (s *Shape) member(name string) *Member {
	for i := range s.Members {
		if cmp.Or(s.Members[i].Key, s.Members[i].Name) == name {
			return &s.Members[i]
		}
	}
	return nil
}

func (r *reader) mapping(s *Shape, it item) (any, *Error) {
	if it.kind == itemList {
		return nil, errList
	}
	if it.kind != itemMap {
		return nil, serialization("Expected map or null")
	}
	out := Values{}
	for r.more() {
		key := r.key()
		v, err := r.value(s.Elem)
		if err != nil {
			return nil, err
		}
		out[key] = v // nil too: the check finds it
	}
	return out, nil
}

func (r *reader) list(s *Shape, it item) (any, *Error) {
	if it.kind == itemMap {
		return nil, errMap
	}
	if it.kind != itemList {
		return nil, serialization("Expected list or null")
	}
	out := []any{}
	for r.more() {
		v, err := r.value(s.Elem)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// The texts are those that AWS answered to npm kinesalite's tests (test/helpers.js,
// assertType), slips of the pen included.
var (
	errList = serialization("Start of list found where not expected")
	errMap  = serialization("Start of structure or map found where not expected.")
)

func serialization(format string, args ...any) *Error {
	return Errorf(codeSerialization, format, args...)
}

const bigNumber = "com.amazon.coral.value.json.numbers.TruncatingBigNumber"

// unfit says that an item is no number or string.
func (it item) unfit(want string) *Error {
	switch it.kind {
	case itemList:
		return errList
	case itemMap:
		return errMap
	}
	return serialization("class %s can not be converted to an %s", it.class(), want)
}

// class is the Java class that AWS names.
func (it item) class() string {
	switch it.kind {
	case itemBool:
		return "java.lang.Boolean"
	case itemNumber:
		return bigNumber
	case itemBytes:
		return "java.nio.HeapByteBuffer"
	}
	return "java.lang.String"
}

func boolean(it item) (any, *Error) {
	switch it.kind {
	case itemBool:
		return it.num != 0, nil
	case itemText:
		text := strings.ToUpper(it.text)
		switch text {
		case "TRUE", "YES", "1":
			return true, nil
		case "FALSE", "NO", "0":
			return false, nil
		}
		return nil, serialization("'%s' can not be converted to an Boolean", bounded(text))
	}
	return nil, it.unfit("Boolean")
}

func double(it item) (any, *Error) {
	switch {
	case it.kind == itemNumber && it.tooLarge:
		return nil, serialization("The number is out of the range of a Double")
	case it.kind == itemNumber:
		return it.num, nil
	case it.kind == itemText && it.text == "NaN":
		return math.NaN(), nil
	case it.kind == itemText && it.text == "Infinity":
		return math.Inf(1), nil
	case it.kind == itemText && it.text == "-Infinity":
		return math.Inf(-1), nil
	}
	return nil, it.unfit("Double")
}

func (r *reader) timestamp(it item) (any, *Error) {
	switch it.kind {
	case itemNumber:
		ms := it.num
		if r.format != CBOR11 { // AWS CBOR 1.1 has milliseconds, all others seconds
			ms *= 1000
		}
		if math.IsNaN(ms) {
			return nil, serialization("class java.lang.Double can not be converted to milliseconds since epoch")
		}
		return time.UnixMilli(int64(math.Round(min(max(ms, -1<<53), 1<<53)))).UTC(), nil
	case itemList:
		return nil, errList
	case itemMap:
		return nil, errMap
	}
	return nil, serialization("class %s can not be converted to milliseconds since epoch", it.class())
}

var notBase64 = regexp.MustCompile(`[^a-zA-Z0-9+/=]|=[^=]`)

func blob(it item) (any, *Error) {
	switch it.kind {
	case itemBytes:
		return it.data, nil
	case itemList:
		return nil, errList
	case itemMap:
		return nil, errMap
	case itemText:
	default:
		return nil, serialization("class %s can not be converted to a Blob", it.class())
	}
	data := make([]byte, base64.StdEncoding.DecodedLen(len(it.text)))
	n, err := base64.StdEncoding.Strict().Decode(data, []byte(it.text))
	if err == nil && len(it.text)%4 == 0 && !strings.Contains(it.text, "\n") && !strings.Contains(it.text, "\r") { // Go's decoder skips those
		return data[:n], nil
	}
	text := "'" + bounded(it.text) + "' can not be converted to a Blob: "
	if len(it.text)%4 != 0 {
		return nil, serialization("%sBase64 encoded length is expected a multiple of 4 bytes but found: %d", text, Length(it.text))
	}
	if m := notBase64.FindString(it.text); m != "" {
		return nil, serialization("%sInvalid Base64 character: '%s'", text, string([]rune(m)[:1]))
	}
	return nil, serialization("%sInvalid last non-pad Base64 character dectected", text)
}

// maxPrinted bounds how much of a value an error repeats, in bytes. AWS repeats all of
// it; nothing that a client sends by mistake is as long.
const maxPrinted = 64 << 10

func bounded(s string) string {
	if len(s) > maxPrinted {
		return s[:maxPrinted]
	}
	return s
}
