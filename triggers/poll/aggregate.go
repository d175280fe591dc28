package poll

import (
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers/filter"
	"github.com/wasmill/wasmill/triggers/shard"
)

// What the Kinesis Producer Library has packed into one record is one to the machine, of
// the buckets of all its keys. It is unpacked only in the event: under the sequence number of
// the whole, so that a function that names one of them as failed names all.

// lens is how a trigger looks at records.
type lens struct {
	filters     *filter.Set // nil: all go to the function
	deaggregate bool
}

// lenses are the one that is in force, and by number those of records that are looked at otherwise:
// a unit keeps the one under which it was formed, since its size and its keys are those of what goes
// to the function of it. They are never changed.
type lenses struct {
	lens
	former map[uint64]lens
}

func (l *lenses) of(number uint64) lens {
	if was, ok := l.former[number]; ok {
		return was
	}
	return l.lens
}

// judge says what a record is to the machine: whether it goes to the function, and of what a
// producer has packed into one the keys of all, and the size of those in it that go.
func (s *sieve) judge(one *shard.Record, f *log.Frame, i int, sizer runtime.RecordSizer) {
	rec := &f.Records[i]
	s.facts.record(s.shard, f, i)
	if s.deaggregate {
		if users := stream.Deaggregate(rec.Data); users != nil {
			size := 0
			one.Filtered = true
			for sub := range users {
				u := &users[sub]
				one.Also |= 1 << stream.Bucket(u.PartitionKey)
				if s.facts.match(s.filters, runtime.Record{PartitionKey: u.PartitionKey, Data: u.Data, Arrival: rec.Arrival, Aggregated: true, SubSequence: sub}) {
					size += sizer.SubSize(u.PartitionKey, len(u.Data), sub)
					one.Filtered = false
				}
			}
			one.Size = int32(min(size, 1<<31-1))
			return
		}
	}
	one.Filtered = s.filters != nil && !s.facts.match(s.filters, runtime.Record{PartitionKey: rec.Key, Data: rec.Data, Arrival: rec.Arrival})
}

// Deaggregated is a batch as a trigger with that option hands it over.
func Deaggregated(b *runtime.Batch) *runtime.Batch {
	b, _ = deaggregated(b, nil, lenses{lens: lens{deaggregate: true}})
	return b
}

// deaggregated is a batch with the records in aggregates in their place, and for each the
// index of the one that it came in. Without aggregates it is the batch itself, and nil. Those that
// no filter lets through are left out, unless that would leave nothing: a dead letter may be older than
// the filters. numbers are those of the batch's records, nil if they have none.
func deaggregated(b *runtime.Batch, numbers []uint64, l lenses) (*runtime.Batch, []int) {
	if !l.deaggregate && l.former == nil {
		return b, nil
	}
	var records []runtime.Record
	var member []int
	known := newFacts(b)
	for i := range b.Records {
		whole, look := &b.Records[i], l.lens
		if numbers != nil {
			look = l.of(numbers[i])
		}
		var users []stream.UserRecord
		if look.deaggregate {
			users = stream.Deaggregate(whole.Data)
		}
		if users != nil && member == nil {
			records = append(records, b.Records[:i]...)
			for before := range i {
				member = append(member, before)
			}
		}
		switch {
		case users != nil:
			known.sequence = whole.Sequence
			before := len(records)
			for _, all := range [...]bool{look.filters == nil, true} {
				for sub := range users {
					one := *whole
					one.PartitionKey, one.Data, one.Aggregated, one.SubSequence = users[sub].PartitionKey, users[sub].Data, true, sub
					if all || known.match(look.filters, one) {
						records, member = append(records, one), append(member, i)
					}
				}
				if len(records) > before {
					break
				}
			}
		case member != nil:
			records, member = append(records, *whole), append(member, i)
		}
	}
	if member == nil {
		return b, nil
	}
	out := *b
	out.Records = records
	return &out, member
}
