package logs

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"time"
)

// A segment is a row of frames: the length of the payload and its CRC-32C, four bytes each,
// and the payload. Its first byte says what follows:
//
//	streamFrame: the number of a log stream, counted from 0 on, and its name
//	else an event's flags: the number of its stream and its time in microseconds, how long
//	after that it was taken in (ms, if flagged), its request id (if flagged), its text
//
// Numbers are uvarints. An event's id is that of the segment's first plus its place. Where
// bytes are damaged, reading goes on with the next frame that is in order.
const (
	streamFrame  = 0x80
	flagLate     = 0x01 // taken in at another time than it bears
	flagRequest  = 0x02 // has a request id
	flagSame     = 0x04 // has the request id of the event before
	flagLine     = 0x08 // its text is a line whose end is left out
	frameHead    = 8
	leastPayload = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame appends a payload that put writes.
func frame(b []byte, put func([]byte) []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = put(b)
	payload := b[at+frameHead:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(payload, castagnoli))
	return b
}

// encoder is what a segment's next frame depends on.
type encoder struct {
	numbers map[string]uint64 // of streams
	request string            // of the event before
}

func (e *encoder) event(b []byte, stream string, in Input) []byte {
	number, known := e.numbers[stream]
	if !known {
		number = uint64(len(e.numbers))
		e.numbers[stream] = number
		b = frame(b, func(b []byte) []byte { return append(binary.AppendUvarint(append(b, streamFrame), number), stream...) })
	}
	var flags byte
	late := in.Ingested.UnixMilli() - in.Time.UnixMilli()
	if !in.Ingested.IsZero() && late != 0 {
		flags |= flagLate
	}
	switch {
	case in.RequestID == "":
	case in.RequestID == e.request:
		flags |= flagRequest | flagSame
	default:
		flags |= flagRequest
	}
	if in.Line {
		flags |= flagLine
	}
	return frame(b, func(b []byte) []byte {
		b = append(b, flags)
		b = binary.AppendUvarint(b, number)
		b = binary.AppendVarint(b, in.Time.UnixMicro())
		if flags&flagLate != 0 {
			b = binary.AppendVarint(b, late)
		}
		if flags&(flagRequest|flagSame) == flagRequest {
			b = binary.AppendUvarint(b, uint64(len(in.RequestID)))
			b = append(b, in.RequestID...)
			e.request = in.RequestID
		}
		return append(b, in.Text...)
	})
}

// decoder reads frames one after the other, from a segment's first on.
type decoder struct {
	names   map[uint64]string
	request string
}

// nameless is the stream of events whose stream's name was lost to damage.
const nameless = "damaged"

// raw is an event as it lies in a segment.
type raw struct {
	micros, late int64
	stream       string
	request      string
	text         []byte // part of what was read
	line         bool   // a line's end is to follow
}

func (r *raw) millis() int64   { return floorMillis(r.micros) }
func (r *raw) ingested() int64 { return r.millis() + r.late }
func (r *raw) time() time.Time { return time.UnixMicro(r.micros) }

// whole is the text with its line end.
func (r *raw) whole() string {
	if r.line {
		return string(r.text) + "\n"
	}
	return string(r.text)
}

func floorMillis(micros int64) int64 {
	ms := micros / 1000
	if micros%1000 < 0 {
		ms--
	}
	return ms
}

// most bytes of a frame's payload: a text and what may stand before it.
const mostPayload = MaxText + 4<<10

// length is what the frame that b begins with takes, by its head; 0: none can begin so.
func length(b []byte) int {
	if len(b) < frameHead+leastPayload {
		return 0
	}
	size := uint64(binary.LittleEndian.Uint32(b))
	if size < leastPayload || size > uint64(len(b)-frameHead) {
		return 0
	}
	return frameHead + int(size)
}

// sound says whether a frame of that length is as it was written.
func sound(b []byte, n int) bool {
	return n > 0 && crc32.Checksum(b[frameHead:n], castagnoli) == binary.LittleEndian.Uint32(b[4:])
}

// searchWork bounds the bytes that skip sums up: texts can be made to look like heads of frames.
const searchWork = 256 << 20

// skip is where the next sound frame begins behind damage at the beginning of b; len(b): there
// is none. tired: there may be one, but the search has taken too long.
func (d *decoder) skip(b []byte) (n int, tired bool) {
	d.request = "" // of an event that may be lost
	if n := length(b); n > 0 && (n == len(b) || sound(b[n:], length(b[n:]))) {
		return n, false // its head is in order
	}
	work := 0
	for n := 1; n < len(b); n++ {
		size := length(b[n:])
		if size == 0 || size > frameHead+mostPayload {
			continue
		}
		if work += size; work > searchWork {
			return len(b), true
		}
		if sound(b[n:], size) {
			return n, false
		}
	}
	return len(b), false
}

// next reads the next frame. n is its length, 0 at the end or where something is wrong;
// event is false for the name of a stream.
func (d *decoder) next(b []byte) (r raw, n int, event bool) {
	if n = length(b); !sound(b, n) {
		return r, 0, false
	}
	payload := b[frameHead:n]
	flags := payload[0]
	payload = payload[1:]
	if flags == streamFrame {
		number, k := binary.Uvarint(payload)
		if k <= 0 {
			return r, 0, false
		}
		if d.names == nil {
			d.names = map[uint64]string{}
		}
		d.names[number] = string(payload[k:])
		return r, n, false
	}
	number, k := binary.Uvarint(payload)
	if k <= 0 {
		return r, 0, false
	}
	r.stream, payload = cmp.Or(d.names[number], nameless), payload[k:]
	if r.micros, k = binary.Varint(payload); k <= 0 {
		return r, 0, false
	}
	payload = payload[k:]
	if flags&flagLate != 0 {
		if r.late, k = binary.Varint(payload); k <= 0 {
			return r, 0, false
		}
		payload = payload[k:]
	}
	if flags&(flagRequest|flagSame) == flagRequest {
		size, k := binary.Uvarint(payload)
		if k <= 0 || size > uint64(len(payload)-k) {
			return r, 0, false
		}
		d.request, payload = string(payload[k:k+int(size)]), payload[k+int(size):]
	}
	if flags&flagRequest != 0 {
		r.request = d.request
	}
	r.text, r.line = payload, flags&flagLine != 0
	return r, n, true
}
