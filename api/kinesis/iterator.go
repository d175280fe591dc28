package kinesis

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

const (
	// maxIterator is the most characters of a shard iterator.
	maxIterator = 512
	// iteratorLife is how long one can be used after it was given out.
	iteratorLife = 300 * time.Second
	// clockStep is how far the clock may be set back while one is out.
	clockStep = 10 * time.Second
)

// iterator is a place in a shard, as clients carry it about. Its position is always a
// sequence number, so that it is worth nothing in a later stream of the same name.
type iterator struct {
	ref    stream.Ref
	shard  int             // index
	at     stream.Position // of kind At or After
	issued int64           // Unix milliseconds
}

// sealer turns iterators into texts that nobody else can read or make, and keeps no
// record of them.
type sealer struct{ aead cipher.AEAD }

// newSealer takes a secret; in place of a zero one it makes one up.
func newSealer(secret [32]byte) *sealer {
	if secret == ([32]byte{}) {
		rand.Read(secret[:]) // never fails
	}
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err) // the length is right
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // so is the cipher
	}
	return &sealer{aead}
}

// placed is the part of an iterator that always takes as many bytes.
type placed struct {
	Issued     int64
	Shard      uint32
	After      bool
	Epoch      uint32
	Low        uint8 // of the shard's index, as it stands in the number
	Frame      uint64
	Index      uint16
	Time       uint32
	Number     uint64
	Account    [12]byte
	RegionSize uint8
}

var placedSize = binary.Size(placed{})

// seal writes an iterator: 384 characters at most.
func (s *sealer) seal(it iterator) string {
	n := it.at.Sequence
	p := placed{
		Issued: it.issued, Shard: uint32(it.shard), After: it.at.Kind == stream.After,
		Epoch: n.Epoch, Low: n.Shard, Frame: n.Frame, Index: n.Index, Time: n.Time, Number: it.at.Number, RegionSize: uint8(len(it.ref.Region)),
	}
	copy(p.Account[:], it.ref.Account)
	b, err := binary.Append(make([]byte, 0, 256), binary.BigEndian, &p)
	if err != nil {
		panic(err) // numbers and arrays of them
	}
	b = append(append(b, it.ref.Region...), it.ref.Name...)
	return base64.StdEncoding.EncodeToString(s.aead.Seal(bytes.Clone(tokenHead), nil, b, tokenHead))
}

// open reads an iterator; false if seal did not write it.
func (s *sealer) open(text string) (iterator, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	b, ok := bytes.CutPrefix(b, tokenHead)
	if err != nil || !ok || len(text) > maxIterator {
		return iterator{}, false
	}
	if b, err = s.aead.Open(b[:0], nil, b, tokenHead); err != nil || len(b) < placedSize {
		return iterator{}, false
	}
	var p placed
	if _, err := binary.Decode(b, binary.BigEndian, &p); err != nil {
		return iterator{}, false
	}
	names := string(b[placedSize:])
	if len(names) < int(p.RegionSize) {
		return iterator{}, false
	}
	it := iterator{
		ref:    stream.Ref{Account: string(p.Account[:]), Region: names[:p.RegionSize], Name: names[p.RegionSize:]},
		shard:  int(p.Shard),
		issued: p.Issued,
		at: stream.Position{Kind: stream.At, Number: p.Number, Sequence: stream.SequenceNumber{
			Epoch: p.Epoch, Shard: p.Low, Frame: p.Frame, Index: p.Index, Time: p.Time,
		}},
	}
	if p.After {
		it.at.Kind = stream.After
	}
	return it, true
}

// issue is the text of an iterator that begins to live now.
func (s *service) issue(ref stream.Ref, shard int, at stream.Position) string {
	return s.seal.seal(iterator{ref, shard, at, time.Now().UnixMilli()})
}

var (
	iteratorTypes = []string{"AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON"}

	getShardIteratorInput = wire.Structure(
		must("ShardId", nameShape),
		must("ShardIteratorType", wire.Enum(iteratorTypes...)),
		may("StartingSequenceNumber", sequenceShape),
		may("Timestamp", wire.Timestamp()),
		byName, byARN, byID,
	)
)

type getShardIteratorAnswer struct {
	ShardIterator string `json:"ShardIterator"`
}

func (s *service) getShardIterator(ctx context.Context, c *wire.Call) (any, error) {
	ref, err := s.ref(ctx, c, c.In.String("StreamName"), c.In.String("StreamARN"), c.In.String("StreamId"))
	if err != nil {
		return nil, err
	}
	id, index, ok := shardID(c.In.String("ShardId"))
	if !ok {
		return nil, noShard(ref, c.In.String("ShardId"))
	}
	sh, err := s.readable(ref, id, index)
	if err != nil {
		return nil, err
	}
	if d, err := s.Streams.Peek(ref); err == nil && !s.Limits.iterate(time.Now(), d.ID, sh.ID) {
		return nil, rateExceeded(ref, sh.ID)
	}
	at, err := s.place(ctx, c, ref, sh, start{
		kind: c.In.String("ShardIteratorType"), number: c.In.String("StartingSequenceNumber"),
		time: c.In.Time("Timestamp"), timed: c.In.Has("Timestamp"),
	})
	if err != nil {
		return nil, err
	}
	return getShardIteratorAnswer{s.issue(ref, sh.Index, at)}, nil
}

