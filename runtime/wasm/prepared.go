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
// what has to be known beside it. To make it takes as long as to load compiled code,
// so it is kept beside that in Options.CacheDir, and trusted alike.
type prepared struct {
	ABI       functions.ABI
	Min       uint64 // bytes of memory
	Globals   []string
	Start     string
	Cloneable bool
	Size      int // bytes of code
	segments  []module.Segment
	code      []byte
}

func prepare(code []byte) (*prepared, error) {
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
	return &prepared{ABI: abi, Min: w.Min << 16, Globals: w.Globals, Start: w.Start, Cloneable: w.Cloneable, Size: len(w.Code), segments: w.Segments, code: w.Code}, nil
}

// preparedFile is where a module of that digest is kept, empty for nowhere.
func (e *Engine) preparedFile(digest string) string {
	if e.opts.CacheDir == "" {
		return ""
	}
	return filepath.Join(e.opts.CacheDir, digest+"."+module.Version+".module")
}

// encode: the length of what JSON says, that, the segments, each with offset and
// length, behind their number, and the code.
func (p *prepared) encode() []byte {
	head, err := json.Marshal(p)
	if err != nil {
		panic(err) // texts, numbers and yes or no
	}
	le := binary.LittleEndian
	size := 8 + len(head) + len(p.code)
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
	return append(b, p.code...)
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
	if p.code = b; len(b) != p.Size || p.Size == 0 {
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

// keep writes a prepared module down, whole or not at all. That it could not be
// kept costs time only.
func (e *Engine) keep(digest string, p *prepared) {
	file := e.preparedFile(digest)
	if file == "" {
		return
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "prepared-*")
	if err != nil {
		return
	}
	_, err = tmp.Write(p.encode())
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err != nil || os.Rename(tmp.Name(), file) != nil {
		_ = os.Remove(tmp.Name())
	}
}
