package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/build/quickjs"
)

// nodeModules are what of Node's own modules a program may import; the rest of
// them needs an operating system. See quickjs/prelude.js for what they rest on.
var nodeModules = map[string]string{
	"buffer":  "export const Buffer = globalThis.Buffer;\nexport default { Buffer };\n",
	"process": "export default globalThis.process;\nexport const { env, argv, nextTick, hrtime, cwd } = globalThis.process;\n",
	"crypto": "export const { randomUUID, getRandomValues, randomBytes } = globalThis.crypto;\nexport const webcrypto = globalThis.crypto;\n" +
		"export default { randomUUID, getRandomValues, randomBytes, webcrypto };\n",
	"util": "export const { inspect, format } = globalThis[Symbol.for('wasmill.util')];\n" +
		"export const promisify = (f) => (...args) => new Promise((ok, fail) => f(...args, (e, v) => (e ? fail(e) : ok(v))));\n" +
		"export const TextEncoder = globalThis.TextEncoder, TextDecoder = globalThis.TextDecoder;\n" +
		"export const inherits = (a, b) => { Object.setPrototypeOf(a.prototype, b.prototype); };\n" +
		"export default { inspect, format, promisify, TextEncoder, TextDecoder, inherits };\n",
	"timers/promises": "export const setTimeout = (ms, value) => new Promise((ok) => globalThis.setTimeout(ok, ms, value));\n" +
		"export const setImmediate = (value) => setTimeout(0, value);\nexport default { setTimeout, setImmediate };\n",
}

// javaScript bundles the program into one text, and links that with QuickJS.
func javaScript(ctx context.Context, o Options, tmp, built string) (Result, error) {
	p, err := readPackage(o.Dir)
	if err != nil {
		return Result{}, err
	}
	entry := strings.TrimPrefix(filepath.ToSlash(p.Main), "./")
	if entry != "" {
		if _, err := firstFile(o.Dir, entry); err != nil {
			return Result{}, fmt.Errorf("%w: package.json says main is %s, and there is no such file in %s", ErrProject, p.Main, o.Dir)
		}
	} else if entry, err = javaScriptEntry(o.Dir); err != nil {
		return Result{}, err
	}
	if err := fetched(o.Dir, p); err != nil {
		return Result{}, err
	}
	engineFolder, err := o.npmPackage(ctx, quickjs.Engine, quickjs.EngineVersion)
	if err != nil {
		return Result{}, err
	}
	engine, err := os.ReadFile(filepath.Join(engineFolder, "quickjs.wasm"))
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrToolchain, err)
	}
	folder, err := o.npmPackage(ctx, "esbuild", esbuildVersion)
	if err != nil {
		return Result{}, err
	}
	esbuild, err := npmCommand(folder, "esbuild")
	if err != nil {
		return Result{}, err
	}

	res := Result{Package: p.Name, Compiler: "quickjs-wasi " + versionOf(engineFolder), ABI: functions.ABIJSON}
	o.Progress(fmt.Sprintf("bundling %s with esbuild %s, for %s", entry, versionOf(folder), res.Compiler))
	program, err := bundle(ctx, o.Dir, tmp, esbuild, entry)
	if err != nil {
		return res, err
	}
	code, err := quickjs.Link(engine, program)
	if err != nil {
		return res, fmt.Errorf("%w: %w", ErrToolchain, err)
	}
	return res, os.WriteFile(built, code, 0o644)
}

// javaScriptEntry is the file that exports the handler, where package.json does
// not say it.
func javaScriptEntry(dir string) (string, error) {
	var names []string
	for _, folder := range []string{"", "src/"} {
		for _, name := range []string{"index", "handler"} {
			for _, ext := range []string{".mjs", ".js", ".mts", ".ts", ".cjs"} {
				names = append(names, folder+name+ext)
			}
		}
	}
	entry, err := firstFile(dir, names...)
	if err == nil {
		return entry, nil
	}
	var only []string
	for _, pattern := range []string{"*.mjs", "*.js"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		only = append(only, found...)
	}
	if len(only) == 1 {
		return filepath.Base(only[0]), nil
	}
	return "", fmt.Errorf("%w: %s has no index.mjs or index.js: name the file that exports the handler as \"main\" in package.json", ErrProject, dir)
}

// unresolved finds the modules of Node that esbuild looked for in vain.
var unresolved = regexp.MustCompile(`Could not resolve "(node:[a-z/_]+|fs|fs/promises|http|https|net|tls|os|path|stream|child_process|worker_threads|zlib|url|events|assert|dns)"`)

// ofNode is where Node begins to tell how its own child, esbuild, has failed.
var ofNode = regexp.MustCompile(`(?m)^node:[a-z_/]+:\d+$`)

