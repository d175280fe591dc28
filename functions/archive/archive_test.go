package archive

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions"
)

// module begins as all do, and has a section that no size of a page divides.
var module = append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Repeat([]byte("section"), 1000)...)

// file is one of an archive; the zero Mode is that of a plain file.
type file struct {
	name string
	data []byte
	mode fs.FileMode
	edit func(*zip.FileHeader)
}

func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		h.SetMode(f.mode | 0o644)
		if f.edit != nil {
			f.edit(h)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func plain(name string, data []byte) file { return file{name: name, data: data} }

func TestModuleIsTakenOutOfAnUpload(t *testing.T) {
	packed, err := Pack(module)
	if err != nil {
		t.Fatal(err)
	}
	stored := file{name: "fn.wasm", data: module, edit: func(h *zip.FileHeader) { h.Method = zip.Store }}
	tests := map[string][]byte{
		"a bare module":                        module,
		"what Pack makes":                      packed,
		"a .wasm of any name":                  pack(t, plain("function.wasm", module)),
		"in a folder":                          pack(t, file{name: "bin/", mode: fs.ModeDir}, plain("bin/Function.WASM", module)),
		"a bootstrap":                          pack(t, plain("bootstrap", module)),
		"stored without packing":               pack(t, stored),
		"beside other files":                   pack(t, plain("README.md", []byte("x")), plain("main.go", []byte("x")), plain("fn.wasm", module), plain("package.json", nil)),
		"beside what macOS notes about it":     pack(t, plain("fn.wasm", module), plain("__MACOSX/._fn.wasm", []byte("Mac")), plain("._fn.wasm", []byte("Mac"))),
		"beside a bootstrap not at the top":    pack(t, plain("fn.wasm", module), plain("sub/bootstrap", []byte("#!/bin/sh"))),
		"with names of dots that lead nowhere": pack(t, plain("..a/b..wasm", module)),
	}
	for name, upload := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := Module(upload); err != nil || !bytes.Equal(got, module) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestPackIsTheSameEachTime(t *testing.T) {
	a, err := Pack(module)
	b, err2 := Pack(bytes.Clone(module))
	if err != nil || err2 != nil || !bytes.Equal(a, b) || !Is(a) {
		t.Errorf("%d and %d bytes, %v, %v", len(a), len(b), err, err2)
	}
}

// altered changes the fields of the only file of an archive, in its own header and in the
// directory; offsets are of the local header's fields.
func altered(t *testing.T, upload []byte, local, central int, value uint32) []byte {
	t.Helper()
	out := bytes.Clone(upload)
	dir := bytes.LastIndex(out, []byte("PK\x01\x02"))
	if dir < 0 {
		t.Fatal("no directory")
	}
	binary.LittleEndian.PutUint32(out[local:], value)
	binary.LittleEndian.PutUint32(out[dir+central:], value)
	return out
}

func TestUploadIsRefusedWithWhatToDo(t *testing.T) {
	elf := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 600)...)
	one := pack(t, plain("fn.wasm", module))
	zeros := append([]byte(magic), make([]byte, 40<<20)...)
	many := make([]file, 0, MaxFiles+1)
	for i := range MaxFiles + 1 {
		many = append(many, plain(fmt.Sprint("f", i), nil))
	}
	link := func(name, to string) file { return file{name: name, data: []byte(to), mode: fs.ModeSymlink} }
	tests := []struct {
		name   string
		upload []byte
		want   []string // all of it
	}{
		{"nothing", nil, []string{"empty", "want a .wasm"}},
		{"a native program", elf, []string{"a native Linux program (ELF)", "wasmill build DIR"}},
		{"text", []byte("def handler(event, context): pass"), []string{"is text", "neither a WebAssembly module nor a zip file"}},
		{"a gzip file", []byte("\x1f\x8b\x08\x00"), []string{"gzip"}},
		{"a zip file without files", pack(t), []string{"holds no file", "wasmill build DIR"}},
		{"of folders only", pack(t, file{name: "a/", mode: fs.ModeDir}), []string{"holds no file"}},
		{"cut off", one[:len(one)-10], []string{"cannot be read", "pack it again"}},
		{"the first half of one", one[:len(one)/2], []string{"cannot be read"}},
		{"a native bootstrap", pack(t, plain("bootstrap", elf)), []string{`"bootstrap" in the zip file is a native Linux program (ELF)`, "wasmill build DIR"}},
		{"a native program of another name", pack(t, plain("main", elf)), []string{`"main" in the zip file is a native Linux program (ELF)`, "wasmill build DIR"}},
		{"a script as bootstrap", pack(t, plain("bootstrap", []byte("#!/bin/sh\n"))), []string{"a script, not a WebAssembly module"}},
		{"a .wasm that is text", pack(t, plain("fn.wasm", []byte("(module)"))), []string{`"fn.wasm" in the zip file is text`}},
		{"a .wasm that is empty", pack(t, plain("fn.wasm", nil)), []string{`"fn.wasm" in the zip file is empty`}},
		{"Python", pack(t, plain("lib/x.js", nil), plain("app.py", []byte("x"))), []string{`Python ("app.py")`, "Python does not run here", "wasmill build DIR"}},
		{"Node.js", pack(t, plain("package.json", nil), plain("index.mjs", []byte("x"))), []string{`JavaScript ("index.mjs")`, "Node.js does not run here, JavaScript does", "wasmill build DIR"}},
		{"TypeScript", pack(t, plain("index.ts", []byte("x"))), []string{"TypeScript", "wasmill build DIR"}},
		{"Java", pack(t, plain("lib/app.jar", []byte("PK"))), []string{`Java ("lib/app.jar")`, "the JVM does not run here"}},
		{".NET", pack(t, plain("App.dll", []byte("MZ"))), []string{".NET"}},
		{"Ruby", pack(t, plain("app.rb", []byte("x"))), []string{"Ruby"}},
		{"Go source", pack(t, plain("main.go", []byte("x"))), []string{"Go source", "wasmill build DIR"}},
		{"text form", pack(t, plain("fn.wat", []byte("(module)"))), []string{"wat2wasm"}},
		{"a zip file in it", pack(t, plain("fn.zip", one)), []string{"upload the inner one"}},
		{"neither", pack(t, plain("data.csv", []byte("x"))), []string{`neither a .wasm nor a bootstrap, but "data.csv"`}},
		{"two modules", pack(t, plain("a.wasm", module), plain("b.wasm", module)), []string{`2 modules ("a.wasm", "b.wasm")`, "leave one"}},
		{"a module and a bootstrap", pack(t, plain("a.wasm", module), plain("bootstrap", module)), []string{"2 modules"}},
		{"the same name twice", pack(t, plain("a.wasm", module), plain("a.wasm", module)), []string{`"a.wasm" twice`}},
		{"a name that climbs", pack(t, plain("../fn.wasm", module)), []string{`"../fn.wasm", which leads out`}},
		{"beside the module too", pack(t, plain("fn.wasm", module), plain("a/../../x", nil)), []string{`"a/../../x", which leads out`}},
		{"an absolute name", pack(t, plain("/fn.wasm", module)), []string{`"/fn.wasm", which leads out`}},
		{"a name of Windows", pack(t, plain(`..\fn.wasm`, module)), []string{`which leads out`}},
		{"a drive", pack(t, plain(`c:fn.wasm`, module)), []string{`which leads out`}},
		{"a name with a zero", pack(t, plain("fn\x00.wasm", module)), []string{"no name of a file"}},
		{"a link", pack(t, link("fn.wasm", "/etc/passwd")), []string{`"fn.wasm", which is a link`, "pack the file itself"}},
		{"a link beside the module", pack(t, plain("fn.wasm", module), link("x", "/etc")), []string{`"x", which is a link`}},
		{"a device", pack(t, file{name: "x", mode: fs.ModeDevice}, plain("fn.wasm", module)), []string{"a link or a device"}},
		{"encrypted", pack(t, file{name: "fn.wasm", data: module, edit: func(h *zip.FileHeader) { h.Flags |= 1 }}), []string{"without a password"}},
		{"packed otherwise", altered(t, one, 8, 10, 14), []string{"by method 14", "deflate"}},
		{"damaged", altered(t, one, 14, 16, 12345), []string{"damaged", "pack it again"}},
		{"more files than can be", pack(t, many...), []string{"more than 10000 files"}},
		{"a module that unpacks to too much of nothing", pack(t, plain("fn.wasm", zeros)), []string{"more than 100 times its packed size"}},
		{"one that claims more than fits", altered(t, one, 22, 24, functions.MaxCode+1), []string{"more than 268435456 bytes unpacked"}},
		{"one that claims more than it has", altered(t, one, 22, 24, uint32(len(module)+1)), []string{"damaged"}},
		{"one that claims less than it has", altered(t, one, 22, 24, uint32(len(module)-1)), []string{"fn.wasm"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Module(tt.upload)
			if !errors.Is(err, functions.ErrCode) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
			if len(err.Error()) > 700 {
				t.Errorf("%d characters", len(err.Error()))
			}
		})
	}
}

