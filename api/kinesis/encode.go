package kinesis

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

// The answers that carry records write themselves. One writer serves both formats: an
// object's members are counted beforehand, as CBOR wants them.

// writer appends JSON or CBOR. Objects and lists are opened with the number of their
// members.
type writer struct {
	b      []byte
	from   int // where it began
	format wire.Format
	json   bool
}

func (a *putRecordAnswer) AppendAnswer(dst []byte, f wire.Format) ([]byte, bool) {
	w := writerTo(dst, f)
	w.object(2 + one(a.encryption != ""))
	w.textMember("ShardId", a.result.Shard)
	w.sequenceMember("SequenceNumber", a.result.Sequence)
	w.encryption(a.encryption)
	w.close('}')
	return w.b, true
}

// AnswerSize is about what AppendAnswer will append.
func (a *putRecordsAnswer) AnswerSize() int { return 64 + 128*len(a.results) }

func (a *putRecordsAnswer) AppendAnswer(dst []byte, f wire.Format) ([]byte, bool) {
	w := writerTo(slices.Grow(dst, a.AnswerSize()), f)
	w.object(2 + one(a.encryption != ""))
	w.intMember("FailedRecordCount", int64(a.failed))
	w.name("Records")
	w.list(len(a.results))
	for i := range a.results {
		w.object(2)
		if r := &a.results[i]; r.Err == nil {
			w.sequenceMember("SequenceNumber", r.Sequence)
			w.textMember("ShardId", r.Shard)
		} else {
			w.textMember("ErrorCode", a.refused[i].code)
			w.textMember("ErrorMessage", a.refused[i].message)
		}
		w.close('}')
	}
	w.close(']')
	w.encryption(a.encryption)
	w.close('}')
	return w.b, true
}

// AnswerSize is about what AppendAnswer will append.
func (a *getRecordsAnswer) AnswerSize() int { return maxIterator + 128 + recordsSize(a.records) }

func (a *getRecordsAnswer) AppendAnswer(dst []byte, f wire.Format) ([]byte, bool) {
	w := writerTo(slices.Grow(dst, a.AnswerSize()), f)
	w.object(2 + one(a.next != "") + one(a.ended))
	w.records(a.records, a.encryption)
	if a.next != "" {
		w.textMember("NextShardIterator", a.next)
	}
	w.intMember("MillisBehindLatest", a.behind.Milliseconds())
	if a.ended {
		w.children(a.children)
	}
	w.close('}')
	return w.b, true
}

// recordsSize is about what records take in JSON.
func recordsSize(records []stream.Record) int {
	n := 0
	for i := range records {
		n += 192 + len(records[i].PartitionKey) + base64.StdEncoding.EncodedLen(len(records[i].Data))
	}
	return n
}

