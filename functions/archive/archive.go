// Package archive takes a function's module out of what clients of AWS upload: a zip
// file, as AWS Lambda wants it, which holds one .wasm or a bootstrap that is one.
//
// An upload is judged as hostile. Nothing is written anywhere, only the module is
// unpacked, and nothing that the archive says of itself is believed: how much memory it
// takes is bounded by its own size and functions.MaxCode. What cannot be a function is
// refused with a sentence on what to do instead.
package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/functions"
)

const (
	// MaxFiles is how many files and folders an archive may hold.
	MaxFiles = 10_000
	// MaxUnpacked is how many bytes its files may have, by what it says. AWS: 250 MB.
	MaxUnpacked = functions.MaxCode

	// maxRatio is how many times its packed size a module may have, beyond freeRatio
	// bytes; compilers' output has about 3.
	maxRatio  = 100
	freeRatio = 16 << 20

	bootstrap = "bootstrap"
	magic     = "\x00asm"
	instead   = "build the function's project for WebAssembly with: wasmill build DIR, and upload the .wasm, or a zip of it"
)

// Module is the module in an upload: the upload itself, or what is in it if it is a zip
// file. Errors wrap functions.ErrCode.
func Module(upload []byte) ([]byte, error) {
	module, err := open(upload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", functions.ErrCode, err)
	}
	return module, Startable(module)
}

// Is says whether something looks like a zip file.
func Is(upload []byte) bool {
	return bytes.HasPrefix(upload, []byte("PK\x03\x04")) || bytes.HasPrefix(upload, []byte("PK\x05\x06"))
}

// Pack makes a zip file of a module, the same each time.
func Pack(module []byte) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	h := &zip.FileHeader{Name: bootstrap, Method: zip.Deflate}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write(module)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("pack a module: %w", err)
	}
	return out.Bytes(), nil
}

// runtimes are what only the original aws-lambda-go has in it, which asks a server for its
// events. What wasmill build makes has another in its place, and calls to be called by.
var runtimes, called = []string{"AWS_LAMBDA_RUNTIME_API", "_LAMBDA_SERVER_PORT"}, "wm_json"

// Startable refuses a module that compiles and could never be called: a Go program of
// lambda.Start that was not built by wasmill build. The error wraps [functions.ErrCode].
func Startable(module []byte) error {
	if bytes.Contains(module, []byte(called)) {
		return nil
	}
	for _, name := range runtimes {
		if !bytes.Contains(module, []byte(name)) {
			return nil
		}
	}
	return fmt.Errorf("%w: it is a Go program of lambda.Start that was built by go build alone, which would wait for a runtime API that is not there; "+
		"build it with: wasmill build DIR", functions.ErrCode)
}

func open(upload []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(upload, []byte(magic)):
		if len(upload) > functions.MaxCode {
			return nil, fmt.Errorf("the module has %d bytes, at most %d fit", len(upload), functions.MaxCode)
		}
		return upload, nil
	case len(upload) == 0:
		return nil, errors.New("the upload is empty: want a .wasm, or a zip of one")
	case !Is(upload):
		return nil, fmt.Errorf("the upload is %s, neither a WebAssembly module nor a zip file; %s", kind(upload), instead)
	case len(upload) > functions.MaxCode:
		return nil, fmt.Errorf("the zip file has %d bytes, at most %d fit", len(upload), functions.MaxCode)
	case bytes.Count(upload, []byte("PK\x01\x02")) > MaxFiles:
		// Counted before the reader has made an object of each.
		return nil, fmt.Errorf("the zip file holds more than %d files: want one .wasm", MaxFiles)
	}
	z, err := zip.NewReader(bytes.NewReader(upload), int64(len(upload)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // named below
		return nil, fmt.Errorf("the zip file cannot be read (%w): pack it again", err)
	}
	if err := check(z.File); err != nil {
		return nil, err
	}
	f, err := choose(z.File)
	if err != nil {
		return nil, err
	}
	return unpack(f, len(upload))
}