// unpacking is how many bytes were asked of memory to unpack.
func unpacking(upload []byte) (got []byte, asked uint64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err = Module(upload)
	runtime.ReadMemStats(&after)
	return got, after.TotalAlloc - before.TotalAlloc, err
}

func TestUnpackingTakesMemoryOfTheModulesSize(t *testing.T) {
	large := append([]byte(magic), make([]byte, 48<<20)...)
	for i := 0; i < len(large); i += 100 {
		large[len(magic)-1+max(i, 1)] = byte(i * i >> 9) // it packs well, and not too well
	}
	got, asked, err := unpacking(pack(t, plain("fn.wasm", large)))
	if err != nil || !bytes.Equal(got, large) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if most := uint64(len(large)) + 4<<20; asked > most {
		t.Errorf("a module of %d bytes took %d bytes of memory, want at most %d", len(large), asked, most)
	}
	// The archive's word is not taken for it.
	one := pack(t, plain("fn.wasm", module))
	lies := altered(t, altered(t, one, 22, 24, functions.MaxCode), 18, 20, functions.MaxCode)
	if _, asked, err := unpacking(lies); !errors.Is(err, functions.ErrCode) || asked > 4<<20 {
		t.Errorf("an archive of %d bytes that claims 256 MB took %d bytes of memory: %v", len(lies), asked, err)
	}
}

