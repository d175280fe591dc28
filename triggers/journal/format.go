package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/wasmill/wasmill/triggers"
)

const version = 1

const (
	tagCheckpoint = 1
	tagOwner      = 2
	tagFinished   = 3
	tagLetters    = 5
	tagBlobs      = 7
	tagOutputs    = 9
	tagOutWire    = 11
	tagOutBlobs   = 13
	tagRedriven   = 15
	tagNotices    = 17
	tagNoteWire   = 19
	tagNoteBlobs  = 21
	tagState      = 23
)

// ErrCorrupt means a message of the journal is not as it was written, or was
// written by a newer release. The shard cannot go on from it.
var ErrCorrupt = errors.New("journal: corrupt")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// attempt makes a decision recognisable, whatever became of its acknowledgement.
type attempt [16]byte

// commit is one message, decoded.
type commit struct {
	sequence    uint64 // where it is stored
	epoch       uint64
	attempt     attempt
	prev        uint64
	count       int // letters
	owner       string
	checkpoint  triggers.Checkpoint
	letters     []byte // wire form; nil if there are none or they are in blobs
	blobs       blobs
	index       index  // of the outputs
	outputs     []byte // wire form; nil if there are none or they are in outBlobs
	outBlobs    blobs
	redriven    []string
	notices     addresses
	noticeWire  []byte // wire form; nil if there are none or they are in noticeBlobs
	noticeBlobs blobs
}

// blobs name letters, outputs or notices that are stored outside of the commit.
type blobs struct {
	size      uint64
	sum       uint32
	sequences []uint64
}

// size is how many things there are in the cargo.
func (c *commit) size() int {
	return c.count + c.index.outputs() + c.notices.notices() + len(c.redriven)
}

// laden says whether the commit has cargo.
func (c *commit) laden() bool { return c.size() > 0 }

// cargoUpTo is the newest commit with cargo, this one or one before it; 0: none.
func (c *commit) cargoUpTo() uint64 {
	if c.laden() {
		return c.sequence
	}
	return c.prev
}

// body is the part of a commit that is the same in each repetition, whoever
// commits: its sections.
func appendBody(dst []byte, cp *triggers.Checkpoint, owner string) ([]byte, error) {
	bare := *cp
	bare.Finished = nil
	state := windowState(cp)
	if len(state) > 0 {
		window := *cp.Window
		window.State = nil
		bare.Window = &window
	}
	text, err := json.Marshal(&bare)
	if err != nil {
		return dst, fmt.Errorf("encode checkpoint: %w", err)
	}
	dst = appendSection(dst, tagCheckpoint, text)
	if owner != "" {
		dst = appendSection(dst, tagOwner, []byte(owner))
	}
	if len(cp.Finished) > 0 {
		dst = appendSection(dst, tagFinished, appendSpans(nil, cp.Finished))
	}
	if len(state) > 0 {
		dst = appendSection(dst, tagState, state)
	}
	return dst, nil
}

// windowState is the state of the tumbling window of a checkpoint.
func windowState(cp *triggers.Checkpoint) []byte {
	if cp.Window == nil {
		return nil
	}
	return cp.Window.State
}

func appendSection(dst []byte, tag uint64, b []byte) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendBlobs(dst []byte, tag uint64, b blobs) []byte {
	var section []byte
	section = binary.AppendUvarint(section, b.size)
	section = binary.LittleEndian.AppendUint32(section, b.sum)
	for _, s := range b.sequences {
		section = binary.AppendUvarint(section, s)
	}
	return appendSection(dst, tag, section)
}

func readBlobs(s *reader) (b blobs) {
	b.size = s.uvarint()
	b.sum = s.fixed32()
	for s.err == nil && len(s.b) > 0 {
		b.sequences = append(b.sequences, s.uvarint())
	}
	return b
}

// message is a commit's header, sections and end.
func message(epoch uint64, a attempt, prev uint64, count int, sections []byte) []byte {
	dst := make([]byte, 0, len(sections)+64)
	dst = append(dst, 'W', 'J', version)
	dst = binary.AppendUvarint(dst, epoch)
	dst = append(dst, a[:]...)
	dst = binary.AppendUvarint(dst, prev)
	dst = binary.AppendUvarint(dst, uint64(count))
	dst = append(dst, sections...)
	return seal(dst)
}

func seal(dst []byte) []byte {
	dst = append(dst, 0)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

// appendSpans writes ascending spans that do not overlap: the way to each
// span's start from the end of the one before and its length. First comes a
// byte: 1 if each span is followed by its own buckets, 0 if all have those that
// follow the byte. Under parallel units there can be thousands.
func appendSpans(dst []byte, spans []triggers.Span) []byte {
	own := byte(0)
	for _, s := range spans {
		if s.Buckets != spans[0].Buckets {
			own = 1
		}
	}
	dst = append(dst, own)
	if own == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, spans[0].Buckets)
	}
	at := uint64(0)
	for _, s := range spans {
		// Wraps round for spans out of order, and back again in readSpans.
		dst = binary.AppendUvarint(dst, s.From-at)
		dst = binary.AppendUvarint(dst, s.To-s.From)
		if own == 1 {
			dst = binary.LittleEndian.AppendUint64(dst, s.Buckets)
		}
		at = s.To
	}
	return dst
}

