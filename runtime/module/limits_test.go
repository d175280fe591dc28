package module

import (
	"bytes"
	"strings"
	"testing"
)

func repeat(n int, b ...byte) []byte { return bytes.Repeat(b, n) }

// goBody is what Go makes of a large function: a loop around a br_table that
// leads into n blocks nested in each other, and behind each a bit of code that
// jumps back.
func goBody(n int) []byte {
	code := cat([]byte{0x03, 0x40}, repeat(n, 0x02, 0x40), []byte{0x20, 0, 0x0e}, leb(uint64(n-1)))
	for i := range n {
		code = append(code, leb(uint64(i))...)
	}
	for i := range n {
		code = append(code, 0x0b)
		code = append(code, i32Const(int32(i*7%n))...)
		code = append(code, 0x21, 0, 0x20, 1, 0x0d)
		code = append(code, leb(uint64(n-1-i))...)
	}
	return append(code, 0x0b)
}

func TestLargeFunctionsOfGoPass(t *testing.T) {
	a := assembly{funcs: []fn{{locals: []byte{1, 2, 0x7f}, code: goBody(20_000)}}}
	code := a.bytes()
	if len(code) < 300_000 {
		t.Fatalf("%d bytes are not large", len(code))
	}
	if _, err := Read(code); err != nil {
		t.Error(err)
	}
	straight := assembly{funcs: []fn{{locals: []byte{1, 2, 0x7f}, code: repeat(1<<20, 0x20, 0, 0x41, 1, 0x6a, 0x21, 0)}}}
	if _, err := Read(straight.bytes()); err != nil {
		t.Errorf("7 MB of straight code: %v", err)
	}
}

// Each of these is small, and takes the engine many seconds or gigabytes.
func TestCompileBombsAreRefused(t *testing.T) {
	const slow, most = "would take too long to compile", "are taken"
	many := func(n int) string { return string(repeat(n, 0x7f)) }
	condition := []byte{0x20, 0}
	br := func(n, labels int) []byte {
		return bytes.Repeat(cat([]byte{0x02, 0x40, 0x20, 0, 0x0e}, leb(uint64(labels)), repeat(labels+1, 0), []byte{0x0b}), n)
	}
	variables := func(locals, blocks int, block ...byte) []byte {
		var code []byte
		for i := range locals {
			code = cat(code, []byte{0x20}, leb(uint64(i)), []byte{0x41, 1, 0x6a, 0x21}, leb(uint64(i)))
		}
		code = append(code, repeat(blocks, block...)...)
		for i := range locals {
			code = cat(code, []byte{0x20}, leb(uint64(i)), []byte{0x1a})
		}
		return code
	}
	tests := []struct {
		name   string
		locals int
		code   []byte
		want   string
	}{
		{"nested blocks, 60 KB", 1, cat(repeat(20_000, 0x02, 0x40), repeat(20_000, 0x0b)), slow},
		{"nested blocks with branches", 1, cat(repeat(8_000, 0x02, 0x40, 0x20, 0, 0x0d, 0), repeat(8_000, 0x0b)), slow},
		{"nested loops", 1, cat(repeat(5_000, 0x03, 0x40), repeat(5_000, 0x0b)), slow},
		{"nested ifs", 1, cat(repeat(8_000, 0x20, 0, 0x04, 0x40), repeat(8_000, 0x0b)), slow},
		{"ifs, 40 KB", 1, repeat(8_000, 0x20, 0, 0x04, 0x40, 0x0b), slow},
		{"ifs, 160 KB", 1, repeat(32_000, 0x20, 0, 0x04, 0x40, 0x0b), slow},
		{"ifs with elses", 1, repeat(8_000, 0x20, 0, 0x04, 0x40, 0x05, 0x0b), slow},
		{"blocks", 1, repeat(8_000, 0x02, 0x40, 0x20, 0, 0x0d, 0, 0x0b), slow},
		{"loops", 1, repeat(4_000, 0x03, 0x40, 0x20, 0, 0x0d, 0, 0x0b), slow},
		{"branches", 1, repeat(20_000, 0x20, 0, 0x0d, 0), slow},
		{"filling", 1, repeat(10_000, 0x41, 0, 0x41, 0, 0x41, 1, 0xfc, memoryFill, 0), slow},
		{"br_table, 160 KB", 1, br(1, 160_000), most},
		{"many br_table", 1, br(1000, 1000), slow},
		{"blocks of Go without end", 2, goBody(70_000), slow},
		{"divisions", 1, cat(condition, repeat(100_000, 0x20, 0, 0x6d), []byte{0x1a}), most},
		{"remainders of 64 bits", 1, cat([]byte{0x42, 1}, repeat(100_000, 0x42, 3, 0x82), []byte{0x1a}), most},
		{"truncations", 1, repeat(100_000, 0x43, 0, 0, 0, 0, 0xa8, 0x1a), most},
		{"50,000 variables", 50_000, nil, most},
		{"2^32 variables", 1 << 32, nil, "variables"},
		{"variables through ifs", 1000, variables(1000, 1000, 0x20, 0, 0x04, 0x40, 0x41, 5, 0x21, 1, 0x0b), slow},
		{"variables through loops", 4000, variables(4000, 50, 0x03, 0x40, 0x20, 0, 0x0d, 0, 0x0b), slow},
		{"values through blocks", 1, cat(repeat(1000, 0x41, 0), repeat(500, 0x02, 1, 0x20, 0, 0x0d, 0, 0x0b), repeat(1000, 0x1a)), slow},
		{"values through loops", 1, cat(repeat(1000, 0x41, 0), repeat(500, 0x03, 1, 0x20, 0, 0x0d, 0, 0x0b), repeat(1000, 0x1a)), slow},
		{"values through calls", 1, cat(repeat(1000, 0x41, 0), repeat(2000, 0x10, 1), repeat(1000, 0x1a)), slow},
		{"values through branches", 1, cat([]byte{0x02, 1}, repeat(1000, 0x41, 0), repeat(1000, 0x20, 0, 0x0d, 0), []byte{0x0b}, repeat(1000, 0x1a)), slow},
		{"values through br_table", 1, cat([]byte{0x02, 1, 0x20, 0, 0x0e}, leb(1000), repeat(1001, 0), []byte{0x0b}), slow},
		{"blocks that are never reached", 1, cat([]byte{0x00}, repeat(100_000, 0x02, 0x40), repeat(100_000, 0x0b)), slow},
		{"values through indirect calls", 1, cat(repeat(1000, 0x41, 0), repeat(2000, 0x41, 0, 0x11, 1, 0), repeat(1000, 0x1a)), slow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			locals := cat([]byte{1}, leb(uint64(tt.locals)), []byte{0x7f})
			if tt.locals == 1<<32 {
				locals = cat([]byte{2}, leb(1<<32-1), []byte{0x7f, 1, 0x7f})
			}
			a := assembly{types: []Signature{{"", ""}, {many(1000), many(1000)}}, tables: [][]byte{{0x70, 0, 1}},
				funcs: []fn{{locals: locals, code: cat(tt.code, condition, []byte{0x1a})}, {params: many(1000), results: many(1000), code: []byte{0x00}}}}
			_, err := Read(a.bytes())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "function 0") {
				t.Errorf("%v, want … %s", err, tt.want)
			}
		})
	}
}

