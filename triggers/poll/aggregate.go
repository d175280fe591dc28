package poll

import (
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers/shard"
)

// What the Kinesis Producer Library has packed into one record is one to the machine, of
// the buckets of all its keys. It is unpacked only in the event: under the sequence number of
// the whole, so that a function that names one of them as failed names all.

// unpack has a record be of all the keys in it, and of the size that its event has.
func unpack(r *shard.Record, data []byte, sizer runtime.RecordSizer) {
	users := stream.Deaggregate(data)
	if users == nil {
		return
	}
	size := 0
	for i := range users {
		r.Also |= 1 << stream.Bucket(users[i].PartitionKey)
		size += sizer.SubSize(users[i].PartitionKey, len(users[i].Data), i)
	}
	r.Size = int32(min(size, 1<<31-1))
}

// Deaggregated is a batch as a trigger with that option hands it over.
func Deaggregated(b *runtime.Batch) *runtime.Batch {
	b, _ = deaggregated(b)
	return b
}

// deaggregated is a batch with the records in aggregates in their place, and for each the
// index of the one that it came in. Without aggregates it is the batch itself, and nil.
func deaggregated(b *runtime.Batch) (*runtime.Batch, []int) {
	var records []runtime.Record
	var member []int
	for i := range b.Records {
		whole := &b.Records[i]
		users := stream.Deaggregate(whole.Data)
		if users != nil && member == nil {
			records = append(records, b.Records[:i]...)
			for before := range i {
				member = append(member, before)
			}
		}
		switch {
		case users != nil:
			for sub := range users {
				one := *whole
				one.PartitionKey, one.Data, one.Aggregated, one.SubSequence = users[sub].PartitionKey, users[sub].Data, true, sub
				records, member = append(records, one), append(member, i)
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
