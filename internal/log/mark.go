package log

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Mark is a place among what one source gives out. The zero value lies before
// all of it.
type Mark struct {
	Sequence uint64
	Index    uint32
}

// Compare orders marks as their source gives them out.
func (m Mark) Compare(o Mark) int {
	return cmp.Or(cmp.Compare(m.Sequence, o.Sequence), cmp.Compare(m.Index, o.Index))
}

func (m Mark) String() string { return fmt.Sprintf("%d/%d", m.Sequence, m.Index) }

// From is the newest frame of a source in a log.
type From struct {
	Mark  Mark   // zero: damaged; see [Log.LastFroms]
	Frame uint64 // its sequence
}

const (
	markValue = 16
	markBytes = 2 + markValue // with tag and length
)

// markSum is the checksum that a mark has of its own. It covers the attempt id
// too: a mark is good for its own frame only.
func markSum(value []byte, h *head) uint32 {
	return crc32.Update(crc32.Checksum(h.attempt[:], castagnoli), castagnoli, value[:12])
}

func appendMark(buf []byte, m Mark, h *head) []byte {
	le := binary.LittleEndian
	buf = append(buf, tagMark, markValue)
	at := len(buf)
	buf = le.AppendUint64(buf, m.Sequence)
	buf = le.AppendUint32(buf, m.Index)
	return le.AppendUint32(buf, markSum(buf[at:], h))
}

// frameMark is the mark among the extensions of a frame, zero if there is none.
// Other extensions are skipped.
func frameMark(extensions []byte, h *head) (m Mark, err error) {
	r := reader{rest: extensions}
	for len(r.rest) > 0 {
		tag, value := r.uvarint(), r.bytes()
		if r.bad {
			return m, errors.New("an extension reaches over the end of the frame's")
		}
		if tag != tagMark {
			continue
		}
		le := binary.LittleEndian
		if len(value) != markValue {
			return m, fmt.Errorf("a mark of %d bytes, want %d", len(value), markValue)
		}
		if got, want := markSum(value, h), le.Uint32(value[12:]); got != want {
			return m, fmt.Errorf("checksum of the mark is %08x, want %08x", got, want)
		}
		m = Mark{le.Uint64(value), le.Uint32(value[8:])}
	}
	return m, nil
}

// markOf is the mark of a stored frame, also of one whose records are damaged:
// what was given out is known as long as head and mark are whole.
func markOf(buf []byte) (Mark, uint64, error) {
	if len(buf) < headBytes {
		return Mark{}, 0, fmt.Errorf("%d bytes: too short for a frame", len(buf))
	}
	seq := binary.LittleEndian.Uint64(buf[24:]) // of itself; the head's checksum covers it
	h, bad := decodeHead(buf, seq)
	if bad != nil {
		return Mark{}, 0, bad
	}
	r := reader{rest: buf[headBytes:]}
	m, err := frameMark(r.bytes(), &h)
	if err == nil && m == (Mark{}) {
		err = errors.New("no mark in the frame")
	}
	return m, seq, err
}