// bundle makes one ECMAScript module of a program, without imports.
func bundle(ctx context.Context, dir, tmp, esbuild, entry string) ([]byte, error) {
	at, err := filepath.EvalSymlinks(tmp) // esbuild names sources as seen from there
	if err != nil {
		return nil, err
	}
	specifier, err := json.Marshal("./" + entry)
	if err != nil {
		return nil, err
	}
	start := filepath.Join(at, "start.mjs")
	project := "wasmill-project"
	text := fmt.Sprintf("import * as program from %q;\nglobalThis[Symbol.for('wasmill.register')](program, %s);\n", project, specifier)
	if err := os.WriteFile(start, []byte(text), 0o600); err != nil {
		return nil, err
	}
	out := filepath.Join(at, "function.js")
	// Nothing of the platform is assumed: no browser, and of Node what is above.
	args := []string{start, "--bundle", "--format=esm", "--platform=neutral", "--main-fields=module,main", "--conditions=module,default", "--target=es2023",
		"--charset=utf8", "--keep-names", "--sourcemap=external", "--legal-comments=none", "--log-level=warning", "--color=false", "--outfile=" + out,
		"--alias:" + project + "=" + filepath.Join(dir, filepath.FromSlash(entry))}
	for name, source := range nodeModules {
		file := filepath.Join(at, "node-"+strings.ReplaceAll(name, "/", "-")+".mjs")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--alias:node:"+name+"="+file)
		if !isFolder(filepath.Join(dir, "node_modules", name)) {
			args = append(args, "--alias:"+name+"="+file)
		}
	}
	if _, err := tool(ctx, dir, nil, esbuild, args...); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		text := err.Error()
		if at := ofNode.FindStringIndex(text); at != nil {
			text = strings.TrimSpace(text[:at[0]])
		}
		if found := unresolved.FindStringSubmatch(text); found != nil {
			text = fmt.Sprintf("a function has no %s: of Node's modules there are node:buffer, node:crypto (random numbers), node:process, node:timers/promises and node:util\n%s", found[1], text)
		}
		return nil, fmt.Errorf("%w:\n%s", ErrCompile, text)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	mapped, err := os.ReadFile(out + ".map")
	if err != nil {
		return nil, err
	}
	lines, err := lineMap(mapped, at, dir)
	if err != nil {
		return nil, err
	}
	quoted, err := json.Marshal(lines)
	if err != nil {
		return nil, err
	}
	// The temporary folder's name is another each time. It stands in comments alone.
	for _, name := range []string{at, filepath.ToSlash(relative(dir, at))} {
		program = bytes.ReplaceAll(program, []byte(name), []byte("wasmill"))
	}
	// On the first line, so that those of the map are still right.
	return append([]byte("globalThis[Symbol.for('wasmill.lines')]="+string(quoted)+";"), program...), nil
}

func relative(from, to string) string {
	rel, err := filepath.Rel(from, to)
	if err != nil { // another drive
		return to
	}
	return rel
}

// lineMap makes of a source map what stack traces need: for each line of the
// bundle its source's number and line, as JSON.
func lineMap(sourceMap []byte, at, dir string) (string, error) {
	var m struct {
		Sources  []string
		Mappings string
	}
	if err := json.Unmarshal(sourceMap, &m); err != nil {
		return "", fmt.Errorf("esbuild's source map: %w", err)
	}
	names := make([]string, len(m.Sources))
	for i, s := range m.Sources {
		path := filepath.FromSlash(s)
		if !filepath.IsAbs(path) {
			path = filepath.Join(at, path)
		}
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			names[i] = filepath.ToSlash(rel)
		} else {
			names[i] = filepath.Base(path)
		}
	}
	var lines [][]int
	source, line := 0, 0 // they go on from line to line
	for row := range strings.SplitSeq(m.Mappings, ";") {
		var first []int
		for segment := range strings.SplitSeq(row, ",") {
			fields, err := vlq(segment)
			if err != nil {
				return "", err
			}
			if len(fields) < 4 {
				continue
			}
			source, line = source+fields[1], line+fields[2]
			if first == nil {
				first = []int{source, line + 1}
			}
		}
		if first == nil {
			first = []int{}
		}
		lines = append(lines, first)
	}
	b, err := json.Marshal(map[string]any{"sources": names, "lines": lines})
	return string(b), err
}

// vlq reads the numbers of one segment of a source map.
func vlq(segment string) (numbers []int, err error) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	n, shift := 0, 0
	for _, c := range segment {
		digit := strings.IndexRune(digits, c)
		if digit < 0 || shift > 30 {
			return nil, errors.New("esbuild's source map: its mappings are not understood")
		}
		n |= (digit & 31) << shift
		if shift += 5; digit&32 != 0 {
			continue
		}
		if n&1 != 0 {
			n = -n
		}
		numbers = append(numbers, n/2)
		n, shift = 0, 0
	}
	return numbers, nil
}
