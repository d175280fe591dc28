// Package store keeps dead letters on disk: one message each in the JetStream
// stream MORGUE, on a subject for each lane. The records of a source have one,
// m.<mapping>.<generation>.<shard>, and its outputs to a stream that is gone have
// one of their own, m.<mapping>.<generation>.<shard>.<stream id>.
//
// Every message bears the position its letter had in the journal of its source
// ([dlq.Position]), and a letter is appended behind the newest message that the
// writer knows. So the newest message of a lane says how far its letters have
// come, and appending a letter again, after whatever crash, adds nothing. That
// message may be turned into a [Store.Hide]n one, which bears the position
// without the letter, but has to stay until the journal has noted it.
//
// When letters may be seen and dropped is left to package morgue.
//
// # Format of a message
//
//	"WD"  version (1 byte, now 1)  kind (1 byte: 1 letter, 2 hidden)
//	position: sequence, index (uvarints)
//	letter as dlq.AppendWire writes it; nothing if hidden
//	CRC-32C of all before it (4 bytes, little endian)
package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

const (
	stream = "MORGUE"
	all    = "m.>"

	version    = 1
	kindLetter = 1
	kindHidden = 2

	// rounds is how often an append of unknown outcome is looked for before the
	// caller is asked to come back.
	rounds = 3
)

// ErrCorrupt means a message is not as it was written, or was written by a
// newer release.
var ErrCorrupt = errors.New("dlq: corrupt")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Lane is a row of letters that are appended one behind the other.
type Lane struct {
	triggers.Source
	// Target is the incarnation of the stream that outputs were on their way to;
	// empty: it is the lane of the source's records.
	Target string
}

// Code is the first part of the ids of letters that were first buried here.
func (l Lane) Code() string {
	if l.Target == "" {
		return dlq.SourceCode(l.Mapping, l.Generation, l.Shard)
	}
	return dlq.OutputCode(l.Mapping, l.Generation, l.Shard, l.Target)
}

// Message is one dead letter where it is kept.
type Message struct {
	Sequence uint64 // in the morgue, from 1
	Lane     Lane
	Position dlq.Position
	Stored   time.Time
	Hidden   bool // bears its position only
	Letter   dlq.Letter
}

// Tail is the newest message of a lane. The zero value: there is none.
type Tail struct {
	Sequence uint64
	Position dlq.Position
}

// Store is the morgue's stream. Safe for concurrent use.
type Store struct {
	srv *natsd.Server
	l   *ledger.Ledger
}

// Open makes the stream if it is not there.
func Open(ctx context.Context, srv *natsd.Server) (*Store, error) {
	s := &Store{srv, ledger.At(srv, stream)}
	if err := s.l.Create(ctx, all); err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	return s, nil
}

func subject(lane Lane) string {
	subj := "m." + lane.Mapping + "." + strconv.Itoa(lane.Generation) + "." + lane.Shard
	if lane.Target != "" {
		subj += "." + lane.Target
	}
	return subj
}

func laneOf(subj string) (Lane, bool) {
	parts := strings.Split(subj, ".")
	if len(parts) != 4 && len(parts) != 5 {
		return Lane{}, false
	}
	generation, err := strconv.Atoi(parts[2])
	lane := Lane{Source: triggers.Source{Mapping: parts[1], Generation: generation, Shard: parts[3]}}
	if len(parts) == 5 {
		lane.Target = parts[4]
	}
	return lane, err == nil
}

