package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// assemblyScript builds what asconfig.json names as its entry, or assembly/index.ts.
func assemblyScript(ctx context.Context, o Options, tmp, built string) (Result, error) {
	config := filepath.Join(o.Dir, "asconfig.json")
	var entry string
	args := []string{}
	if b, err := os.ReadFile(config); err == nil {
		var c struct{ Entries []string }
		if err := json.Unmarshal(b, &c); err != nil {
			return Result{}, fmt.Errorf("%w: %s: %w", ErrProject, config, err)
		}
		if len(c.Entries) > 0 {
			entry = c.Entries[0]
		} else {
			args = append(args, "--config", "asconfig.json")
		}
	}
	if entry == "" {
		found, err := firstFile(o.Dir, "assembly/index.ts", "index.ts", "src/index.ts", "handler.ts")
		if err != nil {
			return Result{}, err
		}
		entry = found
		args = append([]string{found}, args...)
	} else {
		args = append(args, "--config", "asconfig.json")
	}
	p, err := readPackage(o.Dir)
	if err != nil {
		return Result{}, err
	}
	if err := fetched(o.Dir, p); err != nil {
		return Result{}, err
	}
	folder, err := o.npmPackage(ctx, "assemblyscript", assemblyScriptVersion)
	if err != nil {
		return Result{}, err
	}
	asc, err := npmCommand(folder, "asc")
	if err != nil {
		return Result{}, err
	}
	res := Result{Package: p.Name, Compiler: "assemblyscript " + versionOf(folder)}
	o.Progress(fmt.Sprintf("compiling %s with %s", entry, res.Compiler))
	if _, err := os.Stat(config); err != nil {
		args = append(args, "--runtime", "incremental", "--exportStart", "_initialize", "--use", "abort=", "-O3")
	}
	if _, err := tool(ctx, o.Dir, nil, asc, append(args, "--outFile", built)...); err != nil {
		if ctx.Err() != nil {
			return res, err
		}
		return res, fmt.Errorf("%w:\n%w", ErrCompile, err)
	}
	res.ABI = grade(built)
	return res, nil
}

// firstFile is the first of some files that there is, with slashes.
func firstFile(dir string, names ...string) (string, error) {
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err == nil && !info.IsDir() {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: %s has none of the files %v", ErrProject, dir, names)
}