// What each body may cost, all together may not.
func TestManySlowFunctionsAreRefused(t *testing.T) {
	a := assembly{}
	for range 100 {
		a.funcs = append(a.funcs, fn{locals: []byte{1, 1, 0x7f}, code: repeat(5_000, 0x20, 0, 0x04, 0x40, 0x0b)})
	}
	if _, err := Read(a.bytes()); err == nil || !strings.Contains(err.Error(), "altogether") {
		t.Error(err)
	}
	a.funcs = a.funcs[:50]
	if _, err := Read(a.bytes()); err != nil {
		t.Error(err)
	}
}

func TestManySmallFunctionsOfLargeSignatureAreRefused(t *testing.T) {
	large := string(repeat(1000, 0x7f))
	results, variables := assembly{}, assembly{}
	for range 30_000 {
		results.funcs = append(results.funcs, fn{results: large, code: []byte{0x00}})
		variables.funcs = append(variables.funcs, fn{locals: []byte{1, 0xe8, 0x07, 0x7f}})
	}
	for want, a := range map[string]assembly{"altogether": results, "4195000)": variables} {
		if _, err := Read(a.bytes()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want … %s", err, want)
		}
	}
}

func TestSectionsHaveABound(t *testing.T) {
	section := func(id byte, n int, item ...byte) []byte {
		return sectionOf(id, cat(leb(uint64(n)), repeat(n, item...)))
	}
	types := section(sectionType, 1, 0x60, 0, 0)
	tests := []struct {
		name string
		code []byte
		want string
	}{
		{"types", section(sectionType, 1<<20, 0x60, 0, 0), "1048576 types"},
		{"parameters", section(sectionType, 1, cat([]byte{0x60}, str(string(repeat(1001, 0x7f))), []byte{0})...), "1001 parameters"},
		{"parameters of all", section(sectionType, 2000, cat([]byte{0x60}, str(string(repeat(1000, 0x7f))), []byte{0})...), "1049000 parameters"},
		{"imports", cat(types, section(sectionImport, 1<<16, 1, 'a', 1, 'b', kindFunc, 0)), "65536 imports"},
		{"functions", cat(types, section(sectionFunction, 1_000_000, 0)), "1000000 functions"},
		{"tables", section(sectionTable, 100, 0x70, 0, 0), "100 tables"},
		{"globals", section(sectionGlobal, 1<<20, 0x7f, 0, 0x41, 0, 0x0b), "1048576 globals"},
		{"exports", section(sectionExport, 1<<20, 0, 0, 0), "1048576 exports"},
		{"element segments", section(sectionElement, 1<<21, 1, 0, 0), "2097152 element segments"},
		{"elements", cat(types, section(sectionFunction, 1, 0), section(sectionElement, 1, cat([]byte{1, 0}, leb(1<<21), repeat(1<<21, 0))...)), "2097152 elements"},
		{"data segments", section(sectionData, 1<<21, 1, 0), "2097152 data segments"},
		{"more than there are", sectionOf(sectionType, leb(1<<20)), "build or copy it again"},
	}
	for _, tt := range tests {
		if _, err := Read(cat([]byte("\x00asm\x01\x00\x00\x00"), tt.code)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want … %s", tt.name, err, tt.want)
		}
	}
}
