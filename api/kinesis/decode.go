package kinesis

import (
	"slices"
	"unicode/utf8"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

// The operations that carry records read their input here instead of by their tables.
// What is taken is certainly well-formed and valid; everything else, be it only
// unusual, is left to the table, so that what is wrong is said in one place.

// putInput is the input of PutRecord and PutRecords.
type putInput struct {
	name, arn, id string
	ordering      string // SequenceNumberForOrdering; "" is not given
	entries       []stream.Entry
}

// getInput is the input of GetRecords.
type getInput struct {
	iterator string
	arn, id  string
	limit    int // 0 is not given
}

// tokens reads a text item by item. Once something is not as expected, nothing is any more:
// every method gives its zero value, and end says so.
type tokens interface {
	open(list bool) // goes into a list or an object
	more() bool     // there is another element or member; else the list or object is left
	name() []byte   // of the member whose value comes next
	text() string   // non-empty, valid UTF-8
	blob() []byte   // as it stands; data makes of it what it means
	integer() int   // 0 to 999,999,999
	refuse()        // it is not as expected
	end() bool      // that was all, and all of it as expected

	// data decodes the blobs of entries, over the text where need be. At false the text is
	// as it was.
	data(entries []stream.Entry) bool
}

func tokensOf(f wire.Format, body []byte) tokens {
	if f.JSON() {
		return &jsonTokens{b: body}
	}
	return &cborTokens{b: body}
}

func decodePutRecord(f wire.Format, body []byte) (any, bool) {
	t, in := tokensOf(f, body), &putInput{entries: make([]stream.Entry, 1)}
	var seen memberSet
	for t.open(false); t.more(); {
		switch name := t.name(); string(name) {
		case "SequenceNumberForOrdering":
			in.ordering = seen.check(t, 1<<10, decimal(t.text(), 129))
		default:
			if !seen.entry(t, name, &in.entries[0]) && !seen.stream(t, name, &in.name, &in.arn, &in.id) {
				t.refuse()
			}
		}
	}
	return in, seen.wholeEntry() && t.end() && t.data(in.entries)
}

func decodePutRecords(f wire.Format, body []byte) (any, bool) {
	t, in := tokensOf(f, body), &putInput{}
	var seen memberSet
	for t.open(false); t.more(); {
		switch name := t.name(); string(name) {
		case "Records":
			seen.first(t, 1<<10)
			in.entries = decodeEntries(t, len(body))
		default:
			if !seen.stream(t, name, &in.name, &in.arn, &in.id) {
				t.refuse()
			}
		}
	}
	return in, len(in.entries) > 0 && t.end() && t.data(in.entries)
}

func decodeEntries(t tokens, size int) (entries []stream.Entry) {
	for t.open(true); t.more(); {
		if len(entries) == stream.MaxPutRecords {
			t.refuse()
			return nil
		}
		entries = append(entries, stream.Entry{})
		e := &entries[len(entries)-1]
		var seen memberSet
		for t.open(false); t.more(); {
			if !seen.entry(t, t.name(), e) {
				t.refuse()
			}
		}
		if !seen.wholeEntry() {
			t.refuse()
		}
		if len(entries) == 1 {
			// Records of a call tend to be of a size.
			entries = slices.Grow(entries, min(stream.MaxPutRecords-1, size/(len(e.Data)+len(e.PartitionKey)+30)))
		}
	}
	return entries
}

func decodeGetRecords(f wire.Format, body []byte) (any, bool) {
	t, in := tokensOf(f, body), &getInput{}
	var seen memberSet
	for t.open(false); t.more(); {
		switch name := t.name(); string(name) {
		case "ShardIterator":
			in.iterator = seen.check(t, 1<<10, limited(t.text(), maxIterator))
		case "Limit":
			seen.first(t, 1<<11)
			if in.limit = t.integer(); in.limit < 1 || in.limit > 10_000 {
				t.refuse()
			}
		default:
			if string(name) == "StreamName" || !seen.stream(t, name, new(string), &in.arn, &in.id) {
				t.refuse()
			}
		}
	}
	return in, in.iterator != "" && t.end()
}

// memberSet is the members of an object that have been read, by bits of the caller's choice.
type memberSet int

const (
	memberName memberSet = 1 << iota
	memberARN
	memberID
	memberData
	memberKey
	memberHash
)

// first refuses a member that comes twice.
func (m *memberSet) first(t tokens, bit memberSet) {
	if *m&bit != 0 {
		t.refuse()
	}
	*m |= bit
}

// check refuses text unless it is valid and its member comes for the first time.
func (m *memberSet) check(t tokens, bit memberSet, c checked) string {
	m.first(t, bit)
	if !c.valid {
		t.refuse()
	}
	return c.text
}

// stream reads the members that name a stream; false if name is none of them.
func (m *memberSet) stream(t tokens, member []byte, name, arn, id *string) bool {
	switch string(member) {
	case "StreamName":
		*name = m.check(t, memberName, plainName(t.text()))
	case "StreamARN":
		*arn = m.check(t, memberARN, plainARN(t.text()))
	case "StreamId":
		*id = m.check(t, memberID, plainID(t.text()))
	default:
		return false
	}
	return true
}

// entry reads a member of a record; false if name is none.
func (m *memberSet) entry(t tokens, member []byte, e *stream.Entry) bool {
	switch string(member) {
	case "Data":
		m.first(t, memberData)
		e.Data = t.blob()
	case "PartitionKey":
		e.PartitionKey = m.check(t, memberKey, limited(t.text(), stream.MaxKeyChars))
	case "ExplicitHashKey":
		e.ExplicitHashKey = m.check(t, memberHash, decimal(t.text(), 39))
	default:
		return false
	}
	return true
}

func (m memberSet) wholeEntry() bool { return m&memberData != 0 && m&memberKey != 0 }

// checked is a text that meets a table's constraints for certain, or may not.
type checked struct {
	text  string
	valid bool
}

// limited has at most that many bytes, and so at most that many characters of any sort.
func limited(s string, most int) checked { return checked{s, len(s) <= most} }

// decimal matches 0|([1-9]\d{0,n}) with at most that many digits.
func decimal(s string, digits int) checked {
	ok := len(s) > 0 && len(s) <= digits && (s[0] != '0' || len(s) == 1)
	for i := range len(s) {
		ok = ok && '0' <= s[i] && s[i] <= '9'
	}
	return checked{s, ok}
}

// plainName matches streamNameShape.
func plainName(s string) checked {
	return checked{s, len(s) <= 128 && nameBytes(s)}
}

func nameBytes(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return s != ""
}

// plainARN matches streamARNShape, and is one that [parseARN] takes.
func plainARN(s string) checked {
	_, consumer, ok := parseARN(s)
	return checked{s, ok && consumer == "" && len(s) <= 2048 && s[:8] == "arn:aws:"}
}

// plainID matches streamIDShape.
func plainID(s string) checked {
	ok := len(s) == 24
	for i := range len(s) {
		ok = ok && (i == 20) == (s[i] == '-') && ('a' <= s[i] && s[i] <= 'z' || '0' <= s[i] && s[i] <= '9' || s[i] == '-')
	}
	return checked{s, ok}
}

// plain says that b is one or more characters of valid UTF-8 without escapes or control
// characters: what stands between quotes as it is.
func plain(b []byte) bool {
	high := byte(0)
	for _, c := range b {
		if c < ' ' || c == '\\' {
			return false
		}
		high |= c
	}
	return len(b) > 0 && (high < utf8.RuneSelf || utf8.Valid(b))
}