func writerTo(dst []byte, f wire.Format) *writer {
	return &writer{b: dst, from: len(dst), format: f, json: f.JSON()}
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (w *writer) records(records []stream.Record, encryption string) {
	w.name("Records")
	w.list(len(records))
	for i := range records {
		r := &records[i]
		w.object(4 + one(encryption != ""))
		w.sequenceMember("SequenceNumber", r.Sequence)
		w.timeMember("ApproximateArrivalTimestamp", r.Arrival)
		w.blobMember("Data", r.Data)
		w.textMember("PartitionKey", r.PartitionKey)
		w.encryption(encryption)
		w.close('}')
	}
	w.close(']')
}

func (w *writer) encryption(kind string) {
	if kind != "" {
		w.textMember("EncryptionType", kind)
	}
}

func (w *writer) children(shards []stream.Shard) {
	w.name("ChildShards")
	w.list(len(shards))
	for i := range shards {
		sh := &shards[i]
		w.object(3)
		w.textMember("ShardId", sh.ID)
		w.name("ParentShards")
		w.list(len(sh.Parents))
		for _, p := range sh.Parents {
			w.text(p)
		}
		w.close(']')
		w.name("HashKeyRange")
		w.object(2)
		w.textMember("StartingHashKey", sh.From.String())
		w.textMember("EndingHashKey", sh.To.String())
		w.close('}')
		w.close('}')
	}
	w.close(']')
}

// begin puts the comma before a member or an element of a list.
func (w *writer) begin() {
	if !w.json || len(w.b) == w.from {
		return
	}
	switch w.b[len(w.b)-1] {
	case '{', '[', ':':
	default:
		w.b = append(w.b, ',')
	}
}

func (w *writer) object(members int) { w.open('{', cborMap, members) }
func (w *writer) list(elements int)  { w.open('[', cborArray, elements) }

func (w *writer) open(bracket byte, major byte, n int) {
	if w.json {
		w.begin()
		w.b = append(w.b, bracket)
	} else {
		w.head(major, uint64(n))
	}
}

func (w *writer) close(bracket byte) {
	if w.json {
		w.b = append(w.b, bracket)
	}
}

// name is one of our own: without anything to escape.
func (w *writer) name(name string) {
	if w.json {
		w.begin()
		w.b = append(w.b, '"')
		w.b = append(w.b, name...)
		w.b = append(w.b, '"', ':')
	} else {
		w.head(cborText, uint64(len(name)))
		w.b = append(w.b, name...)
	}
}

func (w *writer) textMember(name, text string) {
	w.name(name)
	w.text(text)
}

func (w *writer) text(text string) {
	if !w.json {
		w.head(cborText, uint64(len(text)))
		w.b = append(w.b, text...)
		return
	}
	w.begin()
	w.b = append(w.b, '"')
	from := 0
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' {
			w.b = append(append(w.b, text[from:i]...), '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			from = i + 1
		}
	}
	w.b = append(append(w.b, text[from:]...), '"')
}

const hexDigits = "0123456789abcdef"

func (w *writer) intMember(name string, n int64) {
	w.name(name)
	if w.json {
		w.b = strconv.AppendInt(w.b, n, 10)
	} else {
		w.head(cborUint, uint64(n))
	}
}

func (w *writer) sequenceMember(name string, n stream.SequenceNumber) {
	w.name(name)
	if !w.json {
		var buf [57]byte
		text := n.Append(buf[:0])
		w.head(cborText, uint64(len(text)))
		w.b = append(w.b, text...)
		return
	}
	w.b = append(n.Append(append(w.b, '"')), '"')
}

func (w *writer) blobMember(name string, data []byte) {
	w.name(name)
	if w.json {
		w.b = append(appendBase64(append(w.b, '"'), data), '"')
	} else {
		w.head(cborBytes, uint64(len(data)))
		w.b = append(w.b, data...)
	}
}

// timeMember writes a time as [wire.Time] does, for any of this century.
func (w *writer) timeMember(name string, t time.Time) {
	w.name(name)
	ms := t.UnixMilli()
	switch {
	case w.json: // 1.441215410867E9
		w.b = append(w.b, byte('0'+ms/1e12), '.')
		at := len(w.b)
		for unit := int64(1e11); unit > 0 && (ms%(unit*10) > 0 || len(w.b) == at); unit /= 10 {
			w.b = append(w.b, byte('0'+ms/unit%10))
		}
		w.b = append(w.b, 'E', '9')
	case w.format == wire.RPCv2CBOR:
		w.b = binary.BigEndian.AppendUint64(append(w.b, cborTime, cborDouble), math.Float64bits(float64(ms)/1000))
	default:
		w.b = append(w.b, cborTime)
		w.head(cborUint, uint64(ms))
	}
}

// head is the first bytes of a CBOR item.
func (w *writer) head(major byte, n uint64) {
	major <<= 5
	switch {
	case n < 24:
		w.b = append(w.b, major|byte(n))
	case n < 1<<8:
		w.b = append(w.b, major|24, byte(n))
	case n < 1<<16:
		w.b = binary.BigEndian.AppendUint16(append(w.b, major|25), uint16(n))
	case n < 1<<32:
		w.b = binary.BigEndian.AppendUint32(append(w.b, major|26), uint32(n))
	default:
		w.b = binary.BigEndian.AppendUint64(append(w.b, major|27), n)
	}
}
