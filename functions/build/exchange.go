package build

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// shim is our package lambda, and the file that goes into the function's
// package main. Named so that no tool takes them for packages of this module.
//
//go:embed shim/*.go.txt
var shim embed.FS

const (
	// starter is the file that goes into package main.
	starter = "main.go"
	// virtual is where the exchanged aws-lambda-go seems to be, relative to
	// the project's module. Nothing is ever written there. It is a fixed name
	// since it is recorded in the module that is built.
	virtual = ".wasmill/aws-lambda-go"
)

// exchange prepares a build in which package lambda is ours, and returns the
// flags that the Go command needs for it. Files it only needs for this build
// go to tmp.
func (p *project) exchange(cacheDir, tmp string) ([]string, error) {
	files, err := materialize(cacheDir)
	if err != nil {
		return nil, err
	}
	replace := make(map[string]string) // file that seems to be there -> file it is; "" for none
	if err := p.addStarter(replace, files); err != nil {
		return nil, err
	}
	var flags []string
	if p.vendored {
		// The module's other packages stay as they are vendored.
		for _, f := range p.lambda.GoFiles {
			replace[filepath.Join(p.lambda.Dir, f)] = ""
		}
		p.addShim(replace, p.lambda.Dir, files)
		flags = []string{"-mod=vendor"}
	} else {
		at := filepath.Join(p.g.root(), filepath.FromSlash(virtual))
		if p.g.work != "" {
			at = filepath.Join(tmp, filepath.FromSlash(virtual))
		}
		if err := p.addModule(replace, at, tmp); err != nil {
			return nil, err
		}
		p.addShim(replace, filepath.Join(at, "lambda"), files)
		if flags, err = p.addReplacement(tmp); err != nil {
			return nil, err
		}
	}
	if err := p.addDoor(replace, tmp); err != nil {
		return nil, err
	}
	more, err := overlayFlag(replace, tmp)
	return append(flags, more...), err
}

// materialize writes the shim to the cache and returns the directory. It is
// named for its content, so builds at the same time and other versions of
// wasmill do not meet.
func materialize(cacheDir string) (string, error) {
	entries, err := shim.ReadDir("shim")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	content := make(map[string][]byte)
	for _, e := range entries {
		b, err := shim.ReadFile("shim/" + e.Name())
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", e.Name(), len(b), b)
		content[strings.TrimSuffix(e.Name(), ".txt")] = b
	}
	dir := filepath.Join(cacheDir, "shim-"+hex.EncodeToString(h.Sum(nil)[:8]))
	if complete(dir, content) {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for name, b := range content {
		if err := deliverBytes(b, filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// complete says whether all files are there as they should be: caches get swept.
func complete(dir string, content map[string][]byte) bool {
	for name, want := range content {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			return false
		}
	}
	return true
}

func deliverBytes(b []byte, to string) error {
	f, err := os.CreateTemp(filepath.Dir(to), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

// addStarter adds a file to package main that tells ours where main is.
func (p *project) addStarter(replace map[string]string, files string) error {
	for i := range 100 {
		at := filepath.Join(p.main.Dir, fmt.Sprintf("wasmill_start%.*d.go", min(i, 1), i))
		if _, err := os.Lstat(at); errors.Is(err, fs.ErrNotExist) {
			replace[at] = filepath.Join(files, starter)
			return nil
		}
	}
	return fmt.Errorf("%w: too many files named wasmill_start*.go in %s", ErrProject, p.main.Dir)
}

// addShim puts our package into its place. Parts that need packages or types
// which the user's version does not have, or does not use, are left out.
func (p *project) addShim(replace map[string]string, dir, files string) {
	entries, _ := shim.ReadDir("shim") // embedded: was read before
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".txt")
		switch {
		case !p.has(name), name == starter:
		case name == reseeder:
			replace[filepath.Join(p.packages["runtime"].Dir, "wasmill_reseed.go")] = filepath.Join(files, name)
		default:
			replace[filepath.Join(dir, name)] = filepath.Join(files, name)
		}
	}
}

// addModule makes the user's version of aws-lambda-go seem to be in a
// directory, all but its package lambda, and its package events without what
// [withoutHTTP] spares.
func (p *project) addModule(replace map[string]string, at, tmp string) error {
	from := filepath.Dir(p.lambda.Dir)
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == "testdata" || rel == "cmd" || rel == "vendor" || rel == ".git"):
			return fs.SkipDir
		case d.IsDir(), rel == "go.mod", filepath.Dir(rel) == "lambda":
			return nil
		case filepath.Ext(rel) == ".go" && !strings.HasSuffix(rel, "_test.go"):
			if filepath.Dir(rel) == "events" {
				if path, err = withoutHTTP(path, tmp); err != nil {
					return err
				}
			}
			replace[filepath.Join(at, rel)] = path
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Early versions have no go.mod, which a directory needs.
	goMod := filepath.Join(from, "go.mod")
	if _, err := os.Stat(goMod); errors.Is(err, fs.ErrNotExist) {
		goMod = filepath.Join(tmp, "aws-lambda-go.mod")
		if err := os.WriteFile(goMod, []byte("module "+lambdaModule+"\n"), 0o600); err != nil {
			return err
		}
	}
	replace[filepath.Join(at, "go.mod")] = goMod
	return nil
}

// addReplacement has aws-lambda-go replaced by the virtual directory, whatever
// the project replaces it by, in copies of go.mod or go.work. It returns the flags.
func (p *project) addReplacement(tmp string) ([]string, error) {
	const target = "./" + virtual
	if p.g.work != "" {
		data, err := os.ReadFile(p.g.work)
		if err != nil {
			return nil, err
		}
		work, err := modfile.ParseWork(p.g.work, data, nil)
		if err != nil {
			return nil, err
		}
		for _, r := range work.Replace {
			if r.Old.Path == lambdaModule {
				if err := work.DropReplace(r.Old.Path, r.Old.Version); err != nil {
					return nil, err
				}
			}
		}
		if err := work.AddReplace(lambdaModule, "", target, ""); err != nil {
			return nil, err
		}
		work.Cleanup()
		return p.g.mod, os.WriteFile(p.g.work, modfile.Format(work.Syntax), 0o600)
	}

	data, err := os.ReadFile(p.g.goMod)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(p.g.goMod, data, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProject, err)
	}
	for _, r := range mod.Replace {
		if r.Old.Path == lambdaModule {
			if err := mod.DropReplace(r.Old.Path, r.Old.Version); err != nil {
				return nil, err
			}
		}
	}
	if err := mod.AddReplace(lambdaModule, "", target, ""); err != nil {
		return nil, err
	}
	mod.Cleanup()
	text, err := mod.Format()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(tmp, "go.mod")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	if err := copyIfThere(filepath.Join(p.g.root(), "go.sum"), filepath.Join(tmp, "go.sum")); err != nil {
		return nil, err
	}
	return []string{"-mod=readonly", "-modfile=" + file}, nil
}