// check refuses what no honest archive of a function has.
func check(files []*zip.File) error {
	seen := map[string]bool{}
	var total uint64
	for _, f := range files {
		name := quoted(f.Name)
		clean := strings.TrimSuffix(f.Name, "/")
		total += min(f.UncompressedSize64, MaxUnpacked+1)
		switch {
		case clean == "" || !utf8.ValidString(clean) || strings.ContainsRune(clean, 0):
			return fmt.Errorf("the zip file holds %s, which is no name of a file: pack it again", name)
		case strings.ContainsAny(clean, `\:`) || path.IsAbs(clean) || !fs.ValidPath(clean):
			return fmt.Errorf("the zip file holds %s, which leads out of the folder it is unpacked to: pack it again from within the folder, with names relative to it", name)
		case seen[clean]:
			return fmt.Errorf("the zip file holds %s twice: pack it again", name)
		case !f.Mode().IsRegular() && !f.Mode().IsDir():
			return fmt.Errorf("the zip file holds %s, which is a link or a device: pack the file itself (zip without --symlinks)", name)
		case f.Flags&1 != 0:
			return fmt.Errorf("the zip file holds %s encrypted: pack it without a password", name)
		case total > MaxUnpacked:
			return fmt.Errorf("the zip file holds more than %d bytes unpacked: leave out what is not the module", MaxUnpacked)
		}
		seen[clean] = true
	}
	return nil
}

// choose finds the one module.
func choose(files []*zip.File) (*zip.File, error) {
	var modules, others []*zip.File
	for _, f := range files {
		base := path.Base(f.Name)
		switch {
		case f.Mode().IsDir() || strings.HasPrefix(f.Name, "__MACOSX/") || strings.HasPrefix(base, "._"):
			// Nothing, or what macOS notes about files.
		case f.Name == bootstrap || strings.EqualFold(path.Ext(base), ".wasm"):
			modules = append(modules, f)
		default:
			others = append(others, f)
		}
	}
	switch {
	case len(modules) > 1:
		var names []string
		for _, f := range modules[:min(len(modules), 5)] {
			names = append(names, quoted(f.Name))
		}
		return nil, fmt.Errorf("the zip file holds %d modules (%s), and which is the function nobody can tell: leave one", len(modules), strings.Join(names, ", "))
	case len(modules) == 0:
		return nil, foreign(others)
	}
	f := modules[0]
	head, err := read(f, 512)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(head, []byte(magic)) {
		return nil, fmt.Errorf("%s in the zip file is %s, not a WebAssembly module; %s", quoted(f.Name), kind(head), instead)
	}
	return f, nil
}

// languages are what other files tell of an archive without a module.
var languages = []struct{ ends, what, remedy string }{
	{".py", "Python", "Python does not run here: write the function in Go, Rust, C, AssemblyScript or JavaScript, and build it with: wasmill build DIR"},
	{".js .mjs .cjs", "JavaScript", "Node.js does not run here, JavaScript does: build the folder with: wasmill build DIR, and upload the .wasm"},
	{".ts", "TypeScript", "compile it to JavaScript, or write AssemblyScript, build the folder with: wasmill build DIR, and upload the .wasm"},
	{".jar .class", "Java", "the JVM does not run here: write the function in Go, Rust, C, AssemblyScript or JavaScript, and build it with: wasmill build DIR"},
	{".dll", ".NET", ".NET does not run here: write the function in Go, Rust, C, AssemblyScript or JavaScript, and build it with: wasmill build DIR"},
	{".rb", "Ruby", "Ruby does not run here: write the function in Go, Rust, C, AssemblyScript or JavaScript, and build it with: wasmill build DIR"},
	{".go", "Go source", "build the folder with: wasmill build DIR, and upload the .wasm"},
	{".rs", "Rust source", "build the folder with: wasmill build DIR, and upload the .wasm"},
	{".c", "C source", "build the folder with: wasmill build DIR, and upload the .wasm"},
	{".wat", "WebAssembly in text form", "assemble it with wat2wasm, and upload the .wasm"},
	{".zip", "a zip file in a zip file", "upload the inner one"},
}

