package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmill/wasmill/functions"
)

// An outline is a module whose functions do nothing but trap. The engine decodes and
// validates a module each time, which for one with native code at hand is most of the
// work, and uses no more of it than the outline has. So the native code of a module is
// kept under the name that the engine looks for that of its outline under.
//
// The digest goes into the outline: no two modules have the same. code is of package
// module, so its sections are well formed.
func outline(code []byte, digest string) []byte {
	const head, customSection, codeSection = 8, 0, 10
	section := func(out []byte, id byte, content []byte) []byte {
		out = binary.AppendUvarint(append(out, id), uint64(len(content)))
		return append(out, content...)
	}
	out := append([]byte{}, code[:head]...)
	for b := code[head:]; len(b) > 0; {
		size, n := binary.Uvarint(b[1:])
		content := b[1+n:][:size]
		if b[0] == codeSection {
			count, n := binary.Uvarint(content)
			// Three bytes each: no locals, unreachable, end.
			content = append(bytes.Clone(content[:n]), bytes.Repeat([]byte{3, 0, 0, 0x0b}, int(count))...)
		}
		out = section(out, b[0], content)
		b = b[1+n+int(size):]
	}
	return section(out, customSection, append([]byte{byte(len("outline"))}, "outline"+digest...))
}

// recalled loads what the cache keeps of a module. It fails if that is not all there.
func (e *Engine) recalled(digest string) (*compiled, error) {
	w := e.recall(digest)
	if w == nil {
		return nil, fmt.Errorf("wasm: cache: module %s: %w", digest, fs.ErrNotExist)
	}
	// The functions of an outline must never run. With a context that has ended, and
	// more than one worker to look at it, the engine takes native code that is there and
	// makes none.
	ended, end := context.WithCancel(context.Background())
	end()
	cm, err := e.runtime.CompileModule(experimental.WithCompilationWorkers(ended, 2), w.outline)
	if err != nil {
		return nil, fmt.Errorf("wasm: cache: module %s: %w", digest, err)
	}
	return w.with(cm), nil
}

func (w *prepared) with(cm wazero.CompiledModule) *compiled {
	return &compiled{code: cm, abi: w.ABI, min: w.Min, segments: w.segments, globals: w.Globals, start: w.Start, cloneable: w.Cloneable}
}

// store compiles a module into the cache. Native code first: what recalled looks for last
// is there last.
func (e *Engine) store(ctx context.Context, digest string, w *prepared) error {
	tmp, err := os.MkdirTemp(e.opts.CacheDir, "compile-*")
	if err != nil {
		return fmt.Errorf("wasm: cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	native, _, err := compileTo(ctx, filepath.Join(tmp, "module"), w.code, e.opts.Workers)
	if err != nil {
		return err
	}
	traps, name, err := compileTo(ctx, filepath.Join(tmp, "outline"), w.outline, 1)
	if err != nil {
		return err
	}
	_ = os.Remove(traps) // it goes with the rest at the latest
	from, err := os.Open(native)
	if err != nil {
		return fmt.Errorf("wasm: cache: %w", err)
	}
	defer from.Close()
	err = writeWhole(filepath.Join(e.opts.CacheDir, name), func(to *os.File) error {
		_, err := io.Copy(to, from)
		return err
	})
	if err == nil {
		err = writeWhole(e.preparedFile(digest), func(to *os.File) error {
			_, err := to.Write(w.encode())
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("wasm: cache: %w", err)
	}
	return nil
}

// compileTo compiles a module into a folder of its own and tells where its native code
// is, and its name in that folder.
func compileTo(ctx context.Context, dir string, code []byte, workers int) (path, name string, err error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return "", "", fmt.Errorf("wasm: cache: %w", err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache))
	_, err = r.CompileModule(experimental.WithCompilationWorkers(ctx, workers), code)
	closing := context.WithoutCancel(ctx)
	if closed := errors.Join(r.Close(closing), cache.Close(closing)); err == nil {
		err = closed
	}
	if err != nil {
		return "", "", unfit(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("the engine left %d files", len(all))
	}
	if err == nil {
		name, err = filepath.Rel(dir, all[0])
	}
	if err != nil {
		return "", "", fmt.Errorf("wasm: cache: %w", err)
	}
	return all[0], name, nil
}

// unfit is an error of the engine's compiler: the code's fault unless a file is the matter.
func unfit(err error) error {
	if _, ours := errors.AsType[*fs.PathError](err); ours {
		return fmt.Errorf("wasm: cache: %w", err)
	}
	return fmt.Errorf("%w: not valid WebAssembly for this engine (WebAssembly 2.0 without threads, garbage collection and exceptions): %w", functions.ErrCode, err)
}

// writeWhole makes a file that is there whole or not at all.
func writeWhole(path string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
