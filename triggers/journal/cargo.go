package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Cargo is what a commit carries beside the checkpoint that it makes true.
type Cargo struct {
	Letters []dlq.Letter
	// Outputs are in order of emission when they are committed. When they are
	// read, the index of one is its place ([triggers.Output] are sorted by
	// stream and hash key, see the package's text).
	Outputs []triggers.Output
	// Notices are for destinations of discarded batches. Those to one destination are in
	// order; when they are read, those to another may come before them.
	Notices []triggers.Notice
	// Redriven are ids of dead letters that are done, or buried again among Letters.
	Redriven []string
	// Trigger is the name that the mapping has now, for people who find an output
	// among the dead letters. It is kept with outputs only.
	Trigger string
}

// Size is how many things there are in the cargo.
func (c *Cargo) Size() int { return len(c.Letters) + len(c.Outputs) + len(c.Notices) + len(c.Redriven) }

// index says whose outputs there are, in order.
type index struct {
	trigger string
	groups  []group
}

type group struct {
	stream, arn string
	count       int
	size        int // bytes in the wire form
}

// outputs counts all of them.
func (x *index) outputs() (n int) {
	for _, g := range x.groups {
		n += g.count
	}
	return n
}

// bytes counts those of all payloads.
func (x *index) bytes() (n int64) {
	for _, g := range x.groups {
		n += int64(g.size)
	}
	return n
}

// sorted is outputs in the order in which they are stored.
func sorted(outputs []triggers.Output) []triggers.Output {
	type keyed struct {
		triggers.Output
		hash stream.HashKey
	}
	all := make([]keyed, len(outputs))
	for i, o := range outputs {
		all[i] = keyed{o, stream.HashOf(o.PartitionKey)}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		if c := strings.Compare(a.StreamID, b.StreamID); c != 0 {
			return c
		}
		return a.hash.Compare(b.hash)
	})
	out := make([]triggers.Output, len(all))
	for i := range all {
		out[i] = all[i].Output
	}
	return out
}

// appendOutputs writes sorted outputs: the index section's content, and the payloads.
func appendOutputs(trigger string, outputs []triggers.Output) (head, wire []byte) {
	if len(outputs) == 0 {
		return nil, nil
	}
	head = appendChunk(nil, trigger)
	for from := 0; from < len(outputs); {
		to, start := from, len(wire)
		for ; to < len(outputs) && outputs[to].StreamID == outputs[from].StreamID; to++ {
			o := &outputs[to]
			wire = appendChunk(wire, o.ID)
			wire = appendChunk(wire, o.PartitionKey)
			wire = appendChunk(wire, o.TraceParent)
			wire = appendChunk(wire, o.Data)
		}
		head = appendChunk(head, outputs[from].StreamID)
		head = appendChunk(head, outputs[from].Stream)
		head = binary.AppendUvarint(head, uint64(to-from))
		head = binary.AppendUvarint(head, uint64(len(wire)-start))
		from = to
	}
	return head, wire
}

