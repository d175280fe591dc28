package quickjs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// function is one of the adapter's text: its own, or one it expects of others.
type function struct {
	name   string
	from   [2]string // module and name of a host's function
	engine string    // name of an export of the engine
	serves string    // name of an import of the engine that this one takes the place of
	export string
	sig    signature
	locals []string
	kinds  []byte // of locals
	code   []string
}

func (f *function) external() bool { return f.engine != "" || f.from[0] != "" }

// program is the adapter's text, read.
type program struct {
	functions []*function
	globals   []string
	strings   []byte // texts of string.const, a zero after each
	offsets   map[string]int
}

// assemblerError is a fault of our own text, never of a user's.
func assemblerError(format string, args ...any) error {
	return fmt.Errorf("adapter.wat: "+format, args...)
}

// read takes the text apart.
func read(text string) (*program, error) {
	words, err := tokens(text)
	if err != nil {
		return nil, err
	}
	p := &program{offsets: map[string]int{}}
	for len(words) > 0 {
		if len(words) < 3 || words[0] != "(" {
			return nil, assemblerError("%q: want (func or (global", words[0])
		}
		kind, name := words[1], words[2]
		words = words[3:]
		if kind == "global" {
			if len(words) < 2 || words[0] != "i32" || words[1] != ")" {
				return nil, assemblerError("global %s: want i32", name)
			}
			p.globals, words = append(p.globals, name), words[2:]
			continue
		}
		f := &function{name: name}
		if words, err = f.head(words); err != nil {
			return nil, err
		}
		end := slices.Index(words, ")")
		if kind != "func" || end < 0 {
			return nil, assemblerError("%s %s: not understood", kind, name)
		}
		f.code, words = words[:end], words[end+1:]
		for i, w := range f.code {
			if w == "string.const" {
				p.keep(f.code[i+1])
			}
		}
		p.functions = append(p.functions, f)
	}
	return p, nil
}

// keep puts a text among the strings.
func (p *program) keep(quoted string) {
	if _, known := p.offsets[quoted]; !known {
		p.offsets[quoted] = len(p.strings)
		p.strings = append(append(p.strings, strings.Trim(quoted, `"`)...), 0)
	}
}

// head reads the clauses in front of a body.
func (f *function) head(words []string) ([]string, error) {
	for len(words) > 0 && words[0] == "(" {
		end := slices.Index(words, ")")
		if end < 2 {
			return nil, assemblerError("%s: a clause has no end", f.name)
		}
		clause, args := words[1], words[2:end]
		words = words[end+1:]
		text := func(i int) string { return strings.Trim(args[min(i, len(args)-1)], `"`) }
		switch clause {
		case "import":
			f.from = [2]string{text(0), text(1)}
		case "engine":
			f.engine = text(0)
		case "engine-import":
			f.serves = text(0)
		case "export":
			f.export = text(0)
		case "param", "local":
			if strings.HasPrefix(args[0], "$") {
				kind, err := valueType(text(1))
				if err != nil {
					return nil, err
				}
				if f.locals = append(f.locals, args[0]); clause == "param" {
					f.sig.params += string(rune(kind))
				} else {
					f.kinds = append(f.kinds, kind)
				}
				continue
			}
			for _, a := range args {
				kind, err := valueType(a)
				if err != nil {
					return nil, err
				}
				f.sig.params += string(rune(kind))
			}
		case "result":
			kind, err := valueType(args[0])
			if err != nil {
				return nil, err
			}
			f.sig.results = string(rune(kind))
		default:
			return nil, assemblerError("%s: clause %s", f.name, clause)
		}
	}
	return words, nil
}

func valueType(name string) (byte, error) {
	kind, ok := map[string]byte{"i32": 0x7f, "i64": 0x7e, "f64": 0x7c}[name]
	if !ok {
		return 0, assemblerError("type %q", name)
	}
	return kind, nil
}

// tokens splits the text into words, brackets and quoted texts.
func tokens(text string) (words []string, err error) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, ";;")
		for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
			n := 1
			switch {
			case line[0] == '"':
				if n = strings.IndexByte(line[1:], '"') + 2; n < 2 {
					return nil, assemblerError("a text has no end: %s", line)
				}
			case line[0] != '(' && line[0] != ')':
				if n = strings.IndexAny(line, " ()\t"); n < 0 {
					n = len(line)
				}
			}
			words, line = append(words, line[:n]), line[n:]
		}
	}
	return words, nil
}

// plain are the instructions without operands.
var plain = map[string][]byte{
	"unreachable": {0x00}, "end": {0x0b}, "return": {0x0f}, "drop": {0x1a},
	"i32.eqz": {0x45}, "i32.eq": {0x46}, "i32.ne": {0x47}, "i32.lt_s": {0x48}, "i32.ge_u": {0x4f},
	"i32.add": {0x6a}, "i32.sub": {0x6b}, "i32.shl": {0x74}, "i64.or": {0x84}, "i64.shl": {0x86},
	"f64.mul": {0xa2}, "i64.extend_i32_u": {0xad}, "f64.convert_i32_s": {0xb7},
	"i32.trunc_sat_f64_s": {0xfc, 2}, "i64.trunc_sat_f64_u": {0xfc, 7}, "memory.fill": {0xfc, 11, 0},
}

