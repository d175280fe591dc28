package dlq

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

// crockford is ascending, so that ids sort as the numbers in them, and has no
// letters that are taken for digits.
const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

var sourceCode = base32.NewEncoding(crockford).WithPadding(base32.NoPadding)

// SourceCode is the first part of the ids of all letters of one source, a
// mapping's generation in one shard: 10 characters, 50 bits of a hash.
func SourceCode(mapping string, generation int, shard string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s", mapping, generation, shard))
	return sourceCode.EncodeToString(sum[:7])[:10]
}

// LetterID is the id of a dead letter: SourceCode, a dash, the record's running
// number in the shard (a digit telling its length, then base 32), and, from the
// second burial on, a dash and the burial. It is the same whoever computes it,
// before or after a crash, and sorts by source and number:
//
//	7t3k9q0azd-31nb     record 1707 of a shard
//	7t3k9q0azd-31nb-2   buried again after a redrive
func LetterID(mapping string, generation int, shard string, number uint64, burial int) string {
	id := SourceCode(mapping, generation, shard) + "-" + sortable(number)
	if burial > 1 {
		id += "-" + sortable(uint64(burial))[1:]
	}
	return id
}

// OutputLetterID is the id of a dead letter that is an output: the SourceCode of
// its source and target, a dash, and its position. Nothing is buried in its place
// again, so that no burial follows.
func OutputLetterID(mapping string, generation int, shard, target string, at Position) string {
	return OutputCode(mapping, generation, shard, target) + "-" + sortable(at.Sequence) + sortable(uint64(at.Index))
}

// OutputCode is what SourceCode is to records, for the outputs of a source to one
// incarnation of a stream.
func OutputCode(mapping string, generation int, shard, target string) string {
	return SourceCode(mapping, generation, shard+"\x00"+target)
}

// Reburied says whether an id is of a letter that was buried more than once: it may
// rest with the letters of another source, the one that has redriven it.
func Reburied(id string) bool { return strings.Count(id, "-") > 1 }

// Earlier are the ids that a letter had at its burials before.
func (l *Letter) Earlier() (ids []string) {
	for burial := 1; burial < l.Burial; burial++ {
		ids = append(ids, LetterID(l.Mapping, l.Generation, l.Shard, l.Number, burial))
	}
	return ids
}

// sortable writes n in base 32 behind the count of its digits.
func sortable(n uint64) string {
	var buf [14]byte
	at := len(buf)
	for {
		at--
		buf[at] = crockford[n&31]
		if n >>= 5; n == 0 {
			break
		}
	}
	at--
	buf[at] = crockford[len(buf)-1-at]
	return string(buf[at:])
}

// SourceOf is the SourceCode in an id, and whether it looks like an id at all.
func SourceOf(id string) (string, bool) {
	source, rest, ok := strings.Cut(id, "-")
	return source, ok && len(source) == 10 && rest != "" && strings.Trim(id, crockford+"-") == ""
}

// Position is a letter's place among those of its source. Positions of a source
// ascend in the order in which letters were buried. The zero value is before all.
type Position struct {
	Sequence uint64 // of the commit in the journal
	Index    uint32 // of the letter in the commit, from 0
}

// Compare orders positions.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Sequence, q.Sequence), cmp.Compare(p.Index, q.Index))
}

// meta is a letter without its payload, which travels beside it as it is.
type meta struct {
	*Letter
	Data *struct{} `json:"data,omitempty"` // hides Letter.Data
}

// AppendWire appends the stored form of a letter: length and bytes of its
// metadata as JSON, length and bytes of its payload. Lengths are uvarints.
func AppendWire(dst []byte, l *Letter) ([]byte, error) {
	m, err := json.Marshal(meta{Letter: l})
	if err != nil {
		return dst, fmt.Errorf("encode dead letter %s: %w", l.ID, err)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m)))
	dst = append(dst, m...)
	dst = binary.AppendUvarint(dst, uint64(len(l.Data)))
	return append(dst, l.Data...), nil
}

// ReadWire reads what AppendWire wrote and returns what is behind it. The
// letter's payload aliases b.
func ReadWire(b []byte) (l Letter, rest []byte, err error) {
	m, b, ok := chunk(b)
	if !ok {
		return Letter{}, nil, fmt.Errorf("dead letter: %w", errShort)
	}
	data, rest, ok := chunk(b)
	if !ok {
		return Letter{}, nil, fmt.Errorf("dead letter: %w", errShort)
	}
	if err := json.Unmarshal(m, &meta{Letter: &l}); err != nil {
		return Letter{}, nil, fmt.Errorf("dead letter: %w", err)
	}
	l.Data = data
	return l, rest, nil
}

var errShort = fmt.Errorf("cut short")

func chunk(b []byte) (head, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n) : w+int(n)], b[w+int(n):], true
}
