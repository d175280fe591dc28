package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"unsafe"
)

const (
	version    = 1
	kindData   = 0
	kindEnd    = 1
	headBytes  = 88
	maxRecords = math.MaxUint16 // of one frame
	tagTrace   = 1              // extensions of a record
	tagID      = 2
	tagMark    = 1 // extension of a frame

	// maxFrameBytes bounds what one record may take encoded. The server's
	// MaxPayload is 32 MiB; the rest is room for the head and the headers.
	maxFrameBytes = 31 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// attemptID names one making of a frame: a frame that is sent again keeps it.
type attemptID [16]byte

// Record is one entry of a log. The strings and Data of a stored record alias
// the buffer of its frame: they must not be changed and keep it in memory.
type Record struct {
	Key     string
	HashKey string // explicit hash key, or empty
	// Arrival is in Unix milliseconds. 0 in a record to be appended: the
	// appender stamps max(now, arrival of the record before). Another value is
	// raised likewise.
	Arrival int64
	Data    []byte
	Trace   string // W3C traceparent of the producer, or empty
	ID      string // of the output that it is, or empty
}

// Size is what a record counts in [Frame.Bytes] and [Bounds]: key and data.
func (r *Record) Size() int { return len(r.Key) + len(r.Data) }

// Frame is one message of a log, decoded. It is immutable and shared.
type Frame struct {
	Seq     uint64 // JetStream sequence in the log, from 1
	Epoch   uint32
	First   uint64 // running number of its first record
	Bytes   uint64 // keys and data of all records before it
	End     bool   // the log takes no more records; Records is empty
	Mark    Mark   // of a frame by [Log.AppendFrom], else zero
	Records []Record

	head head
	size int64 // memory it pins
}

// Next is the running number after its last record.
func (f *Frame) Next() uint64 { return f.First + uint64(len(f.Records)) }

// LastArrival is the arrival of its last record in Unix milliseconds; in an END
// frame that of the last record before it.
func (f *Frame) LastArrival() int64 { return f.head.last }

// head is the fixed part of a frame on the wire.
type head struct {
	kind    uint8
	count   uint16
	epoch   uint32
	attempt attemptID
	seq     uint64
	first   uint64
	before  uint64 // bytes of all records before it
	from    int64  // arrival of its first record
	last    int64  // arrival of its last record
	size    uint64 // bytes of its records
}

func (h *head) next() uint64 { return h.first + uint64(h.count) }

// seal writes the head of the frame in buf, whose body is complete.
func (h *head) seal(buf []byte) {
	le := binary.LittleEndian
	body := buf[headBytes:]
	buf[0], buf[1] = version, h.kind
	le.PutUint16(buf[2:], h.count)
	le.PutUint32(buf[4:], h.epoch)
	copy(buf[8:], h.attempt[:])
	le.PutUint64(buf[24:], h.seq)
	le.PutUint64(buf[32:], h.first)
	le.PutUint64(buf[40:], h.before)
	le.PutUint64(buf[48:], uint64(h.from))
	le.PutUint64(buf[56:], uint64(h.last))
	le.PutUint64(buf[64:], h.size)
	le.PutUint32(buf[72:], uint32(len(body)))
	le.PutUint32(buf[76:], 0)
	le.PutUint32(buf[80:], crc32.Checksum(body, castagnoli))
	le.PutUint32(buf[84:], crc32.Checksum(buf[:84], castagnoli))
}

// damage is why a frame could not be decoded. With head set the head is whole,
// so that the place of the frame is known.
type damage struct {
	reason  string
	head    *head
	missing bool // nothing is there
}

func (d *damage) Error() string { return d.reason }

// decodeHead reads the head of the frame with that sequence.
func decodeHead(buf []byte, seq uint64) (head, *damage) {
	le := binary.LittleEndian
	if len(buf) < headBytes {
		return head{}, &damage{reason: fmt.Sprintf("%d bytes: too short for a frame", len(buf))}
	}
	if got, want := crc32.Checksum(buf[:84], castagnoli), le.Uint32(buf[84:]); got != want {
		return head{}, &damage{reason: fmt.Sprintf("checksum of the head is %08x, want %08x", got, want)}
	}
	h := head{
		kind:   buf[1],
		count:  le.Uint16(buf[2:]),
		epoch:  le.Uint32(buf[4:]),
		seq:    le.Uint64(buf[24:]),
		first:  le.Uint64(buf[32:]),
		before: le.Uint64(buf[40:]),
		from:   int64(le.Uint64(buf[48:])),
		last:   int64(le.Uint64(buf[56:])),
		size:   le.Uint64(buf[64:]),
	}
	copy(h.attempt[:], buf[8:])
	switch {
	case buf[0] != version:
		return head{}, &damage{reason: fmt.Sprintf("frame version %d: this program reads version %d", buf[0], version)}
	case h.seq != seq:
		return head{}, &damage{reason: fmt.Sprintf("made for sequence %d", h.seq)}
	case h.kind > kindEnd || (h.count == 0) != (h.kind == kindEnd):
		return head{}, &damage{reason: fmt.Sprintf("kind %d with %d records", h.kind, h.count)}
	case h.from > h.last || h.first+uint64(h.count) < h.first || h.size > maxFrameBytes || h.before+h.size < h.before:
		return head{}, &damage{reason: "the head contradicts itself"}
	}
	return h, nil
}

// decode reads the frame with that sequence. The frame aliases buf.
func decode(buf []byte, seq uint64) (*Frame, *damage) {
	h, bad := decodeHead(buf, seq)
	if bad != nil {
		return nil, bad
	}
	le := binary.LittleEndian
	body := buf[headBytes:]
	if want := le.Uint32(buf[72:]); uint64(want) != uint64(len(body)) {
		return nil, &damage{reason: fmt.Sprintf("body of %d bytes, want %d", len(body), want), head: &h}
	}
	if got, want := crc32.Checksum(body, castagnoli), le.Uint32(buf[80:]); got != want {
		return nil, &damage{reason: fmt.Sprintf("checksum of the body is %08x, want %08x", got, want), head: &h}
	}
	r := reader{rest: body}
	mark, err := frameMark(r.bytes(), &h)
	if err != nil {
		return nil, &damage{reason: err.Error(), head: &h}
	}
	// The checksum held, so count is what a writer wrote; still, a record takes
	// five bytes at least, and a lying count must not allocate more than that.
	if int(h.count)*minRecord > len(r.rest) {
		return nil, &damage{reason: fmt.Sprintf("%d records in %d bytes", h.count, len(r.rest)), head: &h}
	}
	records := make([]Record, h.count)
	at, size := h.from, uint64(0)
	for i := range records {
		rec := &records[i]
		rec.Key = r.string()
		rec.HashKey = r.string()
		step := r.uvarint()
		if step > math.MaxInt64 || at > math.MaxInt64-int64(step) {
			r.fail()
			break
		}
		at += int64(step)
		rec.Arrival = at
		rec.Data = r.bytes()
		if ext := r.bytes(); len(ext) > 0 {
			e := reader{rest: ext}
			for len(e.rest) > 0 && !e.bad {
				tag, value := e.uvarint(), e.bytes()
				switch {
				case e.bad:
				case tag == tagTrace:
					rec.Trace = alias(value)
				case tag == tagID:
					rec.ID = alias(value)
				}
			}
			r.bad = r.bad || e.bad
		}
		size += uint64(rec.Size())
	}
	switch {
	case r.bad:
		return nil, &damage{reason: "a record reaches over the end of its frame", head: &h}
	case len(r.rest) > 0:
		return nil, &damage{reason: fmt.Sprintf("%d bytes behind the last record", len(r.rest)), head: &h}
	case at != h.last || size != h.size:
		return nil, &damage{reason: "the head contradicts the records", head: &h}
	}
	f := newFrame(h, buf, records)
	f.Mark = mark
	return f, nil
}

func newFrame(h head, buf []byte, records []Record) *Frame {
	return &Frame{
		Seq: h.seq, Epoch: h.epoch, First: h.first, Bytes: h.before, End: h.kind == kindEnd,
		Records: records,
		head:    h,
		size:    int64(cap(buf)) + int64(cap(records))*int64(unsafe.Sizeof(Record{})) + frameOverhead,
	}
}

// frameOverhead is about what a frame and its place in the cache take besides.
const frameOverhead = 384

// reader cuts pieces off a body. After a fault bad is set and all pieces are empty.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) fail() { r.rest, r.bad = nil, true }

func (r *reader) uvarint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // most lengths
		v := uint64(r.rest[0])
		r.rest = r.rest[1:]
		return v
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) string() string { return alias(r.bytes()) }