// Whatever is uploaded, there is a module or a reason, in memory bounded by the upload.
func FuzzModule(f *testing.F) {
	one := pack(f, plain("a/b.wasm", module))
	f.Add(one)
	f.Add(pack(f, plain("bootstrap", module), plain("x.py", nil)))
	f.Add(pack(f, file{name: "d/", mode: fs.ModeDir}, file{name: "l", data: []byte("d"), mode: fs.ModeSymlink}))
	f.Add(module)
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, upload []byte) {
		got, err := Module(upload)
		switch {
		case err != nil && !errors.Is(err, functions.ErrCode):
			t.Errorf("%v is no refusal", err)
		case err == nil && !bytes.HasPrefix(got, []byte(magic)):
			t.Errorf("%q is no module", got[:min(len(got), 8)])
		case len(got) > max(freeRatio, (len(upload)+1)*maxRatio):
			t.Errorf("%d bytes out of %d", len(got), len(upload))
		}
	})
}

func TestAProgramOfTheOriginalRuntimeIsRefused(t *testing.T) {
	original := append([]byte(magic+"\x01\x00\x00\x00"), "…AWS_LAMBDA_RUNTIME_API…_LAMBDA_SERVER_PORT…"...)
	if _, err := Module(original); !errors.Is(err, functions.ErrCode) || !strings.Contains(err.Error(), "wasmill build DIR") {
		t.Errorf("%v", err)
	}
	for name, module := range map[string][]byte{
		"built by wasmill build": append(slices.Clone(original), "wm_json"...),
		"another command":        []byte(magic + "\x01\x00\x00\x00…AWS_LAMBDA_RUNTIME_API"),
	} {
		if _, err := Module(module); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
