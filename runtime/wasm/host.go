package wasm

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/wasmill/wasmill/runtime/module"
)

// Host functions are called with whatever a guest likes to pass. They read and
// write its memory by [memory.at] alone, which says where memory ends; what is wrong
// is an error number, never a panic. Each begins by looking at the deadline, for
// a call costs a guest one step whatever it does here; none works for long without
// looking again, and none waits but poll_oneoff, http and the dials they drive.

// hostFunc is a host function: s has its arguments, then its result.
type hostFunc func(e *environment, s []uint64)

// offered is one function that a guest may import. types is its parameters, i
// for an i32 and I for an i64.
type offered struct {
	name, types string
	f           hostFunc
	returns     bool // an i32
}

// offer makes the functions that guests may import.
func offer(ctx context.Context, r wazero.Runtime) error {
	for name, functions := range map[string][]offered{wasiModule: wasiFunctions(), module.Host: wasmillFunctions()} {
		b := r.NewHostModuleBuilder(name)
		for _, f := range functions {
			params := make([]api.ValueType, len(f.types))
			for i, t := range f.types {
				if params[i] = api.ValueTypeI32; t == 'I' {
					params[i] = api.ValueTypeI64
				}
			}
			var results []api.ValueType
			if f.returns {
				results = []api.ValueType{api.ValueTypeI32}
			}
			call := f.f
			if f.name != module.YieldName && f.name != exitName { // which end the guest, or see to it
				call = func(e *environment, s []uint64) { e.check(); f.f(e, s) }
			}
			b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, s []uint64) {
				call(ctx.(*callContext).environment, s)
			}), params, results).Export(f.name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// bytes is n bytes at p of the guest's memory.
func (e *environment) bytes(p, n uint64) ([]byte, bool) { return e.in.mem.at(uint32(p), uint32(n)) }

// put32 and put64 write a result to the guest's memory.
func (e *environment) put32(p uint64, v uint32) bool {
	b, ok := e.bytes(p, 4)
	if ok {
		binary.LittleEndian.PutUint32(b, v)
	}
	return ok
}

func (e *environment) put64(p uint64, v uint64) bool {
	b, ok := e.bytes(p, 8)
	if ok {
		binary.LittleEndian.PutUint64(b, v)
	}
	return ok
}

const (
	// maxRequest is the longest name or address that a guest may ask to open.
	maxRequest = 4 << 10
	// maxHTTP is the longest request of http.
	maxHTTP = 16 << 20
)

// wasmillFunctions are our own: see docs/abi.md.
func wasmillFunctions() []offered {
	return []offered{
		{module.YieldName, "", func(e *environment, s []uint64) { s[0] = uint64(uint32(e.refill())) }, true},
		{"open", "iii", func(e *environment, s []uint64) { s[0] = answered(e.open(s[0], s[1], s[2])) }, true},
		{"error", "iii", func(e *environment, s []uint64) { s[0] = answered(e.explain(s[0], s[1], s[2])) }, true},
		{"http", "ii", func(e *environment, s []uint64) { s[0] = answered(e.http(s[0], s[1])) }, true},
		{"http_read", "ii", func(e *environment, s []uint64) { s[0] = answered(e.httpRead(s[0], s[1])) }, true},
		{"log", "iii", func(e *environment, s []uint64) { e.log(s[0], s[1], s[2]) }, false},
	}
}

// answered is a result that is not negative, or minus an error number.
func answered(n int, err errno) uint64 {
	if err != ok {
		n = -int(err)
	}
	return uint64(uint32(int32(n)))
}

func (e *environment) open(kind, p, n uint64) (int, errno) {
	if uint32(n) > maxRequest {
		return 0, errNameTooLong
	}
	request, in := e.bytes(p, n)
	if !in {
		return 0, errFault
	}
	fd, err := e.sockets.Open(e.living(), int32(kind), append([]byte(nil), request...))
	return int(fd), errno(err)
}

// explain writes why a descriptor failed, as much as there is room for, and
// answers how long it is.
func (e *environment) explain(fd, p, n uint64) (int, errno) {
	if !e.sockets.Is(int32(fd)) {
		return 0, errBadf
	}
	room, in := e.bytes(p, n)
	if !in {
		return 0, errFault
	}
	text := e.sockets.Error(int32(fd))
	copy(room, text)
	return len(text), ok
}

// http does a whole exchange, and answers how long its result is.
func (e *environment) http(p, n uint64) (int, errno) {
	if uint32(n) > maxHTTP {
		return 0, errNoBufs
	}
	request, in := e.bytes(p, n)
	if !in {
		return 0, errFault
	}
	began := now()
	answer, err := e.sockets.HTTP(e.living(), append([]byte(nil), request...))
	e.check()
	e.waited(now() - began)
	e.answer = answer
	return len(answer), errno(err)
}

// httpRead takes bytes off the result of the last http.
func (e *environment) httpRead(p, n uint64) (int, errno) {
	room, in := e.bytes(p, n)
	if !in {
		return 0, errFault
	}
	c := copy(room, e.answer)
	if e.answer = e.answer[c:]; len(e.answer) == 0 {
		e.answer = nil
	}
	return c, ok
}

// levels are how log marks a line.
var levels = [...]string{"", "DEBUG\t", "INFO\t", "WARN\t", "ERROR\t"}

func (e *environment) log(level, p, n uint64) {
	text, in := e.bytes(p, uint64(min(uint32(n), maxLog)))
	if !in {
		return
	}
	e.console.out.flush()
	if uint32(level) < uint32(len(levels)) {
		e.console.out.Write([]byte(levels[uint32(level)]))
	}
	e.print(&e.console.out, text)
	e.console.out.flush()
}