// foreign says what an archive without a module is taken for.
func foreign(files []*zip.File) error {
	if len(files) == 0 {
		return fmt.Errorf("the zip file holds no file: want one .wasm; %s", instead)
	}
	// A program in machine code may bear any name.
	looked := 0
	for _, f := range files {
		if path.Ext(f.Name) != "" || strings.Contains(f.Name, "/") || looked == 8 {
			continue
		}
		looked++
		if head, err := read(f, 512); err == nil && native(head) != "" {
			return fmt.Errorf("%s in the zip file is %s, and functions here are WebAssembly modules; %s", quoted(f.Name), native(head), instead)
		}
	}
	for _, l := range languages {
		for _, f := range files {
			if ext := strings.ToLower(path.Ext(f.Name)); ext != "" && slices.Contains(strings.Fields(l.ends), ext) {
				return fmt.Errorf("the zip file holds %s (%s) and no WebAssembly module; %s", l.what, quoted(f.Name), l.remedy)
			}
		}
	}
	return fmt.Errorf("the zip file holds neither a .wasm nor a bootstrap, but %s; %s", quoted(files[0].Name), instead)
}

// unpack reads the module of an archive of size bytes, into memory of just its size. What
// does not have the size that it claims is refused.
func unpack(f *zip.File, size int) ([]byte, error) {
	name := quoted(f.Name)
	if f.UncompressedSize64 > functions.MaxCode {
		return nil, fmt.Errorf("%s has %d bytes unpacked, at most %d fit", name, f.UncompressedSize64, functions.MaxCode)
	}
	if f.UncompressedSize64 > freeRatio && f.UncompressedSize64/maxRatio > min(f.CompressedSize64, uint64(size)) {
		return nil, fmt.Errorf("%s unpacks to more than %d times its packed size, as no module does: upload the .wasm itself if it is one", name, maxRatio)
	}
	// One byte more than it says, to see the end, and to have the checksum compared.
	module, err := read(f, int(f.UncompressedSize64)+1)
	if err != nil {
		return nil, err
	}
	if uint64(len(module)) != f.UncompressedSize64 {
		return nil, fmt.Errorf("%s does not have the %d bytes that the zip file says: pack it again", name, f.UncompressedSize64)
	}
	return module, nil
}

// read unpacks at most n bytes of a file, into a buffer of that size.
func read(f *zip.File, n int) ([]byte, error) {
	r, err := f.Open()
	if err == nil {
		b, have := make([]byte, n), 0
		for have < n && err == nil {
			n := 0
			n, err = r.Read(b[have:])
			have += n
		}
		r.Close() // frees the decompressor; all errors are Read's
		if err == nil || err == io.EOF {
			return b[:have], nil
		}
	}
	if errors.Is(err, zip.ErrAlgorithm) {
		return nil, fmt.Errorf("%s is packed by method %d: pack it with deflate, the default of zip", quoted(f.Name), f.Method)
	}
	return nil, fmt.Errorf("%s in the zip file is damaged (%w): pack it again", quoted(f.Name), err)
}

// native is the kind of a program in machine code, or nothing.
func native(head []byte) string {
	for _, p := range []struct{ magic, what string }{
		{"\x7fELF", "a native Linux program (ELF)"},
		{"MZ", "a native Windows program"},
		{"\xcf\xfa\xed\xfe", "a native macOS program"},
		{"\xca\xfe\xba\xbe", "a native macOS program, or a Java class"},
	} {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return p.what
		}
	}
	return ""
}

// kind names what bytes begin like.
func kind(head []byte) string {
	if what := native(head); what != "" {
		return what
	}
	head = head[:min(len(head), 512)]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return "a script"
	case bytes.HasPrefix(head, []byte("PK")):
		return "a zip file"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "a gzip file"
	case len(head) == 0:
		return "empty"
	case utf8.Valid(head[:max(0, len(head)-utf8.UTFMax)]) && !bytes.ContainsRune(head, 0):
		return "text"
	}
	return "something else"
}

// quoted is a name as a message can bear it.
func quoted(name string) string { return fmt.Sprintf("%.100q", name) }