func appendChunk[T string | []byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func readIndex(s *reader) index {
	x := index{trigger: string(s.chunk())}
	total := uint64(0)
	for s.err == nil && len(s.b) > 0 {
		g := group{stream: string(s.chunk()), arn: string(s.chunk())}
		count, size := s.uvarint(), s.uvarint()
		// An output takes four bytes at least.
		if total += size; size > math.MaxInt32 || total > math.MaxInt32 || count == 0 || count > size/4 {
			s.fail("count of outputs")
			break
		}
		g.count, g.size = int(count), int(size)
		x.groups = append(x.groups, g)
	}
	return x
}

// readOutputs reads the payloads. They alias wire.
func readOutputs(x *index, wire []byte) ([]triggers.Output, error) {
	out := make([]triggers.Output, 0, x.outputs())
	r := &reader{b: wire}
	for _, g := range x.groups {
		part := &reader{b: r.take(g.size), err: r.err}
		for range g.count {
			o := triggers.Output{StreamID: g.stream, Stream: g.arn}
			o.ID, o.PartitionKey, o.TraceParent, o.Data = string(part.chunk()), string(part.chunk()), string(part.chunk()), part.chunk()
			if part.err != nil {
				return nil, fmt.Errorf("output %d: %w", len(out), part.err)
			}
			out = append(out, o)
		}
		if len(part.b) > 0 {
			return nil, fmt.Errorf("%w: bytes behind the outputs to %s", ErrCorrupt, g.stream)
		}
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("%w: bytes behind the last output", ErrCorrupt)
	}
	return out, nil
}

// checkOutputs refuses what could not be told apart, or not be buried.
func checkOutputs(outputs []triggers.Output) error {
	for _, o := range outputs {
		if o.ID == "" || o.StreamID == "" || strings.ContainsAny(o.StreamID, ".*> \t\r\n/\\") {
			return fmt.Errorf("%w: output %q to stream %q", triggers.ErrInvalid, o.ID, o.StreamID)
		}
	}
	return nil
}

// Read hands over the cargo of each commit in (after, upTo] that has any, with
// the sequence of the commit, ascending, until fn fails. Payloads may be kept.
func (s *Store) Read(ctx context.Context, src triggers.Source, after, upTo uint64, fn func(sequence uint64, c Cargo) error) error {
	return s.scan(ctx, src, after, upTo, func(l *ledger.Ledger, c *commit) error {
		cargo := Cargo{Redriven: c.redriven, Trigger: c.index.trigger}
		var err error
		if cargo.Letters, err = s.lettersOf(ctx, l, c); err != nil {
			return err
		}
		if cargo.Outputs, err = s.outputsOf(ctx, l, c); err != nil {
			return err
		}
		if cargo.Notices, err = s.noticesOf(ctx, l, c, func(string) bool { return true }); err != nil {
			return err
		}
		return fn(c.sequence, cargo)
	})
}

// Letters hands over the letters of commits in (after, upTo] with their
// positions, ascending, until fn fails. Their payloads may be kept.
func (s *Store) Letters(ctx context.Context, src triggers.Source, after, upTo uint64, fn func(dlq.Position, dlq.Letter) error) error {
	return s.scan(ctx, src, after, upTo, func(l *ledger.Ledger, c *commit) error {
		letters, err := s.lettersOf(ctx, l, c)
		if err != nil {
			return err
		}
		for i, letter := range letters {
			if err := fn(dlq.Position{Sequence: c.sequence, Index: uint32(i)}, letter); err != nil {
				return err
			}
		}
		return nil
	})
}

// Outputs does the same for outputs to one stream, commit by commit: fn gets
// those of a commit and the place of the first, the others follow it. It is
// called for commits with other cargo too, without outputs.
func (s *Store) Outputs(ctx context.Context, src triggers.Source, streamID string, after, upTo uint64, fn func(at dlq.Position, trigger string, outputs []triggers.Output) error) error {
	return s.scan(ctx, src, after, upTo, func(l *ledger.Ledger, c *commit) error {
		at := dlq.Position{Sequence: c.sequence}
		for _, g := range c.index.groups {
			if g.stream != streamID {
				at.Index += uint32(g.count)
				continue
			}
			all, err := s.outputsOf(ctx, l, c)
			if err != nil {
				return err
			}
			return fn(at, c.index.trigger, all[at.Index:int(at.Index)+g.count])
		}
		return fn(dlq.Position{Sequence: c.sequence}, c.index.trigger, nil)
	})
}

// scan hands over the commits in (after, upTo] that have cargo, ascending.
func (s *Store) scan(ctx context.Context, src triggers.Source, after, upTo uint64, fn func(*ledger.Ledger, *commit) error) error {
	if after >= upTo {
		return nil
	}
	l := s.ledger(src.Mapping)
	err := l.Scan(ctx, subject(kindCommit, src), after+1, upTo, func(e ledger.Entry) error {
		c, err := decodeCommit(e.Sequence, e.Data)
		if err != nil {
			return err
		}
		if !c.laden() {
			return nil
		}
		return fn(l, c)
	})
	if err != nil {
		return s.about(src, err)
	}
	return nil
}

func (s *Store) lettersOf(ctx context.Context, l *ledger.Ledger, c *commit) ([]dlq.Letter, error) {
	if c.count == 0 {
		return nil, nil
	}
	wire, err := s.payload(ctx, l, c, c.letters, c.blobs)
	if err != nil {
		return nil, err
	}
	var out []dlq.Letter
	for i := range c.count {
		var letter dlq.Letter
		if letter, wire, err = dlq.ReadWire(wire); err != nil {
			return nil, fmt.Errorf("%w: commit %d: letter %d: %w", ErrCorrupt, c.sequence, i, err)
		}
		out = append(out, letter)
	}
	return out, nil
}

func (s *Store) outputsOf(ctx context.Context, l *ledger.Ledger, c *commit) ([]triggers.Output, error) {
	if len(c.index.groups) == 0 {
		return nil, nil
	}
	wire, err := s.payload(ctx, l, c, c.outputs, c.outBlobs)
	if err != nil {
		return nil, err
	}
	out, err := readOutputs(&c.index, wire)
	if err != nil {
		return nil, fmt.Errorf("commit %d: %w", c.sequence, err)
	}
	return out, nil
}

// payload is inline, or what the blobs hold that the commit names instead.
func (s *Store) payload(ctx context.Context, l *ledger.Ledger, c *commit, inline []byte, b blobs) ([]byte, error) {
	if len(b.sequences) == 0 {
		return inline, nil
	}
	var wire bytes.Buffer
	for _, seq := range b.sequences {
		e, found, err := l.Get(ctx, seq)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("%w: commit %d: blob %d is gone", ErrCorrupt, c.sequence, seq)
		}
		wire.Write(e.Data)
	}
	if uint64(wire.Len()) != b.size || crc32.Checksum(wire.Bytes(), castagnoli) != b.sum {
		return nil, fmt.Errorf("%w: commit %d: its blobs hold other data", ErrCorrupt, c.sequence)
	}
	return wire.Bytes(), nil
}