// readable is a shard of a stream that may be read.
func (s *service) readable(ref stream.Ref, id string, index int) (stream.Shard, error) {
	if d, err := s.Streams.Peek(ref); err == nil && (d.State == stream.Active || d.State == stream.Updating) {
		for _, sh := range d.Shards {
			if sh.Index == index {
				return sh, nil
			}
		}
	}
	return stream.Shard{}, goneShard(ref, id)
}

func goneShard(ref stream.Ref, id string) *wire.Error {
	return wire.Errorf(codeNotFound, "Shard %s in stream %s under account %s does not exist", id, ref.Name, ref.Account)
}

// start is where a client wants to begin.
type start struct {
	kind   string // one of iteratorTypes
	number string // StartingSequenceNumber, "" is not given
	time   time.Time
	timed  bool // time is given
}

// place turns a start into a position of kind At or After: in a shard without such a
// record yet, that of the one to come.
func (s *service) place(ctx context.Context, c *wire.Call, ref stream.Ref, sh stream.Shard, from start) (stream.Position, error) {
	pos := stream.Position{Kind: stream.PositionKind(from.kind)}
	switch pos.Kind {
	case stream.TrimHorizon, stream.Latest:
		if from.number != "" {
			return pos, startMismatch(from.kind, "also a")
		}
	case stream.AtTimestamp:
		if !from.timed {
			return pos, invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.")
		}
		if now := time.Now(); from.time.After(now) {
			return pos, invalid("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: %d, currentTimestampInMillis: %d", from.time.UnixMilli(), now.UnixMilli())
		}
		pos.Time = from.time
	case stream.At, stream.After:
		if from.number == "" {
			return pos, startMismatch(from.kind, "no")
		}
		n, err := startNumber(c, ref, sh, from.number)
		if err != nil {
			return pos, err
		}
		if pos.Sequence = n; isCursor(n) {
			pos.Kind = stream.At
		}
	}
	// A page of one record tells whether there is such a place, and where.
	page, err := s.Streams.Read(ctx, ref, sh.ID, pos, 1)
	damaged, isDamaged := errors.AsType[*stream.CorruptError](err)
	switch {
	case isDamaged:
		return stream.Position{Kind: stream.At, Sequence: damaged.Sequence}, nil
	case errors.Is(err, stream.ErrNotFound):
		return pos, goneShard(ref, sh.ID)
	case errors.Is(err, stream.ErrInvalid) && from.number != "":
		return pos, badNumber(c, ref, sh, from.number, "")
	case err != nil:
		return pos, s.fault(ctx, ref, err)
	case !pos.Sequence.IsZero():
		return pos, nil
	case pos.Kind == stream.TrimHorizon:
		return stream.Position{Kind: stream.At, Sequence: sh.Starting()}, nil // moves on with retention
	case len(page.Records) == 1:
		return stream.Position{Kind: stream.At, Sequence: page.Records[0].Sequence, Number: page.Records[0].Number}, nil
	}
	return page.Next, nil
}

func startMismatch(kind, number string) *wire.Error {
	return invalid("Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified %s and %s StartingSequenceNumber.", kind, number)
}

// startNumber reads a sequence number that is to be one of sh.
func startNumber(c *wire.Call, ref stream.Ref, sh stream.Shard, text string) (stream.SequenceNumber, error) {
	n, ok := parseNumber(text)
	switch {
	case !ok:
		return stream.SequenceNumber{}, badNumber(c, ref, sh, text, "")
	case n.version < 2 && n.shard != int64(sh.Index) || n.version == 2 && n.shard != int64(sh.Index&15):
		return stream.SequenceNumber{}, invalid("Invalid StartingSequenceNumber. It encodes %s, while it was used in a call to a shard with %s", numberedShard(n.shard), sh.ID)
	}
	number, err := stream.ParseSequence(text)
	if err != nil || n.created != int64(sh.Epoch) {
		return stream.SequenceNumber{}, badNumber(c, ref, sh, text, " because it did not come from this stream.")
	}
	return number, nil
}

func badNumber(c *wire.Call, ref stream.Ref, sh stream.Shard, text, why string) *wire.Error {
	if why == "" {
		why = "."
	}
	return invalid("StartingSequenceNumber %s used in %s on shard %s in stream %s under account %s is invalid%s", text, c.Operation.Name, sh.ID, ref.Name, ref.Account, why)
}

// numberedShard is the id of the shard that a number encodes, negative ones too.
func numberedShard(index int64) string {
	if index < 0 {
		return fmt.Sprintf("shardId--%011d", -index)
	}
	return stream.ShardID(int(index))
}

// isCursor says that n stands for the beginning of a frame of the store: no record bears
// it, because records have a time.
func isCursor(n stream.SequenceNumber) bool { return n.Time == 0 && n.Index == 0 }
