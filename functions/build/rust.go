package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const installRust = "with rustup: `rustup target add wasm32-wasip1`; on Debian and Ubuntu: `apt-get install rustc libstd-rust-dev-wasm32`; " +
	"where there is no Rust at all: https://rustup.rs"

// rustTargets are the names that Rust has had for WASI preview 1, newest first.
var rustTargets = []string{"wasm32-wasip1", "wasm32-wasi"}

// cargoToml is what of a Cargo.toml is looked at.
type cargoToml struct {
	Package struct {
		Name    string
		Edition any // text, or a table that asks the workspace
		Build   any
	}
	Lib struct {
		Name, Path string
		CrateType  []string `toml:"crate-type"`
	}
	Dependencies, Target, Features, Workspace map[string]any
}

// rust builds a library crate: by rustc alone where the crate has no
// dependencies, and by Cargo otherwise.
func rust(ctx context.Context, o Options, tmp, built string) (Result, error) {
	var manifest cargoToml
	b, err := os.ReadFile(filepath.Join(o.Dir, "Cargo.toml"))
	withManifest := err == nil
	if withManifest {
		if err := toml.Unmarshal(b, &manifest); err != nil {
			return Result{}, fmt.Errorf("%w: %s: %w", ErrProject, filepath.Join(o.Dir, "Cargo.toml"), err)
		}
		if manifest.Package.Name == "" {
			return Result{}, fmt.Errorf("%w: %s names no package: give the folder of the function's crate", ErrProject, filepath.Join(o.Dir, "Cargo.toml"))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Result{}, err
	}
	source, err := rustSource(o.Dir, manifest.Lib.Path)
	if err != nil {
		return Result{}, err
	}
	if withManifest && !slices.Contains(manifest.Lib.CrateType, "cdylib") {
		return Result{}, fmt.Errorf("%w: %s makes no module: put crate-type = [\"cdylib\"] below [lib]", ErrProject, filepath.Join(o.Dir, "Cargo.toml"))
	}
	r, err := findRust(ctx)
	if err != nil {
		return Result{}, err
	}
	name := strings.ReplaceAll(cmp.Or(manifest.Lib.Name, manifest.Package.Name, filepath.Base(o.Dir)), "-", "_")
	res := Result{Package: manifest.Package.Name, Compiler: r.version}
	o.Progress(fmt.Sprintf("compiling %s with %s for %s", filepath.ToSlash(source), r.version, r.target))
	_, buildScript := os.Stat(filepath.Join(o.Dir, "build.rs"))
	edition, plain := manifest.Package.Edition.(string)
	if !withManifest {
		edition, plain = "2021", true
	}
	if manifest.Package.Edition == nil && withManifest {
		edition, plain = "2015", true
	}
	if plain && len(manifest.Dependencies)+len(manifest.Target)+len(manifest.Features) == 0 && manifest.Package.Build == nil && buildScript != nil {
		_, err = tool(ctx, o.Dir, nil, r.rustc, "--crate-type=cdylib", "--crate-name="+name, "--edition="+edition, "--target="+r.target, "-Copt-level=3",
			"-Cpanic=abort", "-Ccodegen-units=1", "-Cstrip=debuginfo", "--remap-path-prefix="+o.Dir+"=.", "-o", built, source)
	} else {
		err = r.cargo(ctx, o, manifest, name, built)
	}
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrToolchain) {
			return res, err
		}
		if found := noLinker.FindStringSubmatch(err.Error()); found != nil {
			return res, fmt.Errorf("%w: %s found no linker %s: %s\n%w", ErrToolchain, r.version, found[1], installLinker(found[1]), err)
		}
		return res, fmt.Errorf("%w:\n%w", ErrCompile, err)
	}
	res.ABI = grade(built)
	return res, nil
}

// noLinker finds the linker that rustc misses, in what it says.
var noLinker = regexp.MustCompile("linker `([^`]+)` not found")

