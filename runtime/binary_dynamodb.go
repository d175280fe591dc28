package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"sync"
	"unicode/utf8"
)

// Kind 3, changes of a table. Their JSON is read as it is written, in one pass: no
// tree is made of it.

const (
	changeEntry = 56

	// Bits of an entry that say what there is.
	hasCreation = 1 << 0
	hasKeys     = 1 << 1
	hasNew      = 1 << 2
	hasOld      = 1 << 3

	// maxNesting is how deep a value may be. DynamoDB's own limit is 32.
	maxNesting = 64
)

// Tags of attribute values.
const (
	valueNull = iota
	valueFalse
	valueTrue
	valueString
	valueNumber
	valueBinary
	valueStringSet
	valueNumberSet
	valueBinarySet
	valueList
	valueMap
)

// scratch is for finding out how long a batch will be.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func changesSize(b *Batch) int {
	p := scratch.Get().(*[]byte)
	dst, _ := appendChanges((*p)[:0], 0, b)
	n := len(dst)
	if cap(dst) <= 8<<20 {
		*p = dst[:0]
	}
	scratch.Put(p)
	return n
}

// appendChanges appends table and blobs, or nothing and false when one of the
// changes is not as DynamoDB writes them.
func appendChanges(dst []byte, base int, b *Batch) ([]byte, bool) {
	table := len(dst)
	dst = append(dst, make([]byte, changeEntry*len(b.Records))...)
	c := changeEncoder{dst: dst}
	for i := range b.Records {
		if !c.change(base, table+changeEntry*i, &b.Records[i]) {
			return c.dst[:table], false
		}
	}
	return c.dst, true
}

type changeEncoder struct {
	dst []byte
	cursor
}

var noChange Change

// change appends the parts of one change and fills its entry.
func (c *changeEncoder) change(base, entry int, r *Record) bool {
	le := binary.LittleEndian
	part := 0
	mark := func() {
		le.PutUint32(c.dst[entry+4*part:], uint32(len(c.dst)-base))
		part++
	}
	change := r.Change
	if change == nil {
		change = &noChange
	}
	for _, s := range [...]string{change.EventID, change.EventName, r.Sequence, change.IdentityType, change.IdentityPrincipal} {
		mark()
		c.dst = append(c.dst, s...)
	}

	c.cursor = cursor{b: r.Data}
	var (
		flags    uint32
		creation float64 // Unix seconds
		size     int64
		view     []byte
		images   [3][]byte // where they are in the JSON
	)
	for key := range c.object() {
		value, ok := c.raw()
		if !ok {
			return false
		}
		var err error
		switch key {
		case "ApproximateCreationDateTime":
			flags |= hasCreation
			creation, err = strconv.ParseFloat(string(value), 64)
		case "SizeBytes":
			size, err = strconv.ParseInt(string(value), 10, 64)
		case "StreamViewType":
			s, ok := unquote(value)
			if !ok {
				return false
			}
			view = []byte(s)
		case "Keys":
			flags, images[0] = flags|hasKeys, value
		case "NewImage":
			flags, images[1] = flags|hasNew, value
		case "OldImage":
			flags, images[2] = flags|hasOld, value
		}
		if err != nil {
			return false
		}
	}
	if c.bad || !c.end() {
		return false
	}
	mark()
	c.dst = append(c.dst, view...)
	mark()
	for _, image := range images {
		if image == nil {
			continue
		}
		c.cursor = cursor{b: image}
		if !c.attributes(1) {
			return false
		}
	}
	mark()
	le.PutUint32(c.dst[entry+32:], flags)
	le.PutUint64(c.dst[entry+40:], uint64(int64(math.Round(creation*1000))))
	le.PutUint64(c.dst[entry+48:], uint64(size))
	return true
}

// attributes appends a value of tag map, of the object that comes next.
func (c *changeEncoder) attributes(depth int) bool {
	c.dst = append(c.dst, valueMap)
	count := c.count()
	n := uint32(0)
	for key := range c.object() {
		c.dst = appendText(c.dst, key)
		if !c.value(depth + 1) {
			return false
		}
		n++
	}
	binary.LittleEndian.PutUint32(c.dst[count:], n)
	return !c.bad
}

// count keeps room for a number that is known later, and says where.
func (c *changeEncoder) count() int {
	c.dst = append(c.dst, 0, 0, 0, 0)
	return len(c.dst) - 4
}

// value appends one attribute value: an object of a single member, whose name is
// the type.
func (c *changeEncoder) value(depth int) bool {
	if depth > maxNesting {
		return false
	}
	members := 0
	for kind := range c.object() {
		if members++; members > 1 || !c.typed(kind, depth) {
			return false
		}
	}
	return members == 1 && !c.bad
}

