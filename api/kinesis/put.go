package kinesis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

var (
	dataShape = wire.Blob(0, stream.MaxRecordBytes)
	keyShape  = wire.String(1, stream.MaxKeyChars, "")
)

var putRecordInput = wire.Structure(
	must("Data", dataShape),
	must("PartitionKey", keyShape),
	may("ExplicitHashKey", hashKeyShape),
	may("SequenceNumberForOrdering", sequenceShape),
	byName, byARN, byID,
)

var putRecordsInput = wire.Structure(
	must("Records", wire.List(wire.Structure(
		must("Data", dataShape),
		may("ExplicitHashKey", hashKeyShape),
		must("PartitionKey", keyShape),
	).Printed("com.amazonaws.kinesis.v20131202.PutRecordsRequestEntry@c965e310"), 1, stream.MaxPutRecords)),
	byName, byARN, byID,
)

// Codes of what goes wrong with records, in a call and in each result of PutRecords.
const (
	codeThroughput = "ProvisionedThroughputExceededException"
	codeInternal   = "InternalFailure"
)

// putRecordAnswer is what PutRecord answers.
type putRecordAnswer struct {
	result     stream.PutResult
	encryption string
}

func (s *service) putRecord(ctx context.Context, c *wire.Call) (any, error) {
	in, ok := c.Fast.(*putInput)
	if !ok {
		in = putInputOf(c.In)
		in.entries = []stream.Entry{entryOf(c.In)}
		in.ordering = c.In.String("SequenceNumberForOrdering")
	}
	d, results, err := s.put(ctx, c, in)
	if err != nil {
		return nil, err
	}
	if err := results[0].Err; err != nil {
		code, message := s.refuse(ctx, d, results[0])
		if code == codeInternal {
			return nil, &wire.Error{Code: code, Status: 500, Message: message, Cause: err}
		}
		return nil, &wire.Error{Code: code, Message: message, Cause: err}
	}
	return &putRecordAnswer{results[0], encryption(d)}, nil
}

// putRecordsAnswer is what PutRecords answers.
type putRecordsAnswer struct {
	results    []stream.PutResult
	refused    []refusal // by result, if there are any at all
	failed     int
	encryption string
}

type refusal struct{ code, message string }

func (s *service) putRecords(ctx context.Context, c *wire.Call) (any, error) {
	in, ok := c.Fast.(*putInput)
	if !ok {
		in = putInputOf(c.In)
		in.entries = entriesOf(c.In)
	}
	d, results, err := s.put(ctx, c, in)
	if err != nil {
		return nil, err
	}
	a := &putRecordsAnswer{results: results, encryption: encryption(d)}
	for i := range results {
		if results[i].Err == nil {
			continue
		}
		if a.refused == nil {
			a.refused = make([]refusal, len(results))
		}
		a.failed++
		a.refused[i].code, a.refused[i].message = s.refuse(ctx, d, results[i])
	}
	return a, nil
}

func putInputOf(v wire.Values) *putInput {
	return &putInput{name: v.String("StreamName"), arn: v.String("StreamARN"), id: v.String("StreamId")}
}

func entryOf(v wire.Values) stream.Entry {
	return stream.Entry{PartitionKey: v.String("PartitionKey"), ExplicitHashKey: v.String("ExplicitHashKey"), Data: v.Bytes("Data")}
}

func entriesOf(v wire.Values) (entries []stream.Entry) {
	for _, r := range v.List("Records") {
		entries = append(entries, entryOf(r.(wire.Values)))
	}
	return entries
}

// put stores the records of a call, or says why nothing of it is stored.
func (s *service) put(ctx context.Context, c *wire.Call, in *putInput) (*stream.Description, []stream.PutResult, error) {
	ref, err := s.ref(ctx, c, in.name, in.arn, in.id)
	if err != nil {
		return nil, nil, err
	}
	d, err := s.Streams.Peek(ref)
	if err != nil {
		return nil, nil, s.fault(ctx, ref, err)
	}
	if in.ordering != "" {
		n, ok := parseNumber(in.ordering)
		if !ok || n.time > time.Now().Unix() {
			return nil, nil, invalid("ExclusiveMinimumSequenceNumber %s used in PutRecord on stream %s under account %s is invalid.", in.ordering, ref.Name, ref.Account)
		}
	}
	if err := checkEntries(c, d, in.entries); err != nil {
		return nil, nil, err
	}
	results, err := s.putWithin(ctx, c, d, in.entries)
	if err != nil {
		return nil, nil, s.fault(ctx, ref, err)
	}
	return d, results, nil
}

