package kinesis

import (
	"context"
	"errors"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

var getRecordsInput = wire.Structure(
	must("ShardIterator", wire.String(1, maxIterator, "")),
	may("Limit", pageShape),
	byARN, byID,
)

// getRecordsAnswer is what GetRecords answers.
type getRecordsAnswer struct {
	records    []stream.Record
	encryption string
	next       string // "" at the end of a closed shard
	behind     time.Duration
	ended      bool
	children   []stream.Shard
}

func (s *service) getRecords(ctx context.Context, c *wire.Call) (any, error) {
	in, ok := c.Fast.(*getInput)
	if !ok {
		in = getInputOf(c.In)
	}
	it, ok := s.seal.open(in.iterator)
	now := time.Now()
	if !ok || it.issued > now.Add(clockStep).UnixMilli() || it.ref.Account != c.Account || it.ref.Region != c.Region {
		return nil, invalid("Invalid ShardIterator.")
	}
	if in.arn != "" || in.id != "" {
		ref, err := s.ref(ctx, c, "", in.arn, in.id)
		if err != nil {
			return nil, err
		}
		if ref != it.ref {
			return nil, invalid("ShardIterator is not one of stream %s under account %s.", ref.Name, ref.Account)
		}
	}
	if issued := time.UnixMilli(it.issued); now.Sub(issued) > iteratorLife {
		return nil, wire.Errorf("ExpiredIteratorException", "Iterator expired. The iterator was created at time %s while right now it is %s which is further in the future than the tolerated delay of %d milliseconds.",
			stamp(issued), stamp(now), iteratorLife.Milliseconds())
	}
	d, err := s.Streams.Peek(it.ref)
	id := stream.ShardID(it.shard)
	if err != nil {
		return nil, goneShard(it.ref, id)
	}
	if !s.Limits.read(now, d.ID, id) {
		return nil, rateExceeded(it.ref, id)
	}
	page, err := s.Streams.Read(ctx, it.ref, id, it.at, in.limit)
	if err != nil {
		return nil, s.readFault(ctx, it.ref, id, page.Next, err)
	}
	s.Limits.gave(now, d.ID, id, page.Records)
	a := &getRecordsAnswer{records: page.Records, encryption: encryption(d), behind: page.Behind, ended: page.Ended}
	if page.Ended {
		a.children = s.children(it.ref, id)
	} else {
		a.next = s.issue(it.ref, it.shard, page.Next)
	}
	return a, nil
}

func getInputOf(v wire.Values) *getInput {
	return &getInput{v.String("ShardIterator"), v.String("StreamARN"), v.String("StreamId"), int(v.Int("Limit"))}
}

// readFault turns an error of reading from a position that was good once into AWS's.
func (s *service) readFault(ctx context.Context, ref stream.Ref, shard string, next stream.Position, err error) error {
	if damaged, ok := errors.AsType[*stream.CorruptError](err); ok {
		// AWS knows nothing of the kind. Going on by itself would hide the loss; so the
		// reader is told how to.
		e := &wire.Error{Code: "InternalFailureException", Status: 500, Message: damaged.Error() + ".", Cause: err}
		if !next.Sequence.IsZero() {
			e.Message += " What lies behind can be read from AT_SEQUENCE_NUMBER " + next.Sequence.String() + "."
		}
		return e
	}
	if errors.Is(err, stream.ErrNotFound) || errors.Is(err, stream.ErrInvalid) {
		return goneShard(ref, shard) // it expired, or the stream was deleted and made again
	}
	return s.fault(ctx, ref, err)
}

// children are the shards that go on where a closed one ended.
func (s *service) children(ref stream.Ref, parent string) (children []stream.Shard) {
	d, err := s.Streams.Peek(ref)
	if err != nil {
		return nil
	}
	for _, sh := range d.Shards {
		for _, p := range sh.Parents {
			if p == parent {
				children = append(children, sh)
			}
		}
	}
	return children
}