func encode(kind byte, at dlq.Position, l *dlq.Letter) ([]byte, error) {
	var n int
	if l != nil {
		n = len(l.Data) + 2048
	}
	b := append(make([]byte, 0, n+32), 'W', 'D', version, kind)
	b = binary.AppendUvarint(b, at.Sequence)
	b = binary.AppendUvarint(b, uint64(at.Index))
	if l != nil {
		var err error
		if b, err = dlq.AppendWire(b, l); err != nil {
			return nil, err
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func decode(e ledger.Entry) (Message, error) {
	bad := func(why string) (Message, error) {
		return Message{}, fmt.Errorf("%w: message %d: %s", ErrCorrupt, e.Sequence, why)
	}
	m := Message{Sequence: e.Sequence, Stored: e.Stored}
	b, ok := e.Data, false
	if m.Lane, ok = laneOf(e.Subject); !ok {
		return bad("subject " + e.Subject)
	}
	if len(b) < 10 || b[0] != 'W' || b[1] != 'D' {
		return bad("no dead letter")
	}
	if b[2] != version {
		return bad(fmt.Sprintf("version %d: this release reads %d", b[2], version))
	}
	end := len(b) - 4
	if binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return bad("checksum differs")
	}
	kind, b := b[3], b[4:end]
	seq, n := binary.Uvarint(b)
	if n <= 0 {
		return bad("cut short")
	}
	index, w := binary.Uvarint(b[n:])
	if w <= 0 || index > math.MaxUint32 {
		return bad("cut short")
	}
	m.Position = dlq.Position{Sequence: seq, Index: uint32(index)}
	switch kind {
	case kindHidden:
		m.Hidden = true
	case kindLetter:
		var err error
		if m.Letter, _, err = dlq.ReadWire(b[n+w:]); err != nil {
			return bad(err.Error())
		}
	default:
		return bad(fmt.Sprintf("kind %d", kind))
	}
	return m, nil
}

// Tail reads the newest message of lane. If that is damaged ([ErrCorrupt]), the
// sequence is returned all the same.
func (s *Store) Tail(ctx context.Context, lane Lane) (Tail, error) {
	e, found, err := s.l.Last(ctx, subject(lane))
	if err != nil || !found {
		return Tail{}, wrap(err)
	}
	m, err := decode(e)
	return Tail{e.Sequence, m.Position}, err
}

// Append stores the letter of lane that has position at, unless it or a later
// one was stored before, and returns the new tail. tail is what the caller
// thinks is the newest; it may be outdated. When Append fails, call again with
// the tail that [Store.Tail] reads.
func (s *Store) Append(ctx context.Context, lane Lane, tail Tail, at dlq.Position, l *dlq.Letter) (Tail, error) {
	if tail.Position.Compare(at) >= 0 {
		return tail, nil
	}
	b, err := encode(kindLetter, at, l)
	if err != nil {
		return tail, err
	}
	return s.append(ctx, lane, tail, at, b)
}

func (s *Store) append(ctx context.Context, lane Lane, tail Tail, at dlq.Position, b []byte) (Tail, error) {
	var last error
	for range rounds {
		if err := s.srv.Admit(natsd.Journal, len(b)); err != nil {
			return tail, wrap(err)
		}
		var seq uint64
		if seq, last = s.l.Append(ctx, subject(lane), tail.Sequence, b); last == nil {
			return Tail{seq, at}, nil
		}
		if !errors.Is(last, ledger.ErrRefused) {
			s.srv.Failed(last)
			if err := s.srv.Healthy(ctx); err != nil {
				return tail, wrap(fmt.Errorf("%w: %w", last, err))
			}
		}
		// Either it is there, or the tail was hidden or dropped meanwhile.
		now, err := s.Tail(ctx, lane)
		if err != nil {
			return tail, err
		}
		if tail = now; tail.Position.Compare(at) >= 0 {
			return tail, nil
		}
	}
	return tail, wrap(last)
}

// Hide replaces the message tail of lane by one that bears its position only, and
// returns its sequence. It fails with [ErrMoved] if tail is not the newest any
// more: then it may simply be dropped.
func (s *Store) Hide(ctx context.Context, lane Lane, tail Tail) (uint64, error) {
	b, err := encode(kindHidden, tail.Position, nil)
	if err != nil {
		return 0, err
	}
	seq, err := s.l.Append(ctx, subject(lane), tail.Sequence, b)
	if errors.Is(err, ledger.ErrRefused) {
		return 0, ErrMoved
	}
	if err != nil {
		s.srv.Failed(err)
		return 0, wrap(err)
	}
	_, err = s.l.Delete(ctx, tail.Sequence)
	return seq, wrap(err)
}

// ErrMoved means the message is not its lane's newest any more.
var ErrMoved = errors.New("dlq: a newer letter has come")

// Drop deletes one message and says whether it was there.
func (s *Store) Drop(ctx context.Context, sequence uint64) (bool, error) {
	was, err := s.l.Delete(ctx, sequence)
	return was, wrap(err)
}

// DropLane deletes every message of lane with a sequence below that one.
func (s *Store) DropLane(ctx context.Context, lane Lane, sequence uint64) error {
	return wrap(s.l.Purge(ctx, subject(lane), sequence))
}

// DropBefore deletes every message with a sequence below that one.
func (s *Store) DropBefore(ctx context.Context, sequence uint64) error {
	return wrap(s.l.Purge(ctx, all, sequence))
}

// Since is the sequence of the first message stored at or after that time, and
// whether there is one.
func (s *Store) Since(ctx context.Context, t time.Time) (uint64, bool, error) {
	seq, found, err := s.l.Since(ctx, t)
	return seq, found, wrap(err)
}

// Get reads one message, and says whether it is there.
func (s *Store) Get(ctx context.Context, sequence uint64) (Message, bool, error) {
	e, found, err := s.l.Get(ctx, sequence)
	if err != nil || !found {
		return Message{}, false, wrap(err)
	}
	m, err := decode(e)
	return m, err == nil, err
}

// Scan hands over all messages, in the order in which they were stored, those of
// one lane if lane is not nil, until fn fails. A message that is corrupt is
// passed, and told of by an error in the end.
func (s *Store) Scan(ctx context.Context, lane *Lane, fn func(Message) error) error {
	filter := all
	if lane != nil {
		filter = subject(*lane)
	}
	var corrupt error
	err := s.l.Scan(ctx, filter, 1, math.MaxUint64, func(e ledger.Entry) error {
		m, err := decode(e)
		if err != nil {
			corrupt = cmp.Or(corrupt, err)
			return nil
		}
		return fn(m)
	})
	return cmp.Or(err, corrupt)
}

// Lanes counts the messages of each lane that has any, hidden ones too.
func (s *Store) Lanes(ctx context.Context) (map[Lane]uint64, error) {
	subjects, err := s.l.Subjects(ctx, all)
	if err != nil {
		return nil, wrap(err)
	}
	out := make(map[Lane]uint64, len(subjects))
	for subj, n := range subjects {
		if lane, ok := laneOf(subj); ok {
			out[lane] = n
		}
	}
	return out, nil
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	return nil
}