// touching are the instructions with an alignment, the largest there is, and an offset.
var touching = map[string][2]byte{
	"i32.load": {0x28, 2}, "i64.load32_u": {0x35, 2}, "i32.store": {0x36, 2}, "i64.store": {0x37, 3}, "i32.store8": {0x3a, 0}, "i32.load8_u": {0x2d, 0},
}

// symbols say what names mean in the module that is made.
type symbols struct {
	function, global func(name string) (uint32, bool)
	// constants are lengths, and numbers of the data segments of the same name.
	constants, segments map[string]uint32
	offsets             map[string]int
}

// assemble writes a body: its locals and its code, without the size in front.
func (f *function) assemble(s symbols) ([]byte, error) {
	out := binary.AppendUvarint(nil, uint64(len(f.kinds)))
	for _, k := range f.kinds {
		out = append(out, 1, k)
	}
	var labels []string // innermost last
	next := func(i *int) string {
		if *i++; *i < len(f.code) {
			return f.code[*i]
		}
		return ""
	}
	for i := 0; i < len(f.code); i++ {
		word := f.code[i]
		if b, ok := plain[word]; ok {
			out = append(out, b...)
			if word == "end" {
				if len(labels) == 0 {
					return nil, assemblerError("%s: an end too many", f.name)
				}
				labels = labels[:len(labels)-1]
			}
			continue
		}
		if t, ok := touching[word]; ok {
			offset := 0
			if i+1 < len(f.code) && strings.HasPrefix(f.code[i+1], "offset=") {
				offset, _ = strconv.Atoi(strings.TrimPrefix(next(&i), "offset="))
			}
			out = binary.AppendUvarint(append(out, t[0], t[1]), uint64(offset))
			continue
		}
		var err error
		switch word {
		case "block", "loop", "if":
			label := ""
			if i+1 < len(f.code) && strings.HasPrefix(f.code[i+1], "$") {
				label = next(&i)
			}
			labels = append(labels, label)
			out = append(out, map[string]byte{"block": 0x02, "loop": 0x03, "if": 0x04}[word], 0x40)
		case "br", "br_if":
			label := next(&i)
			at := slices.Index(labels, label)
			if at < 0 {
				err = assemblerError("%s: no label %s", f.name, label)
			}
			out = binary.AppendUvarint(append(out, map[string]byte{"br": 0x0c, "br_if": 0x0d}[word]), uint64(len(labels)-1-at))
		case "call":
			out, err = named(append(out, 0x10), next(&i), s.function)
		case "global.get", "global.set":
			out, err = named(append(out, map[string]byte{"global.get": 0x23, "global.set": 0x24}[word]), next(&i), s.global)
		case "local.get", "local.set", "local.tee":
			out, err = named(append(out, map[string]byte{"local.get": 0x20, "local.set": 0x21, "local.tee": 0x22}[word]), next(&i), func(name string) (uint32, bool) {
				at := slices.Index(f.locals, name)
				return uint32(at), at >= 0
			})
		case "i32.const", "i64.const":
			operand := next(&i)
			n, bad := strconv.ParseInt(operand, 10, 64)
			if length, ok := s.constants[operand]; ok {
				n, bad = int64(length), nil
			}
			err = bad
			out = appendSigned(append(out, map[string]byte{"i32.const": 0x41, "i64.const": 0x42}[word]), n)
		case "f64.const":
			var x float64
			x, err = strconv.ParseFloat(next(&i), 64)
			out = binary.LittleEndian.AppendUint64(append(out, 0x44), math.Float64bits(x))
		case "string.const":
			if out, err = named(append(out, 0x23), "$strings", s.global); err == nil {
				out = append(appendSigned(append(out, 0x41), int64(s.offsets[next(&i)])), 0x6a)
			}
		case "memory.init":
			n, ok := s.segments[next(&i)]
			if !ok {
				err = errors.New("no such segment")
			}
			out = append(binary.AppendUvarint(append(out, 0xfc, 8), uint64(n)), 0)
		default:
			err = errors.New("not understood")
		}
		if err != nil {
			return nil, assemblerError("%s: %s: %w", f.name, word, err)
		}
	}
	if len(labels) > 0 {
		return nil, assemblerError("%s: an end is missing", f.name)
	}
	return append(out, 0x0b), nil
}

func named(out []byte, name string, find func(string) (uint32, bool)) ([]byte, error) {
	n, ok := find(name)
	if !ok {
		return nil, fmt.Errorf("no %s", name)
	}
	return binary.AppendUvarint(out, uint64(n)), nil
}

// appendSigned appends a number as signed LEB128.
func appendSigned(out []byte, n int64) []byte {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