func readSpans(r *reader) (spans []triggers.Span) {
	own := r.byte()
	var all, at uint64
	if own == 0 {
		all = r.fixed64()
	}
	for r.err == nil && len(r.b) > 0 {
		s := triggers.Span{Buckets: all}
		s.From = at + r.uvarint()
		s.To = s.From + r.uvarint()
		if own == 1 {
			s.Buckets = r.fixed64()
		}
		at = s.To
		spans = append(spans, s)
	}
	return spans
}

// open checks magic, version and sum, and returns a reader behind the version.
func open(magic string, b []byte) (*reader, error) {
	if len(b) < len(magic)+1+1+4 || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: no %s message", ErrCorrupt, magic)
	}
	if v := b[len(magic)]; v != version {
		return nil, fmt.Errorf("%w: version %d of a %s message: this release reads %d", ErrCorrupt, v, magic, version)
	}
	end := len(b) - 4
	if sum := binary.LittleEndian.Uint32(b[end:]); sum != crc32.Checksum(b[:end], castagnoli) {
		return nil, fmt.Errorf("%w: checksum of a %s message differs", ErrCorrupt, magic)
	}
	return &reader{b: b[len(magic)+1 : end]}, nil
}

// sections hands over each section; take says whether it knows the tag.
func (r *reader) sections(take func(tag uint64, s *reader) bool) {
	for r.err == nil {
		tag := r.uvarint()
		if tag == 0 {
			return
		}
		s := &reader{b: r.chunk()}
		if r.err != nil {
			return
		}
		if !take(tag, s) && tag&1 == 1 {
			r.fail(fmt.Sprintf("section %d was written by a newer release", tag))
		} else if s.err != nil && r.err == nil {
			r.err = s.err
		}
	}
}

func decodeCommit(sequence uint64, b []byte) (*commit, error) {
	r, err := open("WJ", b)
	if err != nil {
		return nil, err
	}
	c := &commit{sequence: sequence}
	c.epoch = r.uvarint()
	copy(c.attempt[:], r.take(len(c.attempt)))
	c.prev = r.uvarint()
	count := r.uvarint()
	if count > math.MaxInt32 {
		r.fail("count of letters")
	}
	c.count = int(count)
	var state []byte
	r.sections(func(tag uint64, s *reader) bool {
		switch tag {
		case tagCheckpoint:
			finished := c.checkpoint.Finished
			if err := json.Unmarshal(s.b, &c.checkpoint); err != nil {
				s.fail(err.Error())
			}
			c.checkpoint.Finished = finished
		case tagOwner:
			c.owner = string(s.b)
		case tagFinished:
			c.checkpoint.Finished = readSpans(s)
		case tagLetters:
			c.letters = s.b
		case tagBlobs:
			c.blobs = readBlobs(s)
		case tagOutputs:
			c.index = readIndex(s)
		case tagOutWire:
			c.outputs = s.b
		case tagOutBlobs:
			c.outBlobs = readBlobs(s)
		case tagRedriven:
			for s.err == nil && len(s.b) > 0 {
				c.redriven = append(c.redriven, string(s.chunk()))
			}
		case tagNotices:
			c.notices = readAddresses(s)
		case tagNoteWire:
			c.noticeWire = s.b
		case tagNoteBlobs:
			c.noticeBlobs = readBlobs(s)
		case tagState:
			state = s.b
		default:
			return false
		}
		return true
	})
	if len(state) > 0 { // an older release has it in the JSON
		if c.checkpoint.Window == nil {
			r.fail("state of no window")
		} else {
			c.checkpoint.Window.State = state
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("commit %d: %w", sequence, r.err)
	}
	return c, nil
}

// encodeMark and decodeMark are the message that confirms cargo.
func encodeMark(upTo uint64) []byte {
	return seal(binary.AppendUvarint([]byte{'W', 'M', version}, upTo))
}

func decodeMark(b []byte) (uint64, error) {
	r, err := open("WM", b)
	if err != nil {
		return 0, err
	}
	upTo := r.uvarint()
	r.sections(func(uint64, *reader) bool { return false })
	return upTo, r.err
}

// reader takes values off b until one is missing.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, why)
	}
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("cut short")
		r.b = nil
	}
	if r.err != nil {
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) fixed32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) fixed64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("cut short")
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) chunk() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail("cut short")
		return nil
	}
	return r.take(int(n))
}
