package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const installC = "install clang, lld and WASI's C library: `apt-get install clang lld wasi-libc libclang-rt-dev-wasm32` on Debian and Ubuntu " +
	"(with a version in it where there is one, as libclang-rt-14-dev-wasm32), or the WASI SDK from https://github.com/WebAssembly/wasi-sdk with WASI_SDK_PATH set to its folder"

// c builds all *.c files of the directory, and of its folder src, into a reactor.
func c(ctx context.Context, o Options, tmp, built string) (Result, error) {
	var sources []string
	for _, pattern := range []string{"*.c", "src/*.c"} {
		found, err := filepath.Glob(filepath.Join(o.Dir, filepath.FromSlash(pattern)))
		if err != nil {
			return Result{}, err
		}
		for _, f := range found {
			rel, err := filepath.Rel(o.Dir, f)
			if err != nil {
				return Result{}, err
			}
			sources = append(sources, rel)
		}
	}
	if len(sources) == 0 {
		return Result{}, fmt.Errorf("%w: %s has no .c file, and its folder src neither", ErrProject, o.Dir)
	}
	clang, flags, err := findClang()
	if err != nil {
		return Result{}, err
	}
	version, err := tool(ctx, tmp, nil, clang, "--version")
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrToolchain, err)
	}
	res := Result{Compiler: "clang " + clangVersion(string(version))}
	o.Progress(fmt.Sprintf("compiling %s with %s", strings.Join(sources, ", "), res.Compiler))
	// The stack comes first, so that running over its end is a trap and does not
	// touch data, and is as large as wasmill's other guests have it.
	flags = append(flags, "--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-fno-ident", "-ffile-prefix-map="+o.Dir+"=.",
		"-Wl,--strip-debug", "-Wl,--stack-first", "-Wl,-z,stack-size=1048576", "-I.", "-o", built)
	if _, err := tool(ctx, o.Dir, nil, clang, append(flags, sources...)...); err != nil {
		if ctx.Err() != nil {
			return res, err
		}
		if e := probeC(ctx, clang, flags[:len(flags)-1], tmp); e != nil {
			return res, fmt.Errorf("%w: %s cannot build for WASI: %s\n%w", ErrToolchain, clang, installC, e)
		}
		return res, fmt.Errorf("%w:\n%w", ErrCompile, err)
	}
	res.ABI = grade(built)
	return res, nil
}

// probeC builds a program that needs headers, library and linker, and nothing else.
func probeC(ctx context.Context, clang string, flags []string, tmp string) error {
	source := filepath.Join(tmp, "probe.c")
	if err := os.WriteFile(source, []byte("#include <stdlib.h>\n__attribute__((export_name(\"probe\"))) void *probe(int n) { return malloc(n); }\n"), 0o600); err != nil {
		return err
	}
	_, err := tool(ctx, tmp, nil, clang, append(flags[:len(flags):len(flags)], filepath.Join(tmp, "probe.wasm"), source)...)
	return err
}

func findClang() (path string, flags []string, err error) {
	if sdk := os.Getenv("WASI_SDK_PATH"); sdk != "" {
		path := filepath.Join(sdk, "bin", "clang")
		if _, err := exec.LookPath(path); err != nil {
			return "", nil, fmt.Errorf("%w: WASI_SDK_PATH is %s, and there is no bin/clang in it: %s", ErrToolchain, sdk, installC)
		}
		return path, []string{"--sysroot=" + filepath.Join(sdk, "share", "wasi-sysroot")}, nil
	}
	path, err = exec.LookPath("clang")
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return "", nil, fmt.Errorf("%w: the command clang was not found: %s", ErrToolchain, installC)
	}
	return path, nil, err
}

// clangVersion takes the version off what clang --version prints.
func clangVersion(text string) string {
	_, after, ok := strings.Cut(text, "version ")
	if fields := strings.Fields(after); ok && len(fields) > 0 {
		return fields[0]
	}
	return "of unknown version"
}