// alias is b as a string that shares its memory: buffers of frames never change.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// minRecord is the least a record takes encoded: five lengths of one byte.
const minRecord = 5

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func prefixedLen(n int) int { return uvarintLen(uint64(n)) + n }

func extensionsLen(r *Record) int {
	n := 0
	if r.Trace != "" {
		n += uvarintLen(tagTrace) + prefixedLen(len(r.Trace))
	}
	if r.ID != "" {
		n += uvarintLen(tagID) + prefixedLen(len(r.ID))
	}
	return n
}

// maxEncoded is the most r takes in a body: exact but for its arrival, which is
// taken as 10 bytes.
func maxEncoded(r *Record) int {
	return prefixedLen(len(r.Key)) + prefixedLen(len(r.HashKey)) + binary.MaxVarintLen64 +
		prefixedLen(len(r.Data)) + prefixedLen(extensionsLen(r))
}

// builder makes a frame: its bytes for the wire and the decoded frame that
// aliases them, so that what was just written need not be read.
type builder struct {
	buf     []byte
	records []Record
	head    head
	mark    Mark
}

// newBuilder starts a frame behind a log whose newest arrival is last, with room
// for count records which take body bytes at most. A mark that is not zero
// becomes an extension of the frame.
func newBuilder(h head, m Mark, count, body int, last int64) *builder {
	extensions := 1
	if m != (Mark{}) {
		extensions += markBytes
	}
	b := &builder{buf: make([]byte, headBytes, headBytes+extensions+body), head: h, mark: m}
	b.head.from, b.head.last = last, last
	if count > 0 {
		b.records = make([]Record, 0, count)
	}
	b.buf = append(b.buf, byte(extensions-1)) // their length
	if m != (Mark{}) {
		b.buf = appendMark(b.buf, m, &h)
	}
	return b
}

