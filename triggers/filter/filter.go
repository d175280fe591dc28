// Package filter decides which records a function gets: the patterns of AWS's
// FilterCriteria, which are those of EventBridge.
//
// A pattern is a JSON object that looks like the events it matches. Objects walk
// down, and where a path ends an array lists what its value may be: strings,
// numbers, true, false and null as they are, or operators ({"prefix": "a"}). All
// paths of a pattern have to match, one element of each array is enough, and a
// record goes on if one pattern of a [Set] matches it.
//
// Patterns are compiled once. A record's JSON is read once, from front to back and
// without a tree being built: what no path leads to is only checked to be JSON.
//
// # Where patterns look
//
// The data are at one key: "data" for records of a Kinesis stream (base64 is no
// matter here), "dynamodb" for changes of a table, "body" for messages. Other keys
// are metadata of the event, such as partitionKey or eventName. Data that are not
// JSON never match a pattern that looks into them, and a body's text is matched as
// it is by a pattern that has an array at "body"; JSON does not match such a one.
//
// # Rules that surprise
//
//   - An array matches if one element does, and all of a pattern's conditions
//     within an array have to hold in one element of it. Which elements are looked
//     at is decided by the first path, in order of the keys' names, that occurs in
//     the array at all: thus {"exists": false} on that path holds only if no element
//     has it. So does AWS's matcher.
//   - exists is about values that are no object: {"exists": false} matches a key
//     that holds an object or an empty array.
//   - Keys are joined by dots, in patterns and in events: {"a.b": 1} and
//     {"a": {"b": 1}} are the same. An event that has one path in both ways, one of
//     them through an array, is judged by the array.
//   - Of keys that a JSON object has twice the last one counts.
//   - Numbers compare by value within ±5,000,000,000, 300.0 like 300; beyond that,
//     they are equal if they are written alike, and no operator matches them.
//     Comparisons are exact, so 0.1234567 is more than 0.123456; operators take
//     six decimals at most.
//   - anything-but needs the key to be there. It matches null, and values of another
//     kind than its own.
//
// # Bounds
//
// JSON nested more than 10,000 deep is not taken for JSON. The patterns of a set come
// to at most 1,000 combinations of $or together, and a wildcard to at most 10 readings
// at once. Reading a record takes time in proportion to its length; where arrays and a
// pattern's conditions multiply to more than that, it stays undecided. It counts as
// matching then: a record that was to go to the function is never kept from it, and a
// filter is no promise that others are. How often that was is counted
// ([Set.Undecided]).
package filter

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

// Options say whose records a set is for.
type Options struct {
	// Kind says at which key the data are.
	Kind runtime.Kind
	// Strict refuses what AWS does not support in mappings: wildcard, cidr, and
	// operators within anything-but.
	Strict bool
}

// Set is patterns of which one has to match a record. It is safe for concurrent
// use, and nil matches everything.
type Set struct {
	*plan
	machines  sync.Pool // of *machine
	undecided atomic.Uint64
	told      atomic.Bool
}

// Record is what patterns look at.
type Record struct {
	// Data is the record's data as the producer gave it (Kinesis), the JSON of the
	// "dynamodb" member, or a message's body.
	Data []byte
	// Meta gives the JSON of a metadata member of the record's event. It is asked only
	// for names that patterns have, see [Set.Meta]; nil: there is none.
	Meta func(name string) (json []byte, ok bool)
}

// Error says what is wrong with a pattern. It wraps triggers.ErrInvalid.
type Error struct {
	Pattern int    // index of the pattern
	Offset  int    // bytes into it, where the fault was seen
	Reason  string // in EventBridge's words where it has any
}

func (e *Error) Error() string {
	return fmt.Sprintf("filter %d: %s (at byte %d)", e.Pattern+1, strings.TrimSuffix(e.Reason, "."), e.Offset+1)
}

// Unwrap makes it a triggers.ErrInvalid.
func (e *Error) Unwrap() error { return triggers.ErrInvalid }

// Compile reads patterns. An error is an *[Error], about the first that is wrong.
func Compile(patterns []string, o Options) (*Set, error) {
	c := &compiler{Options: o, key: dataKey(o.Kind)}
	for i, p := range patterns {
		if err := c.pattern(i, p); err != nil {
			err.Pattern = i
			return nil, err
		}
	}
	s := &Set{plan: c.plan()}
	s.machines.New = func() any { return newMachine(s.plan) }
	return s, nil
}

// dataKey is the key of a pattern that leads to the data.
func dataKey(k runtime.Kind) string {
	return map[runtime.Kind]string{runtime.KindKinesis: "data", runtime.KindDynamoDB: "dynamodb", runtime.KindSQS: "body"}[k]
}

// Match says whether a record goes to the function.
func (s *Set) Match(r *Record) bool {
	if s == nil || len(s.rules) == 0 {
		return true
	}
	m := s.machines.Get().(*machine)
	m.run(r)
	ok := m.verdict()
	if m.over() {
		s.undecided.Add(1)
		ok = true
	}
	m.b, m.first = nil, nil
	s.machines.Put(m)
	return ok
}

// Meta says whether patterns look at metadata: if not, Record.Meta is not called.
func (s *Set) Meta() bool { return s != nil && s.meta }

// Undecided is how often a record was given up, see the package's comment. A record that
// is judged again counts again.
func (s *Set) Undecided() uint64 {
	if s == nil {
		return 0
	}
	return s.undecided.Load()
}

// News says once, to one caller, that there are undecided records: worth a line in a log,
// not one for each of many shards.
func (s *Set) News() bool { return s.Undecided() > 0 && s.told.CompareAndSwap(false, true) }