// putWithin stores those of entries that are within the quotas, if there are any, and are
// not to fail on request.
func (s *service) putWithin(ctx context.Context, c *wire.Call, d *stream.Description, entries []stream.Entry) ([]stream.PutResult, error) {
	refused := s.Limits.write(time.Now(), d, entries)
	var failing []*wire.Error
	if c.Operation.Name == "PutRecords" {
		failing = s.Faults.Records("kinesis", c.Operation.Name, len(entries))
	}
	if refused == nil && failing == nil {
		return s.Streams.Put(ctx, d.Ref, entries)
	}
	results := make([]stream.PutResult, len(entries))
	var within []stream.Entry
	var at []int
	for i := range entries {
		switch {
		case failing != nil && failing[i] != nil:
			results[i].Err = failing[i]
		case refused != nil && refused[i] != "":
			results[i] = stream.PutResult{Shard: refused[i], Err: errThroughput}
		default:
			within, at = append(within, entries[i]), append(at, i)
		}
	}
	if len(within) > 0 {
		stored, err := s.Streams.Put(ctx, d.Ref, within)
		if err != nil {
			return nil, err
		}
		for i, r := range stored {
			results[at[i]] = r
		}
	}
	return results, nil
}

// checkEntries is what the tables cannot check of records. Everything that the store
// would refuse the call for is refused here, in AWS's words where they are known.
func checkEntries(c *wire.Call, d *stream.Description, entries []stream.Entry) error {
	total := 0
	for i := range entries {
		e := &entries[i]
		if e.ExplicitHashKey != "" {
			if _, err := stream.ParseHashKey(e.ExplicitHashKey); err != nil {
				return invalid("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was %s", e.ExplicitHashKey)
			}
		}
		if e.Size() > d.RecordBytes {
			return tooLarge(c, d, i, e)
		}
		total += e.Size()
	}
	if total > stream.MaxPutBytes {
		return invalid("Records size exceeds %d MB limit", stream.MaxPutBytes>>20)
	}
	return nil
}

// tooLarge is a record above the stream's own limit. What AWS's table said of data when
// every stream had the same limit is what clients look for; that the key counts too has no
// recorded text.
func tooLarge(c *wire.Call, d *stream.Description, i int, e *stream.Entry) error {
	if len(e.Data) <= d.RecordBytes {
		return invalid("Record of %d bytes, data and partition key, exceeds the maximum record size of %d bytes of stream %s under account %s.", e.Size(), d.RecordBytes, d.Name, d.Account)
	}
	at := "data"
	if c.Operation.Name == "PutRecords" {
		at = "records." + strconv.Itoa(i+1) + ".member.data"
	}
	return wire.Errorf(codeValidation, "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=%d cap=%d]' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d",
		len(e.Data), len(e.Data), at, d.RecordBytes)
}

// refuse says in AWS's words why a record is not stored, or may not be. What has no room in
// the stream, ours alone, is told as what clients wait and try again for.
func (s *service) refuse(ctx context.Context, d *stream.Description, r stream.PutResult) (code, message string) {
	if q, ok := errors.AsType[*stream.QuotaError](r.Err); ok {
		return codeThroughput, q.Error()
	}
	if injected, ok := errors.AsType[*wire.Error](r.Err); ok {
		return injected.Code, injected.Message
	}
	if errors.Is(r.Err, errThroughput) {
		return codeThroughput, rateExceeded(d.Ref, r.Shard).Message
	}
	if !errors.Is(r.Err, stream.ErrUnavailable) && ctx.Err() == nil {
		s.Logger.ErrorContext(ctx, "a record was not stored", "stream", d.Name, "shard", r.Shard, "error", r.Err)
	}
	return codeInternal, "Internal Service Failure"
}