// add copies r to the frame; now stamps it if it has no arrival of its own.
func (b *builder) add(r *Record, now int64) (arrival int64) {
	arrival = r.Arrival
	if arrival == 0 {
		arrival = now
	}
	arrival = max(arrival, b.head.last)
	if len(b.records) == 0 {
		b.head.from, b.head.last = arrival, arrival
	}
	step := arrival - b.head.last
	b.head.last = arrival
	var own Record
	own.Arrival = arrival
	own.Key = alias(b.put(r.Key))
	own.HashKey = alias(b.put(r.HashKey))
	b.buf = binary.AppendUvarint(b.buf, uint64(step))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(r.Data)))
	at := len(b.buf)
	b.buf = append(b.buf, r.Data...)
	own.Data = b.buf[at:len(b.buf):len(b.buf)]
	b.buf = binary.AppendUvarint(b.buf, uint64(extensionsLen(r)))
	if r.Trace != "" {
		b.buf = binary.AppendUvarint(b.buf, tagTrace)
		own.Trace = alias(b.put(r.Trace))
	}
	if r.ID != "" {
		b.buf = binary.AppendUvarint(b.buf, tagID)
		own.ID = alias(b.put(r.ID))
	}
	b.records = append(b.records, own)
	b.head.size += uint64(r.Size())
	return arrival
}

// put appends s with its length and returns the copy. The buffer never grows,
// else the copies of earlier records would be left in an old one.
func (b *builder) put(s string) []byte {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(s)))
	at := len(b.buf)
	b.buf = append(b.buf, s...)
	return b.buf[at:len(b.buf):len(b.buf)]
}

// finish seals the frame. Without records it is an END frame.
func (b *builder) finish() (*Frame, []byte) {
	b.head.count = uint16(len(b.records))
	b.head.kind = kindData
	if len(b.records) == 0 {
		b.head.kind = kindEnd
	}
	b.head.seal(b.buf)
	f := newFrame(b.head, b.buf, b.records)
	f.Mark = b.mark
	return f, b.buf
}
