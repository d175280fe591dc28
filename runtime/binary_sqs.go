package runtime

import "encoding/binary"

// Kind 2, messages of a queue. An entry of the table is eight offsets: seven parts
// follow one another, each up to where the next begins.

const messageEntry = 32

// How the value of a message attribute is held.
const (
	attributeString = 1
	attributeBinary = 2
)

var noMessage Message

func (r *Record) message() *Message {
	if r.Message == nil {
		return &noMessage
	}
	return r.Message
}

func messagesSize(b *Batch) int {
	n := messageEntry * len(b.Records)
	for i := range b.Records {
		r := &b.Records[i]
		m := r.message()
		n += len(r.Sequence) + len(m.ReceiptHandle) + len(m.MD5) + len(m.AttributesMD5) + len(r.Data) + 4 + 4
		for _, a := range m.System {
			n += 8 + len(a.Name) + len(a.Value)
		}
		for _, a := range m.Attributes {
			n += 16 + len(a.Name) + len(a.Type) + len(a.Value)
		}
	}
	return n
}

func appendMessages(dst []byte, base int, b *Batch) []byte {
	le := binary.LittleEndian
	table := len(dst)
	dst = append(dst, make([]byte, messageEntry*len(b.Records))...)
	for i := range b.Records {
		r := &b.Records[i]
		m := r.message()
		entry, part := table+messageEntry*i, 0
		mark := func() {
			le.PutUint32(dst[entry+4*part:], uint32(len(dst)-base))
			part++
		}
		for _, s := range [...]string{r.Sequence, m.ReceiptHandle, m.MD5, m.AttributesMD5} {
			mark()
			dst = append(dst, s...)
		}
		mark()
		dst = append(dst, r.Data...)
		mark()
		dst = le.AppendUint32(dst, uint32(len(m.System)))
		for _, a := range m.System {
			dst = appendText(appendText(dst, a.Name), a.Value)
		}
		mark()
		dst = le.AppendUint32(dst, uint32(len(m.Attributes)))
		for _, a := range m.Attributes {
			held := uint32(attributeString)
			if a.Binary {
				held = attributeBinary
			}
			dst = appendText(appendText(dst, a.Name), a.Type)
			dst = le.AppendUint32(dst, held)
			dst = appendText(dst, a.Value)
		}
		mark()
	}
	return dst
}

// appendText appends a text with its length before it, not padded.
func appendText[T string | []byte](dst []byte, s T) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}