func (c *changeEncoder) typed(kind string, depth int) bool {
	switch kind {
	case "S":
		c.dst = append(c.dst, valueString)
		return c.text()
	case "N":
		c.dst = append(c.dst, valueNumber)
		return c.text()
	case "B":
		c.dst = append(c.dst, valueBinary)
		return c.bytes()
	case "SS":
		c.dst = append(c.dst, valueStringSet)
		return c.list(c.text)
	case "NS":
		c.dst = append(c.dst, valueNumberSet)
		return c.list(c.text)
	case "BS":
		c.dst = append(c.dst, valueBinarySet)
		return c.list(c.bytes)
	case "L":
		c.dst = append(c.dst, valueList)
		return c.list(func() bool { return c.value(depth + 1) })
	case "M":
		return c.attributes(depth)
	case "BOOL":
		value, _ := c.raw()
		switch string(value) {
		case "true":
			c.dst = append(c.dst, valueTrue)
			return true
		case "false":
			c.dst = append(c.dst, valueFalse)
			return true
		}
	case "NULL":
		c.dst = append(c.dst, valueNull)
		return c.skip(0)
	}
	return false
}

func (c *changeEncoder) text() bool {
	raw, plain, ok := c.quoted()
	if !ok {
		return false
	}
	if plain {
		c.dst = appendText(c.dst, raw)
		return true
	}
	s, ok := unescaped(raw)
	c.dst = appendText(c.dst, s)
	return ok
}

func (c *changeEncoder) bytes() bool {
	raw, plain, ok := c.quoted()
	if ok && !plain {
		var s string
		if s, ok = unescaped(raw); ok {
			raw = []byte(s)
		}
	}
	if !ok {
		return false
	}
	count := c.count()
	var err error
	c.dst, err = base64.StdEncoding.AppendDecode(c.dst, raw)
	binary.LittleEndian.PutUint32(c.dst[count:], uint32(len(c.dst)-count-4))
	return err == nil
}

func (c *changeEncoder) list(element func() bool) bool {
	count := c.count()
	n := uint32(0)
	for range c.array() {
		if !element() {
			return false
		}
		n++
	}
	binary.LittleEndian.PutUint32(c.dst[count:], n)
	return !c.bad
}

// unescaped is the text of what stands between quotes.
func unescaped(raw []byte) (s string, ok bool) {
	err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &s)
	return s, err == nil
}

// cursor walks over JSON that need not be valid. It looks no closer than it has to.
type cursor struct {
	b   []byte
	at  int
	bad bool // an object or array did not end as it ought to
}

// next is the byte after blanks, 0 at the end.
func (c *cursor) next() byte {
	if c.at = blank(c.b, c.at); c.at < len(c.b) {
		return c.b[c.at]
	}
	return 0
}

func (c *cursor) end() bool { return c.next() == 0 && c.at == len(c.b) }

// object gives the keys of the object that comes next. The loop's body moves past
// each value. bad says afterwards whether something was wrong.
func (c *cursor) object() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		c.within('{', '}', func() bool {
			raw, plain, ok := c.quoted()
			key := string(raw)
			if ok && !plain {
				key, ok = unescaped(raw)
			}
			if !ok || c.next() != ':' {
				c.bad = true
				return false
			}
			c.at++
			return yield(key)
		})
	}
}

// array comes by for each element of the array that comes next.
func (c *cursor) array() func(yield func() bool) {
	return func(yield func() bool) { c.within('[', ']', yield) }
}

func (c *cursor) within(open, shut byte, each func() bool) {
	if c.next() != open {
		c.bad = true
		return
	}
	c.at++
	if c.next() == shut {
		c.at++
		return
	}
	for each() {
		switch c.next() {
		case ',':
			c.at++
		case shut:
			c.at++
			return
		default:
			c.bad = true
			return
		}
	}
}

// quoted moves past a string and gives what is between its quotes. plain says that
// it stands for itself.
func (c *cursor) quoted() (raw []byte, plain, ok bool) {
	if c.next() != '"' {
		return nil, false, false
	}
	from := c.at + 1
	n := bytes.IndexByte(c.b[from:], '"')
	if n < 0 {
		return nil, false, false
	}
	if raw = c.b[from : from+n]; bytes.IndexByte(raw, '\\') < 0 {
		c.at = from + n + 1
		return raw, utf8.Valid(raw), true
	}
	for i := from; i < len(c.b); i++ {
		switch c.b[i] {
		case '\\':
			i++
		case '"':
			c.at = i + 1
			return c.b[from:i], false, true
		}
	}
	return nil, false, false
}

// raw moves past one value and gives it as it stands.
func (c *cursor) raw() ([]byte, bool) {
	c.next()
	at := c.at
	ok := c.skip(0)
	return c.b[at:c.at], ok
}

// skip moves past one value.
func (c *cursor) skip(depth int) bool {
	if depth > 2*maxNesting+2 {
		return false
	}
	switch c.next() {
	case '"':
		_, _, ok := c.quoted()
		return ok
	case '{':
		for range c.object() {
			if !c.skip(depth + 1) {
				return false
			}
		}
		return !c.bad
	case '[':
		for range c.array() {
			if !c.skip(depth + 1) {
				return false
			}
		}
		return !c.bad
	}
	from := c.at
	for c.at < len(c.b) && bytes.IndexByte([]byte(",:]} \n\t\r"), c.b[c.at]) < 0 {
		c.at++
	}
	return c.at > from
}