func installLinker(name string) string {
	if strings.Contains(name, "lld") || strings.Contains(name, "wasm-ld") {
		return "on Debian and Ubuntu: `apt-get install lld`; rustup's own comes with `rustup target add wasm32-wasip1`"
	}
	return "the build scripts of dependencies need a C compiler; on Debian and Ubuntu: `apt-get install gcc libc6-dev`, on macOS: `xcode-select --install`"
}

// rustSource is the root of the crate, as seen from its directory.
func rustSource(dir, named string) (string, error) {
	for _, path := range []string{named, "src/lib.rs", "lib.rs"} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(path))); err == nil {
			return filepath.FromSlash(path), nil
		}
	}
	if all, _ := filepath.Glob(filepath.Join(dir, "*.rs")); len(all) == 1 {
		return filepath.Base(all[0]), nil
	}
	return "", fmt.Errorf("%w: %s has no src/lib.rs: a function is a library crate (crate-type = [\"cdylib\"])", ErrProject, dir)
}

// rustc is a compiler that has the standard library for WASI.
type rustc struct{ rustc, target, version string }

// findRust asks each rustc there is: a distribution's may have what rustup's lacks.
func findRust(ctx context.Context) (rustc, error) {
	exe := ""
	if runtime.GOOS == "windows" {
		exe = ".exe"
	}
	dirs := filepath.SplitList(os.Getenv("PATH"))
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".cargo", "bin"))
	}
	dirs = append(dirs, "/usr/bin", "/usr/local/bin")
	var tried []string
	for _, dir := range dirs {
		path := filepath.Join(dir, "rustc"+exe)
		if _, err := exec.LookPath(path); err != nil || slices.Contains(tried, path) {
			continue
		}
		tried = append(tried, path)
		for _, target := range rustTargets {
			out, err := tool(ctx, os.TempDir(), nil, path, "--target="+target, "--print=target-libdir")
			if ctx.Err() != nil {
				return rustc{}, context.Cause(ctx)
			}
			if err != nil {
				continue
			}
			if std, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "libstd-*")); len(std) > 0 {
				version, err := tool(ctx, os.TempDir(), nil, path, "--version")
				if err != nil {
					continue
				}
				return rustc{path, target, strings.Join(strings.Fields(string(version))[:2], " ")}, nil
			}
		}
	}
	if len(tried) == 0 {
		return rustc{}, fmt.Errorf("%w: the command rustc was not found: %s", ErrToolchain, installRust)
	}
	return rustc{}, fmt.Errorf("%w: %s has no standard library for WebAssembly: %s", ErrToolchain, strings.Join(tried, ", nor "), installRust)
}

// cargo builds a crate with dependencies. What it makes on the way is kept
// outside of the project, and serves the next build.
func (r rustc) cargo(ctx context.Context, o Options, manifest cargoToml, name, built string) error {
	cargo := filepath.Join(filepath.Dir(r.rustc), "cargo"+filepath.Ext(r.rustc))
	if _, err := exec.LookPath(cargo); err != nil {
		if cargo, err = exec.LookPath("cargo"); err != nil {
			return fmt.Errorf("%w: the crate has dependencies, and the command cargo was not found beside %s: %s", ErrToolchain, r.rustc, installRust)
		}
	}
	cache, err := o.cacheFolder()
	if err != nil {
		return err
	}
	of := sha256.Sum256([]byte(o.Dir))
	target := filepath.Join(cache, fmt.Sprintf("cargo-%x", of[:8]))
	env := []string{"RUSTC=" + r.rustc, "CARGO_TARGET_DIR=" + target, "CARGO_PROFILE_RELEASE_STRIP=debuginfo", "CARGO_PROFILE_RELEASE_PANIC=abort"}
	if _, err := tool(ctx, o.Dir, env, cargo, "build", "--release", "--lib", "--target="+r.target, "--package="+manifest.Package.Name); err != nil {
		if strings.Contains(err.Error(), "requires rustc") || strings.Contains(err.Error(), "newer version of rustc") {
			return fmt.Errorf("%w: %s is too old for the crate's dependencies: %s\n%w", ErrToolchain, r.version, installRust, err)
		}
		return err
	}
	return deliver(filepath.Join(target, r.target, "release", name+".wasm"), built)
}
