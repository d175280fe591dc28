package wasm

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime/module"
)

// prepared is a module that was judged and rewritten: what the compiler takes, and
// what has to be known beside it. All but the code is kept beside the native code in
// Options.CacheDir, and trusted alike.
type prepared struct {
	ABI       functions.ABI
	Min       uint64 // bytes of memory
	Globals   []string
	Start     string
	Cloneable bool
	Size      int // bytes of outline
	segments  []module.Segment
	outline   []byte
	code      []byte // nil: it was kept
}

func prepare(code []byte, digest string) (*prepared, error) {
	m, err := module.Read(code)
	if err != nil {
		return nil, err
	}
	abi, err := m.Grade()
	if err != nil {
		return nil, err
	}
	w, err := m.Rewrite()
	if err != nil {
		return nil, err
	}
	p := &prepared{ABI: abi, Min: w.Min << 16, Globals: w.Globals, Start: w.Start, Cloneable: w.Cloneable, segments: merge(w.Segments), outline: outline(w.Code, digest), code: w.Code}
	p.Size = len(p.outline)
	return p, nil
}

// merge copies segments, so that they do not hold on to all of the code, and makes one of
// those that follow each other with few zeros between: compilers cut at each, tens of
// thousands of times.
func merge(in []module.Segment) (out []module.Segment) {
	const gap = 256
	highest := uint64(0) // end of what was written: what lies above is zeros
	for _, s := range in {
		end := uint64(s.Offset) + uint64(len(s.Data))
		if n := len(out); n > 0 && uint64(s.Offset) >= highest && uint64(s.Offset)-highest <= gap {
			last := &out[n-1]
			if uint64(last.Offset)+uint64(len(last.Data)) == highest {
				last.Data = append(append(last.Data, make([]byte, uint64(s.Offset)-highest)...), s.Data...)
				highest = end
				continue
			}
		}
		out = append(out, module.Segment{Offset: s.Offset, Data: append([]byte{}, s.Data...)})
		highest = max(highest, end)
	}
	return out
}

// preparedFile is where a module of that digest is kept, empty for nowhere.
func (e *Engine) preparedFile(digest string) string {
	if e.opts.CacheDir == "" {
		return ""
	}
	return filepath.Join(e.opts.CacheDir, digest+"."+module.Version+".outline")
}

// encode: the length of what JSON says, that, the segments, each with offset and
// length, behind their number, and the outline.
func (p *prepared) encode() []byte {
	head, err := json.Marshal(p)
	if err != nil {
		panic(err) // texts, numbers and yes or no
	}
	le := binary.LittleEndian
	size := 8 + len(head) + len(p.outline)
	for _, s := range p.segments {
		size += 8 + len(s.Data)
	}
	b := make([]byte, 0, size)
	b = append(le.AppendUint32(b, uint32(len(head))), head...)
	b = le.AppendUint32(b, uint32(len(p.segments)))
	for _, s := range p.segments {
		b = le.AppendUint32(le.AppendUint32(b, s.Offset), uint32(len(s.Data)))
		b = append(b, s.Data...)
	}
	return append(b, p.outline...)
}

// decodePrepared reads what encode wrote, or answers nil for what is cut off. It
// keeps b.
func decodePrepared(b []byte) *prepared {
	le := binary.LittleEndian
	take := func(n uint64) []byte {
		if n > uint64(len(b)) {
			b = nil
			return nil
		}
		part := b[:n:n]
		b = b[n:]
		return part
	}
	number := func() uint64 {
		if n := take(4); n != nil {
			return uint64(le.Uint32(n))
		}
		return 0
	}
	p := &prepared{}
	if json.Unmarshal(take(number()), p) != nil {
		return nil
	}
	n := number()
	if n > uint64(len(b))/8 {
		return nil
	}
	p.segments = make([]module.Segment, n)
	for i := range p.segments {
		s := &p.segments[i]
		s.Offset = uint32(number())
		s.Data = take(number())
		if uint64(s.Offset)+uint64(len(s.Data)) > p.Min {
			return nil
		}
	}
	if p.outline = b; len(b) != p.Size || p.Size == 0 {
		return nil
	}
	return p
}

// recall gives the prepared module of a digest, if it is kept.
func (e *Engine) recall(digest string) *prepared {
	file := e.preparedFile(digest)
	if file == "" {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil // prepared again
	}
	return decodePrepared(b)
}
