package quickjs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// move numbers the functions anew that a body calls.
func (l *linker) move(body []byte) ([]byte, error) {
	r := &reader{rest: body}
	out := make([]byte, 0, len(body)+16)
	from := body // not copied yet
	copied := func() {
		out = append(out, from[:len(from)-len(r.rest)]...)
		from = r.rest
	}
	for range r.number() { // locals
		r.number()
		if r.byte(); r.err != nil {
			return nil, r.err
		}
	}
	for len(r.rest) > 0 && r.err == nil {
		op := r.byte()
		if op == 0x10 || op == 0xd2 { // call, ref.func
			copied()
			n, err := l.where(r.number())
			if err != nil {
				return nil, err
			}
			out = binary.AppendUvarint(out, uint64(n))
			from = r.rest
			continue
		}
		if err := r.operands(op); err != nil {
			return nil, err
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	copied()
	return out, nil
}

func (l *linker) where(n uint32) (uint32, error) {
	if int(n) >= len(l.moved) {
		return 0, errors.New("it calls a function that is not there")
	}
	return l.moved[n], nil
}

// operands passes over those of an instruction that names no function.
func (r *reader) operands(op byte) error {
	switch {
	case op <= 0x01, op == 0x05, op == 0x0b, op == 0x0f, op == 0x1a, op == 0x1b, op >= 0x45 && op <= 0xc4, op == 0xd1:
	case op <= 0x04, op == 0x0c, op == 0x0d, op >= 0x20 && op <= 0x26, op == 0x3f, op == 0x40, op == 0x41, op == 0x42, op == 0xd0:
		r.skip()
	case op == 0x0e: // br_table
		for range uint64(r.number()) + 1 {
			if r.skip(); r.err != nil {
				break
			}
		}
	case op == 0x11, op >= 0x28 && op <= 0x3e: // call_indirect, and what touches memory
		r.skip()
		r.skip()
	case op == 0x1c: // select with types
		r.take(r.number())
	case op == 0x43:
		r.take(4)
	case op == 0x44:
		r.take(8)
	case op == 0xfc:
		switch sub := r.number(); {
		case sub <= 7:
		case sub == 9, sub == 11, sub == 13, sub >= 15 && sub <= 17:
			r.skip()
		case sub == 8, sub == 10, sub == 12, sub == 14:
			r.skip()
			r.skip()
		default:
			return fmt.Errorf("instruction 0xfc %d is not understood", sub)
		}
	default:
		return fmt.Errorf("instruction %#x is not understood", op)
	}
	return nil
}

// elements numbers the functions anew that stand in tables. Only active segments
// of function numbers, all that C programs have, are understood.
func (l *linker) elements(in list) ([]byte, error) {
	r := &reader{rest: in.body}
	var out []byte
	for range in.count {
		if kind := r.number(); kind != 0 {
			return nil, fmt.Errorf("element segments of kind %d are not understood", kind)
		}
		begin := r.rest
		if r.byte() != 0x41 {
			return nil, errors.New("an element segment begins at no constant")
		}
		r.skip()
		if r.byte() != 0x0b {
			return nil, errors.New("an element segment begins at no constant")
		}
		out = append(append(out, 0), begin[:len(begin)-len(r.rest)]...)
		count := r.number()
		out = binary.AppendUvarint(out, uint64(count))
		for range count {
			n, err := l.where(r.number())
			if r.err != nil || err != nil {
				return nil, errors.Join(r.err, err)
			}
			out = binary.AppendUvarint(out, uint64(n))
		}
	}
	return out, r.err
}
